"""Differentiable augmentation: Zhao et al. 2020, for training on few images.

The discriminator sees real and generated images only through the same random transforms, in its own turn and in the
generator's, so that it cannot learn the training images by heart and the generator never learns the transforms.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from translate.config.spec import Spec


class DiffAugment(Spec):
    """Strengths as in the paper: brightness ±0.5, saturation 0–2, contrast 0.5–1.5; shifts up to an eighth of a side;
    a hole of half the side. Of stacked images (pix2pix) all channels are changed alike."""

    policy: tuple[Literal["colour", "translation", "cutout"], ...] = ("colour", "translation", "cutout")

    def __call__(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> the same shape; randomness from torch's generator of the device."""
        steps = {"colour": _colour, "translation": _translation, "cutout": _cutout}
        for name in self.policy:
            images = steps[name](images)
        return images


def _draw(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, device=images.device)


def _colour(x: Tensor) -> Tensor:
    x = x + (_draw(x) - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (_draw(x) * 2) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (_draw(x) + 0.5) + mean


def _translation(x: Tensor) -> Tensor:
    """Whole pixels, zeros beyond the border."""
    n, _, h, w = x.shape
    rows, columns = (
        torch.arange(size, device=x.device) + torch.randint(-size // 8, size // 8 + 1, (n, 1), device=x.device) + 1
        for size in (h, w)
    )
    padded = F.pad(x, (1, 1, 1, 1))
    index = torch.arange(n, device=x.device)[:, None, None]
    rows, columns = rows.clamp(0, h + 1)[:, :, None], columns.clamp(0, w + 1)[:, None, :]
    return padded.permute(0, 2, 3, 1)[index, rows, columns].permute(0, 3, 1, 2)


def _cutout(x: Tensor) -> Tensor:
    n, _, h, w = x.shape
    keep = []
    for size in (h, w):
        centre = torch.randint(0, size + 1, (n, 1), device=x.device)
        place = torch.arange(size, device=x.device)
        keep.append((place >= centre - size // 4) & (place < centre + (size + 1) // 4))
    hole = keep[0][:, None, :, None] & keep[1][:, None, None, :]
    return x * ~hole
