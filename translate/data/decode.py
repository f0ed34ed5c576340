"""Files of any kind into pixels, safely: whatever is wrong with a file becomes an `ImageError` that names it.

Formats are recognised by their content, never by the suffix. Only formats whose decoders run no foreign program are
tried (no EPS). Sizes are checked before anything is decoded.
"""

import errno
import math
import os
import stat
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from translate.data.channels import WHITE, Colour, Pixels, to_channels
from translate.errors import ImageError

MAX_PIXELS = 200_000_000
SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "mpo", "webp", "avif", "bmp", "dib", "gif", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "pfm", "jp2", "j2k", "j2c", "jpx", "jpf", "npy"),
    )
)

# The first five are loaded by Pillow at once; AVIF comes last because older Pillows do not know the name.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "DIB", "WEBP", "TIFF", "JPEG2000", "AVIF")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 0x0112
_lock = threading.Lock()


class Decoded(NamedTuple):
    pixels: Pixels  # [H, W, C], uint8, uint16 or float32
    mode: str  # as stored: "RGB 8-bit", "grey 16-bit", "5 channels float32"


def read_image(
    path: Path,
    *,
    channels: int | None = None,
    background: Colour = WHITE,
    float_range: tuple[float, float] | None = (0.0, 1.0),
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """The picture in `path`, upright, as [H, W, C]: uint8, uint16, or float32 in [0, 1].

    Unsigned integers keep their value (32 and 64 bits become float32 in [0, 1]); floats and signed integers are scaled
    from `float_range`, or left alone where it is None. `channels=None` keeps the channels of the file; else see
    `to_channels`. The first frame or page counts. A .npy file holds [H, W] or [H, W, C]. Raises ImageError.
    """
    pixels = decode(path, float_range=float_range, max_pixels=max_pixels).pixels
    if channels is None:
        return pixels
    try:
        return to_channels(pixels, channels, background)
    except ValueError as error:
        raise ImageError(f"{path}: {error}; set data.channels (channels_a, channels_b) to fit the files") from error


def decode(path: Path, *, float_range: tuple[float, float] | None, max_pixels: int = MAX_PIXELS) -> Decoded:
    """As `read_image`, with the name of the mode that the file is stored in. Raises ImageError."""
    try:
        with _open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decoders warn about what we either accept or refuse
            array, mode = _decode(path, file, max_pixels)
            return Decoded(_normalise(path, array, float_range), mode)
    except ImageError:
        raise
    except Exception as error:  # a damaged file can raise anything at all in a decoder
        raise ImageError(f"{path}: {_reason(path, error)}") from error


def from_memory(image: Image.Image | NDArray[Any], name: str, *, float_range: tuple[float, float] | None) -> Pixels:
    """As `read_image`, of a picture that is there already; `name` is what an ImageError calls it. May share memory."""
    try:
        array = _as_array(image) if isinstance(image, Image.Image) else image
        check_shape(name, array.shape, sys.maxsize)
        return _normalise(name, array, float_range)
    except ImageError:
        raise
    except Exception as error:  # Pillow reads a file when its pixels are wanted, not before
        raise ImageError(f"{name}: {_reason(Path(name), error)}") from error


def check_shape(path: Path | str, shape: tuple[int, ...], max_pixels: int) -> None:
    """[H, W] or [H, W, C]."""
    if len(shape) not in (2, 3):
        raise ImageError(f"{path}: has shape {shape}; an image is [H, W] or [H, W, C]")
    height, width, channels = (*shape, 1)[:3]
    if channels > 16 and height <= 4:
        raise ImageError(f"{path}: has shape {shape}, channels first; an image is [H, W, C]")
    check_size(path, height, width, channels, max_pixels)


def check_size(path: Path | str, height: int, width: int, channels: int, max_pixels: int) -> None:
    """Called with what the header says, before decoding."""
    if height < 1 or width < 1 or channels < 1:
        raise ImageError(f"{path}: is an empty picture ({width}x{height}, {channels} channels); remove or replace it")
    if height * width > max_pixels or height * width * channels > 16 * max_pixels:
        raise ImageError(
            f"{path}: is {width}x{height}, more than data.max_pixels = {max_pixels:,} pixels (of batch and serve: "
            "--max-megapixels); raise it if you trust the picture"
        )


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path}: is a folder, not an image file; rename or remove it")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise ImageError(f"{path}: is not a regular file; remove it")
    if status.st_size == 0:
        raise ImageError(f"{path}: is empty (0 bytes); remove or replace it")
    with path.open("rb") as file:
        yield file


