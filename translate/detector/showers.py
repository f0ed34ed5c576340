"""Showers in memory: what files and the simulator give, and what everything else takes.

N events, L layers, H x W cells of a layer.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from translate.errors import DataError

PARTICLES = ("electron", "photon", "pion", "proton", "iron")


class Showers(NamedTuple):
    """Events of one detector."""

    layers: tuple[NDArray[Any], ...]  # L arrays [N, H, W]: deposited energy in MeV, unless the file says otherwise
    energy: NDArray[np.float32]  # [N], of the incident particle, in GeV; NaN where it is not known
    particle: NDArray[np.int64]  # [N], a place in PARTICLES; -1 where it is not known

    @classmethod
    def of(cls, cells: NDArray[Any], energy: NDArray[Any] | None = None, particle: NDArray[Any] | None = None) -> Self:
        """`cells` [N, L, H, W], which is not copied."""
        count = len(cells)
        return cls(
            tuple(cells[:, layer] for layer in range(cells.shape[1])),
            np.full(count, np.nan, np.float32) if energy is None else energy.astype(np.float32, copy=False),
            np.full(count, -1, np.int64) if particle is None else particle.astype(np.int64, copy=False),
        )

    @property
    def cells(self) -> NDArray[Any]:
        """[N, L, H, W], a copy. Raises DataError where layers differ in their cells."""
        shapes = {layer.shape[1:] for layer in self.layers}
        if len(shapes) > 1:
            raise DataError(
                f"layers of {', '.join('x'.join(map(str, shape)) for shape in sorted(shapes))} cells are not one image"
            )
        return np.stack(self.layers, 1)

    def count(self) -> int:  # type: ignore[override]  # of a tuple nobody needs that
        return len(self.energy)

    def take(self, index: Any) -> "Showers":
        """The events that `index` (a slice, or numbers, or booleans [N]) picks."""
        return Showers(tuple(layer[index] for layer in self.layers), self.energy[index], self.particle[index])
