"""Pictures from a generator: a grid of them, a folder, or an animated walk from one to the next."""

import hashlib
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from translate.data.channels import Pixels, maximum, to_channels
from translate.errors import ImageError, ModelError
from translate.inference.card import Card
from translate.inference.latents import classes, draw, walk
from translate.inference.translator import Translator
from translate.inference.writing import encode, format_of, provenance, write

BATCH = 16  # pictures that go through the network together
FRAMES, DURATION = 16, 50  # from one latent to the next; ms each
GAP = 2  # pixels between the pictures of a grid


def sample(
    run: Path,
    output: Path | None = None,
    *,
    count: int = 64,
    label: str | int | None = None,
    truncation: float | None = None,
    interpolate: Literal["slerp", "lerp"] | None = None,
    seed: int = 0,
) -> Path:
    """Writes `count` pictures of the generator in a run folder, a checkpoint or an .onnx file, and returns where.

    `output`: a file for a grid, by its suffix as in `translate batch`; any other name is a folder, one PNG a picture.
    With `interpolate` an animated .webp or .gif of a closed walk through `count` latents; a frame is of the class of
    the latent that it comes from. By default sample.png or .webp in the run folder, or beside the model. `label`,
    `truncation`: see `latents`. Raises TranslateError for what cannot be done.
    """
    output = output or (run if run.is_dir() else run.parent) / f"sample{'.webp' if interpolate else '.png'}"
    folder = not interpolate and (output.is_dir() or not output.suffix)
    if interpolate and output.suffix.lower() not in (".webp", ".gif"):
        raise ModelError(f"{output}: a walk is an animation: name a file .webp or .gif")
    if not (folder or interpolate or format_of(output.name)):
        raise ModelError(f"{output}: cannot hold a grid: name a file .png, .jpg, .webp, .tif or .npy, or a folder")
    translator = Translator.load(run, precision="fp32", batch_size=BATCH)
    card = translator.card
    latents, labels = draw(card, count, seed, truncation), classes(card, count, label)
    if interpolate == "slerp" and card.prior != "normal":
        raise ModelError(f"{card.name}: its latents are in a cube, not on a sphere: choose --interpolate lerp")
    if interpolate:
        latents = walk(latents, FRAMES, sphere=interpolate == "slerp")
        labels = np.repeat(labels, FRAMES)
    pictures = translator.decode(latents, labels, seed=seed)
    with translator.session.path.open("rb") as file:
        note = provenance(card, hashlib.file_digest(file, "sha256").hexdigest(), seed)
    try:
        if folder:
            names = [card.labels[number] for number in labels] if card.labels else [""] * count
            for name, picture in zip(_names(names), pictures, strict=True):
                write(output / name, encode(picture, name, card, note))
        elif interpolate:
            write(output, animation(pictures, card, output.suffix[1:], note))
        else:
            turn = len(card.labels) if label is None and len(card.labels) <= count else 0
            columns = turn * max(1, round(math.sqrt(count) / turn)) if turn else math.ceil(math.sqrt(count))
            write(output, encode(grid(list(pictures), columns), output.name, card, note))
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{output}: cannot be written ({reason}): free some space, or choose another -o") from None
    return output


def grid(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Pictures [H, W, C] row by row on white."""
    height, width, channels = pictures[0].shape
    shape = (math.ceil(len(pictures) / columns) * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels)
    canvas: Pixels = np.full(shape, maximum(pictures[0]), pictures[0].dtype)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        top, left = GAP + row * (height + GAP), GAP + column * (width + GAP)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def animation(frames: Iterable[Pixels], card: Card, format: str, note: str) -> bytes:
    """An endless film, "webp" or "gif", of frames [H, W, C] in 8 bits and colour. Raises ImageError for channels that
    are no colours."""
    first, *others = _colours(frames, card)
    exif = Image.Exif()
    exif[0x010E] = note  # ImageDescription, of WebP; GIF has comments
    file = io.BytesIO()
    first.save(
        file,
        format,
        save_all=True,
        append_images=others,
        duration=DURATION,
        loop=0,
        comment=note.encode(),
        exif=exif,
        quality=90,
        lossless=first.width <= 64,  # halving the colours' resolution shows in small pictures
    )
    return file.getvalue()


def _colours(frames: Iterable[Pixels], card: Card) -> Iterator[Image.Image]:
    for pixels in frames:
        try:
            colour = to_channels(pixels, 3, card.background)
        except ValueError as error:
            raise ImageError(f"{card.name}: a picture {error} for an animation; leave --interpolate out") from None
        yield Image.fromarray(np.rint(colour * (255 / maximum(colour))).astype(np.uint8))


def _names(labels: Sequence[str]) -> Iterator[str]:
    """0000.png, 0001-T-shirt_top.png, …"""
    digits = max(4, len(str(len(labels) - 1)))
    for number, label in enumerate(labels):
        safe = re.sub(r"[^\w.-]+", "_", label)
        yield f"{number:0{digits}}{'-' * bool(safe)}{safe}.png"
