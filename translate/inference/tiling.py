"""Large pictures in overlapping tiles that are blended into one another.

Tiles are spread evenly. Where they overlap, each fades out as the next fades in (raised cosine), so that no edge is
left. Tiles start at multiples of the network's own grid: striding layers then see what they saw in the tile before.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SMALLEST = 16  # px a side: in smaller pictures some layers would have nothing to reflect at the border
TILE = 512  # px a side, of automatic tiles
AUTO_ABOVE = 1024 * 1024  # px: larger pictures are tiled automatically
ROWS = 64  # that are finished at a time

Tile = int | Literal["auto", "off"]
Values = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Axis:
    """Tiles along one side of a picture; the last may reach beyond its end."""

    starts: list[int]  # px
    tile: int  # px
    weights: Values  # [tiles, tile]: the share of each tile in what lies below it; they sum to one at every pixel

    @classmethod
    def cover(cls, size: int, tile: int, multiple: int) -> "Axis":
        """As few tiles as overlap by at least about a quarter; one of the padded size where `tile` is no smaller."""
        tile = min(padded(tile, multiple), padded(size, multiple))
        quarter = tile // 4
        grain = multiple if multiple <= quarter else gcd(multiple, quarter)
        step = tile - quarter // grain * grain
        last = -(-max(size - tile, 0) // grain) * grain
        count = -(-last // step)
        starts = [last * index // max(count, 1) // grain * grain for index in range(count + 1)]
        return cls(starts, tile, _weights(starts, tile))

    @property
    def length(self) -> int:
        return self.starts[-1] + self.tile


class Grid(NamedTuple):
    rows: Axis
    columns: Axis

    @classmethod
    def cover(cls, height: int, width: int, tile: Tile, multiple: int) -> "Grid":
        """`tile`: px a side; "auto" is one tile up to AUTO_ABOVE, TILE above; "off" is one tile."""
        sides = padded(height, multiple), padded(width, multiple)
        if tile == "auto":
            tile = TILE if sides[0] * sides[1] > AUTO_ABOVE else "off"
        side = max(sides) if tile == "off" else tile
        return cls(Axis.cover(height, side, multiple), Axis.cover(width, side, multiple))

    @property
    def shape(self) -> tuple[int, int]:
        """Of each tile."""
        return self.rows.tile, self.columns.tile

    def corners(self) -> list[tuple[int, int]]:
        """Top and left of each tile, in reading order."""
        return [(top, left) for top in self.rows.starts for left in self.columns.starts]


def padded(size: int, multiple: int) -> int:
    """The least size that the network takes in which `size` fits."""
    return -(-max(size, SMALLEST) // multiple) * multiple


def cut(pixels: NDArray[Any], corner: tuple[int, int], shape: tuple[int, int]) -> NDArray[Any]:
    """One tile [h, w, C] of [H, W, C]; what it lacks on the right and at the bottom is reflected."""
    top, left = corner
    tile = pixels[top : top + shape[0], left : left + shape[1]]
    lacking = [(0, wanted - size) for wanted, size in zip(shape, tile.shape[:2], strict=True)]
    return np.pad(tile, [*lacking, (0, 0)], mode="reflect") if any(map(any, lacking)) else tile


def blend(grid: Grid, tiles: Iterable[Values], height: int, width: int) -> Iterator[tuple[slice, Values]]:
    """Tiles [C, h, w] in reading order to finished rows [C, rows, width] of the picture, from top to bottom.

    Holds as many rows as a tile has. What it yields is overwritten later.
    """
    rows, columns = grid
    source = iter(tiles)
    band: Values | None = None
    for index, top in enumerate(rows.starts):
        for left, across in zip(columns.starts, columns.weights, strict=True):
            tile = next(source)
            if band is None:
                band = np.zeros((len(tile), rows.tile, columns.length), np.float32)
            band[:, :, left : left + columns.tile] += tile * np.outer(rows.weights[index], across)
        assert band is not None
        end = rows.starts[index + 1] if index + 1 < len(rows.starts) else height
        for start in range(top, end, ROWS):
            stop = min(start + ROWS, end)
            yield slice(start, stop), band[:, start - top : stop - top, :width]
        kept = rows.tile - (end - top)
        band[:, :kept] = band[:, end - top :]
        band[:, kept:] = 0


def _weights(starts: list[int], tile: int) -> Values:
    weights = np.ones((len(starts), tile))
    total = np.zeros(starts[-1] + tile)
    for index, start in enumerate(starts):
        if index:
            _fade(weights[index], starts[index - 1] + tile - start)
        if index + 1 < len(starts):
            _fade(weights[index, ::-1], start + tile - starts[index + 1])
        total[start : start + tile] += weights[index]
    return np.stack([row / total[start : start + tile] for row, start in zip(weights, starts, strict=True)]).astype(
        np.float32
    )


def _fade(weights: NDArray[np.float64], overlap: int) -> None:
    weights[:overlap] *= np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2
