"""Detector images: showers in memory, in files and simulated."""
