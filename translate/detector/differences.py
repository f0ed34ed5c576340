"""What sets data apart from their simulation: named effects, each off until it is set, so that a closure test knows
the truth.

Those of a surface array are listed beside it (`airshower.OF_AN_ARRAY`).
"""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from translate.config.spec import Spec

Cells = NDArray[np.float64]  # [N, L, H, W]


class Differences(Spec):
    """Energies in MeV (signals in VEM, for a surface array). Which cells are dead, hot and how far miscalibrated is
    a property of the detector: it follows from `seed` alone, not from the event.
    """

    seed: int = Field(default=0, ge=0, lt=1 << 63)  # of the patterns over cells and layers
    gain: float = Field(default=1.0, gt=0)  # of all cells
    cell_miscalibration: float = Field(default=0.0, ge=0, le=0.5)  # factors N(1, σ) of the cells
    layer_miscalibration: float = Field(default=0.0, ge=0, lt=1)  # factors uniform in 1 ± this of the layers
    noise: float = Field(default=0.0, ge=0)  # σ in each cell; cells may become negative
    zero_suppression: float = Field(default=0.0, ge=0)  # cells below this read 0
    cross_talk: float = Field(default=0.0, ge=0, le=0.25)  # share that leaks to each of the 4 neighbours that exist
    dead: float = Field(default=0.0, ge=0, le=1)  # share of the cells that read 0: at least one
    hot: float = Field(default=0.0, ge=0, le=1)  # share of the cells with energy of their own: at least one
    hot_energy: float = Field(default=500.0, gt=0)  # mean of that energy, which is exponential
    saturation: float | None = Field(default=None, gt=0)  # no cell reads more
    pile_up: float = Field(default=0.0, ge=0, le=100)  # mean number of further electrons in an event, Poisson
    pile_up_energy: float = Field(default=1.0, gt=0)  # theirs is 1 GeV plus an exponential of this mean in GeV
    upstream_material: float = Field(default=0.0, ge=0, le=20)  # radiation lengths before the first layer
    resolution: float = Field(default=1.0, ge=0)  # factor on the fluctuations of the sampling
    moliere: float = Field(default=1.0, gt=0)  # factor on the radii of showers
    misalignment: float = 0.0  # the impact is that many cells further along x

    @classmethod
    def data(cls, seed: int = 0) -> "Differences":
        """All of them at once, each of a size that is met in practice."""
        return cls(
            seed=seed,
            gain=0.97,
            cell_miscalibration=0.03,
            layer_miscalibration=0.02,
            noise=10.0,
            zero_suppression=25.0,
            cross_talk=0.015,
            dead=0.005,
            hot=0.001,
            saturation=8000.0,
            pile_up=0.3,
            upstream_material=0.3,
            resolution=1.2,
            moliere=1.05,
            misalignment=0.5,
        )

    def named(self) -> tuple[str, ...]:
        """Those that are on."""
        neutral = Differences(seed=self.seed, hot_energy=self.hot_energy, pile_up_energy=self.pile_up_energy)
        return tuple(name for name in type(self).model_fields if getattr(self, name) != getattr(neutral, name))


def _preset(value: Any) -> Any:
    return {"none": Differences(), "data": Differences.data()}.get(value, value) if isinstance(value, str) else value


Choice = Annotated[Differences, BeforeValidator(_preset)]  # in a config also the words `none` and `data`


class Patterns:
    """What `differences.seed` makes of a detector of so many layers, rows and columns."""

    def __init__(self, differences: Differences, shape: tuple[int, int, int]) -> None:
        def rng(number: int) -> np.random.Generator:
            return np.random.Generator(np.random.Philox(key=np.array([differences.seed, number], np.uint64)))

        cells = int(np.prod(shape))
        order = rng(18).permutation(cells)  # no cell is dead and hot while both shares are below a half
        self.dead, self.hot = np.zeros((2, cells), bool)
        self.dead[order[: _share(differences.dead, cells)]] = True
        self.hot[order[cells - _share(differences.hot, cells) :]] = True
        self.dead, self.hot = self.dead.reshape(shape), self.hot.reshape(shape)
        cell = 1 + differences.cell_miscalibration * rng(16).standard_normal(shape)
        layer = 1 + differences.layer_miscalibration * rng(17).uniform(-1, 1, (shape[0], 1, 1))
        self.factor = differences.gain * cell.clip(0) * layer  # [L, H, W]


def read_out(cells: Cells, differences: Differences, rng: np.random.Generator) -> Cells:
    """What the electronics make of deposited energies: cross-talk, gains, hot cells, saturation, noise, dead cells,
    zero suppression, in this order.
    """
    patterns = Patterns(differences, cells.shape[1:])
    if differences.cross_talk:
        cells = cross_talk(cells, differences.cross_talk)
    cells = cells * patterns.factor
    if differences.hot:
        cells = cells + np.where(patterns.hot, rng.exponential(differences.hot_energy, cells.shape), 0.0)
    if differences.saturation:
        cells = cells.clip(None, differences.saturation)
    if differences.noise:
        cells = cells + differences.noise * rng.standard_normal(cells.shape)
    cells = np.where(patterns.dead, 0.0, cells)
    return np.where(cells < differences.zero_suppression, 0.0, cells) if differences.zero_suppression else cells


def cross_talk(cells: Cells, share: float) -> Cells:
    """Each cell gives `share` to each of the 4 neighbours that it has; nothing is lost."""
    mixed = cells.copy()
    for axis in (2, 3):
        step = share * np.diff(cells, axis=axis)  # what flows against the axis, between neighbours
        low, high = [slice(None)] * 4, [slice(None)] * 4
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        mixed[tuple(low)] += step
        mixed[tuple(high)] -= step
    return mixed


def _share(share: float, cells: int) -> int:
    return max(1, round(share * cells)) if share else 0
