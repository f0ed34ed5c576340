"""Between what people have (files, Pillow images, arrays), pixels, and what networks take and give.

Pixels are as in `translate.data.channels`: [H, W, C], uint8, uint16, or float32 in [0, 1]. Networks see float32
[C, H, W] in a range of their own.
"""

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from translate.data.channels import Pixels, maximum, to_channels
from translate.data.decode import from_memory, read_image
from translate.errors import ImageError, ModelError
from translate.inference.card import Card, Values

Picture = Image.Image | NDArray[Any] | str | os.PathLike[str]
Output = Image.Image | NDArray[Any]
Form = Literal["image", "array", "flat"]  # Pillow image, [H, W, C], [H, W]


class Given(NamedTuple):
    pixels: Pixels
    form: Form  # that the answer should have


def read(picture: Picture, card: Card, name: str = "the picture") -> Given:
    """Upright pixels of a path, a Pillow image of any mode, or an array [H, W] or [H, W, C] of any number.

    What is not of 8 or 16 unsigned bits becomes float32. `name` is what errors call a picture that has no path.
    Raises as `check`, and ImageError for what is no picture.
    """
    if isinstance(picture, str | os.PathLike):
        name = os.fspath(picture)
        given = Given(read_image(Path(name), float_range=card.float_range), "image")
    elif isinstance(picture, Image.Image):
        given = Given(from_memory(picture, name, float_range=card.float_range), "image")
    elif isinstance(picture, np.ndarray):
        pixels = from_memory(picture, name, float_range=card.float_range)
        given = Given(pixels, "flat" if picture.ndim == 2 else "array")
    else:
        raise ImageError(f"{name}: is a {type(picture).__name__}; give a path, a Pillow image or a numpy array")
    check(given.pixels, card, name)
    return given


def check(pixels: Pixels, card: Card, name: str) -> None:
    """Raises ImageError where the model has no use for these channels, ModelError where it takes no pictures at all."""
    if card.source is None:
        raise ModelError(f"{card.name} makes pictures from random numbers and takes none: use Translator.generate")
    try:
        to_channels(pixels[:1, :1], card.source.channels)
    except ValueError as error:
        raise ImageError(f"{name}: {error}; {card.name} takes {card.source.colour} pictures") from error


def give(pixels: Pixels, form: Form, card: Card) -> Output:
    """Pixels in the form of what was given; floats in `card.float_range`, as they came."""
    if pixels.dtype.kind == "f":
        low, high = card.float_range
        pixels = low + pixels * np.float32(high - low)
    if form == "image":
        return to_image(pixels)
    return pixels[..., 0] if form == "flat" and pixels.shape[2] == 1 else pixels


def to_image(pixels: NDArray[Any]) -> Output:
    """[H, W, C] as a Pillow image (L, LA, RGB, RGBA, I;16, F); where none holds it without loss, the array itself."""
    if pixels.shape[2] == 1:
        return Image.fromarray(pixels[..., 0])
    return Image.fromarray(pixels) if pixels.dtype == np.uint8 and pixels.shape[2] <= 4 else pixels


def carries_alpha(pixels: Pixels, card: Card) -> bool:
    """Whether the last channel is alpha, which the network neither sees nor makes: it is kept beside it."""
    assert card.source is not None
    beside = card.source.channels in (1, 3) and card.target.channels in (1, 3)
    return beside and pixels.shape[2] in (2, 4)


def to_network(pixels: Pixels, side: Values, out: NDArray[np.float32]) -> None:
    """[H, W, C] into `out` [C, H, W] in `side.range`: 0 becomes its lower end, full brightness its upper, exactly."""
    low, high = side.range
    np.divide(pixels.transpose(2, 0, 1), maximum(pixels), out=out, dtype=np.float32)
    out *= np.float32(high - low)
    out += np.float32(low)


def to_pixels(values: NDArray[np.float32], side: Values, dtype: np.dtype[Any]) -> Pixels:
    """[C, H, W] in `side.range` to [H, W, C] of a depth, clipped and rounded to nearest."""
    low, high = side.range
    full = maximum(np.empty(0, dtype))
    scaled = values - np.float32(low)
    scaled *= np.float32(full / (high - low))
    np.clip(scaled, 0, full, out=scaled)
    if dtype.kind == "u":
        np.rint(scaled, out=scaled)
    return scaled.astype(dtype, copy=False).transpose(1, 2, 0)
