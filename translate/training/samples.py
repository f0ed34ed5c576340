"""Grids of sample images: a row an example, a column what the recipe shows of it."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from translate.training.journal import replace

_GAP, _TITLE, _LARGEST = 2, 14, 256


def grid(columns: Mapping[str, Sequence[Tensor]]) -> Image.Image:
    """Images [C, H, W] in [−1, 1] by column title, as one picture; channels beyond RGB are left out."""
    pictures = {title: [_picture(image) for image in images] for title, images in columns.items()}
    rows = len(next(iter(pictures.values())))
    font = ImageFont.load_default()
    widths = [
        max(math.ceil(font.getlength(title)) + 2, *(picture.width for picture in column))
        for title, column in pictures.items()
    ]
    heights = [max(column[row].height for column in pictures.values()) for row in range(rows)]
    size = (sum(widths) + _GAP * (len(widths) + 1), _TITLE + sum(heights) + _GAP * (rows + 1))
    canvas = Image.new("RGB", size, "white")
    draw, left = ImageDraw.Draw(canvas), _GAP
    for (title, column), width in zip(pictures.items(), widths, strict=True):
        draw.text((left + 1, 1), title, fill="black", font=font)
        top = _TITLE + _GAP
        for picture, height in zip(column, heights, strict=True):
            canvas.paste(picture, (left, top))
            top += height + _GAP
        left += width + _GAP
    return canvas


def write(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    picture.save(content, format="PNG")
    replace(path, content.getvalue())


def _picture(image: Tensor) -> Image.Image:
    """[C, H, W] in [−1, 1] → an RGB picture of at most 256 pixels a side."""
    image = image.detach().float().cpu()
    image = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    longest = max(image.shape[1:])
    if longest > _LARGEST:
        image = interpolate(image[None], scale_factor=_LARGEST / longest, mode="bilinear", antialias=True)[0]
    pixels: np.ndarray = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))
