"""The TIFFs that Pillow reads wrongly or not at all: 16 bits, floats, many channels, planes."""

import logging
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from translate.errors import ImageError

_ORIENTATION = 274
_ASSOCIATED_ALPHA = 1


def read_tiff(path: Path, file: BinaryIO, max_pixels: int) -> tuple[NDArray[Any], str] | None:
    """The first page as ([H, W, C], mode), or None for what is better left to Pillow (palettes, CMYK, YCbCr).

    Channels that a microscope wrote as pages (axes CYX) are put together. Raises ImageError; other exceptions mean
    that the file is damaged.
    """
    import tifffile

    from translate.data.decode import check_size, orient

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # its warnings say what an ImageError says better
    with tifffile.TiffFile(file) as tif:
        page: Any = tif.pages.first
        photometric = getattr(page.photometric, "name", "")
        associated = _ASSOCIATED_ALPHA in page.extrasamples
        if photometric not in ("MINISBLACK", "MINISWHITE", "RGB") or (associated and page.dtype == np.uint8):
            return None
        if page.imagedepth != 1:
            raise ImageError(f"{path}: is a volume of {page.imagedepth} slices; save one slice as an image")
        source, axes, count = page, page.axes, page.samplesperpixel
        if len(tif.pages) > 1 and count == 1 and tif.series and tif.series[0].axes in ("CYX", "YXC"):
            source, axes = tif.series[0], tif.series[0].axes
            count = source.shape[axes.index("C")]
        check_size(path, page.imagelength, page.imagewidth, count, max_pixels)
        array = np.asarray(source.asarray())
        if axes in ("SYX", "CYX"):
            array = np.moveaxis(array, 0, -1)
        array = array[..., None] if array.ndim == 2 else array
        bits = page.bitspersample
        tag = page.tags.get(_ORIENTATION)
    kind = f"{bits}-bit" if array.dtype.kind in "bu" else str(array.dtype)
    colour = {1: "grey", 2: "LA", 3: "RGB", 4: "RGBA"}.get(count, f"{count} channels")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "u" and bits < 8 * array.dtype.itemsize:  # 12 bits in 16, say
        array = np.rint(array * (np.iinfo(array.dtype).max / (2**bits - 1))).astype(array.dtype)
    if photometric == "MINISWHITE":
        array = (np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1) - array
    if associated and array.shape[2] in (2, 4):
        array = _divided_by_alpha(array)
    return orient(array, int(tag.value) if tag else 1), f"{colour} {kind}"


def _divided_by_alpha(array: NDArray[Any]) -> NDArray[Any]:
    full = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1.0
    alpha = array[..., -1:].astype(np.float64) / full
    colour = np.divide(array[..., :-1], alpha, out=np.zeros(array[..., :-1].shape), where=alpha > 0).clip(0, full)
    return np.concatenate([colour.astype(array.dtype), array[..., -1:]], axis=2)
