"""From the channels that a file has to the channels that a network wants.

Pixels are [H, W, C]: uint8 in [0, 255], uint16 in [0, 65535] or float32 in [0, 1].
Two channels are grey + alpha, four are colour + alpha, wherever another number is wanted.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]  # [H, W, C]
Colour = tuple[int, int, int]  # red, green, blue in [0, 255]

WHITE: Colour = (255, 255, 255)


def to_channels(pixels: Pixels, channels: int, background: Colour = WHITE) -> Pixels:
    """`pixels` with `channels` channels, of the same type and range.

    Alpha is composited on `background` where 1 or 3 channels are wanted and kept where 4 are; grey is repeated;
    colour becomes luminance (ITU-R 601, rounded as Pillow does). Raises ValueError where there is no such conversion.
    """
    have = pixels.shape[2]
    if have == channels:
        return pixels
    if have > 4 or channels not in (1, 3, 4):
        raise ValueError(f"has {have} channel{'s' * (have != 1)} where {channels} are wanted")
    if channels == 4:
        alpha = pixels[..., 1:] if have == 2 else np.full_like(pixels[..., :1], maximum(pixels))
        return np.concatenate([_colour(pixels[..., : have - (have == 2)]), alpha], axis=2)
    if have in (2, 4):
        pixels = _composite(_colour(pixels[..., : have - 1]), pixels[..., have - 1 :], background)
    return _colour(pixels) if channels == 3 else _grey(pixels)


def maximum(pixels: Pixels) -> float:
    """The value of full brightness: 255, 65535 or 1."""
    return 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)


def _colour(pixels: Pixels) -> Pixels:
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _grey(pixels: Pixels) -> Pixels:
    if pixels.shape[2] == 1:
        return pixels
    if pixels.dtype.kind == "f":
        return np.asarray(pixels @ np.array([[0.299], [0.587], [0.114]], np.float32))
    weights = np.array([[19595], [38470], [7471]], np.uint32)  # Pillow's, of 65536; 16 bits of colour still fit
    return ((pixels.astype(np.uint32) @ weights + 0x8000) >> 16).astype(pixels.dtype)


def _composite(colour: Pixels, alpha: Pixels, background: Colour) -> Pixels:
    full = maximum(colour)
    if colour.dtype.kind == "f":
        paper = np.asarray(background, np.float32) / 255
        return np.asarray(colour * alpha + paper * (1 - alpha))
    top = np.uint32(full)
    behind = np.asarray(background, np.uint32) * (top // 255)
    wide = alpha.astype(np.uint32)
    return np.asarray((colour * wide + behind * (top - wide) + top // 2) // top).astype(colour.dtype)
