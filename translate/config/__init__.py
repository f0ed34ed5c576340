"""Configs: what an experiment is, read strictly."""
