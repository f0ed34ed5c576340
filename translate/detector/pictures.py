"""Detector images for the eye: symmetric logarithmic colours over all the magnitudes that cells have.

N events, L layers, H x W cells.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DECADES = 3  # below the largest value of a row, where the colours are logarithmic


def sheet(columns: Mapping[str, NDArray[Any]]) -> Image.Image:
    """Events [N, L, H, W] by column title, an event a row with one scale: red above 0, blue below, white where it is 0.

    Of several layers their sum is shown, and beside it their sum over columns, layer by layer from left to right.
    """
    from matplotlib.colors import SymLogNorm
    from matplotlib.figure import Figure

    rows = min(map(len, columns.values()))
    height, width = view(np.zeros(next(iter(columns.values())).shape[1:])).shape
    figure = Figure(
        figsize=(1.9 * len(columns) + 0.8, max(0.8, 1.8 * height / width) * rows + 0.4), dpi=100, layout="constrained"
    )
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for row in range(rows):
        views = [view(cells[row].astype(np.float64)) for cells in columns.values()]
        largest = max(float(np.nanmax(np.abs(one))) for one in views) or 1.0
        norm = SymLogNorm(largest / 10**DECADES, vmin=-largest, vmax=largest)
        for place, title, one in zip(axes[row], columns, views, strict=True):
            drawn = place.imshow(one, cmap="RdBu_r", norm=norm, interpolation="nearest")
            place.set_axis_off()
            if row == 0:
                place.set_title(title, fontsize=9)
        bar = figure.colorbar(drawn, ax=list(axes[row]), ticks=[-largest, 0, largest], format="%.3g", aspect=12)
        bar.ax.tick_params(labelsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def view(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """[L, H, W] → [H, W], or [H, W + 1 + L] of several layers: from the front and from the side."""
    front: NDArray[np.float64] = cells.sum(0)
    if len(cells) == 1:
        return front
    gap = np.full((cells.shape[1], 1), np.nan)
    both: NDArray[np.float64] = np.concatenate([front, gap, cells.sum(2).T], axis=1)
    return both
