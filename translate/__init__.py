"""Image-to-image translation: pix2pix and CycleGAN on one adversarial core."""

__version__ = "0.1.0"
