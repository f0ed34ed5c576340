"""Pixels into files: whole or not there, of the depth that the format can hold, with a note of where they come from."""

import hashlib
import io
import json
import os
import struct
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from translate import __version__
from translate.data.channels import Pixels, to_channels
from translate.errors import ImageError
from translate.inference.card import PROPERTY, Card

Format = Literal["keep", "png", "jpeg", "webp", "tiff", "npy"]

_SUFFIXES: dict[Format, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif", "npy": ".npy"}
_FORMATS: dict[str, Format] = {
    **{suffix: format for format, suffix in _SUFFIXES.items()},
    **dict.fromkeys((".jpeg", ".jpe", ".jfif"), "jpeg"),
    ".tiff": "tiff",
}
_KEPT = {".npz": ".npy", ".h5": ".npy", ".hdf5": ".npy", ".pfm": ".tif"}  # as what is kept that we do not write
_PART = ".translate-{}.part"
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF


def suffix_of(name: str, format: Format) -> str:
    """Of the output for the input `name`."""
    if format != "keep":
        return _SUFFIXES[format]
    suffix = PurePosixPath(name).suffix
    return suffix if format_of(name) else _KEPT.get(suffix.lower(), ".png")


def format_of(name: str) -> Format | None:
    """That the suffix stands for, where it can be written."""
    return _FORMATS.get(PurePosixPath(name).suffix.lower())


def provenance(card: Card, model_hash: str, seed: int | None) -> str:
    """One line of JSON in ASCII: what made a picture."""
    note = {
        "model": card.name,
        "network": card.network,
        "model_hash": model_hash,
        "config_hash": card.config_hash,
        "seed": seed,
        "version": __version__,
    }
    return json.dumps(note)


def encode(pixels: Pixels, name: str, card: Card, note: str) -> bytes:
    """The file `name`: [H, W, C] uint8, uint16 or float32 in [0, 1], in the format of the suffix.

    PNG holds 8 or 16 bits (floats become 16), JPEG and WebP 8; JPEG lays transparency on the card's background. TIFF
    and .npy hold anything; floats in them are in `card.float_range`. Raises ImageError for what does not fit.
    """
    try:
        match format_of(name):
            case "png":
                return _png(pixels, note)
            case "tiff":
                return _tiff(_given(pixels, card), note)
            case "npy":
                file = io.BytesIO()
                np.save(file, _given(pixels, card))
                return file.getvalue()
            case "jpeg":
                opaque = to_channels(pixels, 1 if pixels.shape[2] < 3 else 3, card.background)
                return _lossy(opaque, note, "JPEG", subsampling=0)
            case _:
                return _lossy(pixels, note, "WEBP")
    except MemoryError:
        raise
    except Exception as error:  # too many pixels or channels, in the words of one of several libraries
        size = f"{pixels.shape[1]}x{pixels.shape[0]}, {pixels.shape[2]} channels"
        raise ImageError(f"{name}: cannot hold {size} ({error}); use --format tiff or npy") from error


def write(path: Path, data: bytes) -> None:
    """A reader finds the whole file or none, at any moment. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A short name, since that of the file may be as long as names can be; the same each time, for it to be found again.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    temporary = path.with_name(_PART.format(digest))
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """What a killed run was writing. Raises OSError."""
    for part in folder.rglob(_PART.format("*")):
        part.unlink()


def _given(pixels: Pixels, card: Card) -> NDArray[Any]:
    low, high = card.float_range
    return pixels if pixels.dtype.kind == "u" else low + pixels * np.float32(high - low)


def _png(pixels: Pixels, note: str) -> bytes:
    import imagecodecs

    if pixels.dtype.kind == "f":
        pixels = np.rint(pixels.clip(0, 1) * 65535).astype(np.uint16)
    plane = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    # Run lengths after the Paeth filter: a third of the time of Pillow's fastest, and no larger.
    data = bytes(imagecodecs.png_encode(np.ascontiguousarray(plane), level=1, strategy=3, filter=128))
    text = b"tEXt" + PROPERTY.encode() + b"\0" + note.encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    header = 8 + 25  # the signature and IHDR, which is always first
    return data[:header] + chunk + data[header:]


def _lossy(pixels: Pixels, note: str, format: str, **options: int) -> bytes:
    if pixels.dtype != np.uint8:
        unit = pixels / 65535 if pixels.dtype == np.uint16 else pixels.clip(0, 1)
        pixels = np.rint(unit * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[_DESCRIPTION], exif[_SOFTWARE] = note, f"translate {__version__}"
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(file, format, quality=95, exif=exif, **options)
    return file.getvalue()


def _tiff(pixels: NDArray[Any], note: str) -> bytes:
    import tifffile

    channels = pixels.shape[2]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels[..., 0] if channels == 1 else pixels,
        photometric="rgb" if channels in (3, 4) else "minisblack",
        planarconfig=None if channels == 1 else "contig",
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        description=note,
        software=f"translate {__version__}",
        metadata=None,
    )
    return file.getvalue()
