"""What is done to a picture between the file and the network: resize, crop, flip, scale to [-1, 1].

The five modes are those of the published implementation; in the test split nothing is random.

| mode                 | training                                          | test                                    |
| resize_and_crop      | to load_size², random crop_size² of it            | to crop_size²                           |
| crop                 | random crop_size²                                 | the middle crop_size²                   |
| scale_width          | to load_size wide, at least crop_size high        | the same                                |
| scale_width_and_crop | the same, then random crop_size² of it            | to crop_size wide, the middle crop_size²|
| none                 | nothing                                           | nothing                                 |

Without a crop, sizes are rounded to what the network can take. Too small for the crop: enlarged, keeping the aspect.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from translate.data.channels import Pixels
from translate.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

    from translate.data.augment import Augment

Mode = Literal["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"]


@dataclass(frozen=True)
class Geometry:
    """One draw: the size to resize to, the window cut out of it, and whether that is mirrored."""

    height: int
    width: int
    top: int
    left: int
    window: tuple[int, int]  # height, width
    flip: bool

    def __call__(self, pixels: Pixels) -> Pixels:
        pixels = resize(pixels, self.height, self.width)
        height, width = self.window
        pixels = pixels[self.top : self.top + height, self.left : self.left + width]
        return pixels[:, ::-1] if self.flip else pixels


@dataclass(frozen=True)
class Preprocess:
    """Pixels of one or more pictures of the same scene into tensors; `train` makes it random."""

    mode: Mode
    load_size: int
    crop_size: int
    flip: bool
    train: bool
    multiple: int = 4  # of both sides, where nothing is cropped
    augment: "Augment | None" = None

    def __call__(self, pictures: Sequence[tuple[Path, Pixels]], rng: np.random.Generator) -> "tuple[Tensor, ...]":
        """[H, W, C] each to float32 [C, h, w] in [-1, 1]; one geometry and one augmentation for all of them.

        Raises ImageError where their sizes do not allow one geometry.
        """
        sizes = [pixels.shape[:2] for _, pixels in pictures]
        resized = [self.resized(height, width) for height, width in sizes]
        same = sizes if self.mode in ("crop", "none") else resized
        if len(set(same)) > 1:
            (first, _), (second, _) = pictures[:2]
            (h1, w1), (h2, w2) = sizes[:2]
            raise ImageError(
                f"{first} is {w1}x{h1} but {second} is {w2}x{h2}: data.preprocess: {self.mode} needs pairs of one "
                f"{'aspect ratio' if 'scale' in self.mode else 'size'}; mend them or use resize_and_crop"
            )
        geometry = self.draw(*resized[0], rng)
        images = [geometry(unit(pixels)) for _, pixels in pictures]
        if self.train and self.augment is not None:
            images = self.augment(images, rng)
        return tuple(to_tensor(image) for image in images)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """The size [height, width] that a picture is resized to, before any crop."""
        crop, scaled = self.crop_size, self.load_size
        if not self.train and self.mode.endswith("_crop"):
            scaled = crop
        match self.mode:
            case "resize_and_crop":
                return scaled, scaled
            case "crop":
                factor = max(crop / height, crop / width, 1.0)
                return max(round(height * factor), crop), max(round(width * factor), crop)
            case "scale_width_and_crop":
                return max(scaled * height // width, crop), scaled
            case "scale_width":
                return self._rounded(max(scaled * height // width, crop)), self._rounded(scaled)
            case "none":
                return self._rounded(height), self._rounded(width)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Geometry:
        """Where to crop and whether to mirror a picture that was resized to [height, width]."""
        window = (self.crop_size, self.crop_size) if self.mode.endswith("crop") else (height, width)
        room = (height - window[0], width - window[1])
        if not self.train:
            return Geometry(height, width, room[0] // 2, room[1] // 2, window, False)
        top, left = (int(rng.integers(space + 1)) for space in room)
        return Geometry(height, width, top, left, window, self.flip and bool(rng.random() < 0.5))

    def _rounded(self, size: int) -> int:
        return max(round(size / self.multiple), 1) * self.multiple


def common_multiple(size_multiple: int) -> int:
    """The published code rounds to 4; a deep U-Net needs more."""
    return math.lcm(4, size_multiple)


def unit(pixels: Pixels) -> Pixels:
    """uint8 as it is, uint16 as float32 in [0, 1]: the two forms that `resize` and `to_tensor` take."""
    return pixels.astype(np.float32) / 65535 if pixels.dtype == np.uint16 else pixels


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """[H, W, C] to [height, width, C], bicubic with antialiasing, as Pillow does it (to the bit for 8-bit pictures).

    float32 in [0, 1] is resized a channel at a time and clipped, for bicubic curves overshoot. Four 8-bit channels
    are RGBA: colour is weighted by alpha, so that invisible pixels do not bleed.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    size, bicubic = (width, height), Image.Resampling.BICUBIC
    if pixels.dtype == np.uint8 and pixels.shape[2] in (3, 4):
        return np.asarray(Image.fromarray(pixels).resize(size, bicubic))
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., channel])).resize(size, bicubic))
        for channel in range(pixels.shape[2])
    ]
    resized = np.stack(planes, axis=2)
    return resized if resized.dtype == np.uint8 else resized.clip(0, 1)


def to_tensor(pixels: Pixels) -> "Tensor":
    """[H, W, C] uint8 or float32 in [0, 1] to float32 [C, H, W] in [-1, 1], in the published order of operations."""
    import torch

    tensor = torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C"))
    values = tensor.to(torch.float32).div_(255) if tensor.dtype == torch.uint8 else tensor
    return values.sub_(0.5).div_(0.5)