def _decode(path: Path, file: BinaryIO, max_pixels: int) -> tuple[NDArray[Any], str]:
    head = file.read(32)
    file.seek(0)
    if head.startswith(b"\x93NUMPY"):
        return _read_npy(path, max_pixels)
    if head[:4] in _TIFF:
        from translate.data.tiff import read_tiff

        found = read_tiff(path, file, max_pixels)
        if found is not None:
            return found
        file.seek(0)
    with _open_pillow(file) as image:
        check_size(path, image.height, image.width, 1, max_pixels)
        if image.format == "PNG" and head[24] == 16 and head[25] in (2, 4, 6):  # Pillow would halve the depth
            import imagecodecs

            file.seek(0)
            array = np.asarray(imagecodecs.png_decode(file.read()))
            return _upright(array, image), f"{image.mode} 16-bit"
        array = _as_array(image)
        kind = {"u": f"{8 * array.itemsize}-bit"}.get(array.dtype.kind, str(array.dtype))
        return array, f"{image.mode.split(';')[0]} {'1-bit' if image.mode == '1' else kind}"


def _open_pillow(file: BinaryIO) -> Image.Image:
    """The header alone. Pillow's own limit is replaced by `data.max_pixels`, which is checked right after."""
    with _lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _as_array(image: Image.Image) -> NDArray[Any]:
    """[H, W, ...], upright."""
    image.load()
    mode = image.mode
    if mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
    elif mode == "I":  # 16-bit PGM, widened by Pillow
        array = np.asarray(image)
        array = array.astype(np.uint16) if array.min() >= 0 and array.max() <= 65535 else array
    elif mode == "F":
        array = np.asarray(image)
    else:
        grey = mode in ("1", "L", "LA", "La")
        wanted = ("L" if grey else "RGB") + "A" * image.has_transparency_data
        array = np.asarray(image if mode == wanted else image.convert(wanted))
    return _upright(array, image)


def _upright(array: NDArray[Any], image: Image.Image) -> NDArray[Any]:
    return orient(array, image.getexif().get(_ORIENTATION, 1))


def orient(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """[H, W, ...] turned and mirrored as EXIF orientation 1 to 8 says; any other number leaves it."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def _read_npy(path: Path, max_pixels: int) -> tuple[NDArray[Any], str]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)  # reads the header, maps the rest
    check_shape(path, array.shape, max_pixels)
    channels = (*array.shape, 1)[2]
    return np.array(array), f"{channels} channel{'s' * (channels != 1)} {array.dtype.newbyteorder('=')}"


def _normalise(path: Path | str, array: NDArray[Any], float_range: tuple[float, float] | None) -> Pixels:
    """[H, W] or [H, W, C] of any number into uint8, uint16 or float32 [H, W, C]."""
    array = array[..., None] if array.ndim == 2 else array
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size <= 2:
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if kind == "u":
        return (array / np.iinfo(array.dtype).max).astype(np.float32)
    if kind not in "if":
        raise ImageError(f"{path}: holds {array.dtype} values; an image holds integers or real numbers")
    values: NDArray[Any] = array.astype(np.float64 if size > 4 or kind == "i" else np.float32)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"{path}: holds NaN or infinite values; replace them")
    if float_range is None:
        return np.ascontiguousarray(values, dtype=np.float32)
    least, most = float_range
    slack = 1e-6 * (most - least)
    if low < least - slack or high > most + slack:
        raise ImageError(
            f"{path}: {array.dtype} values from {low:g} to {high:g} lie outside data.float_range = "
            f"[{least:g}, {most:g}]; set it to the range of your data, or scale them"
        )
    return np.ascontiguousarray(((values - least) / (most - least)).clip(0, 1), dtype=np.float32)


def _reason(path: Path, error: Exception) -> str:
    match error:
        case FileNotFoundError() if os.path.lexists(path):
            return "is a broken symbolic link; remove it"
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "may not be read by this user; change its permissions (chmod +r)"
        case OSError(errno=errno.ELOOP):
            return "is a loop of symbolic links; remove it"
        case OSError(errno=int(number)) if number in (errno.EIO, errno.ESTALE):
            return f"cannot be read from the disk ({error.strerror})"
        case UnidentifiedImageError() | KeyError():
            return "is not an image, or of a format that is not supported; remove it or save it as PNG, JPEG or TIFF"
        case MemoryError():
            return "does not fit into memory; make it smaller"
        case _:
            detail = " ".join(str(error).split())[:120] or type(error).__name__
            return f"is damaged or truncated ({detail}); remove or replace it"
