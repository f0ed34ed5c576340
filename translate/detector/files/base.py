"""What all formats have in common: units, checks, errors that name the place inside the file.

N events, L layers, H x W cells of a layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from translate.config.spec import Spec
from translate.detector.showers import Showers
from translate.errors import DataError, unknown

Kind = Literal["calogan", "calochallenge", "npz", "tiles", "root", "fits"]
Role = Literal["index", "value", "cell", "energy", "particle"]  # of ROOT branches; `cell` is a prefix
Shape = tuple[int, int]
Array = NDArray[Any]

ENERGY = {"eV": 1e-6, "keV": 1e-3, "MeV": 1.0, "GeV": 1e3, "TeV": 1e6}  # in MeV
OTHER = ("ADC", "VEM", "ns", "us", "1")  # are not converted
CHUNK = 32 << 20  # bytes of cells read at a time


class FileOptions(Spec):
    """What a file does not say itself. None: as the file says, or as its format is published."""

    kind: Kind | None = None
    unit: str | tuple[str, ...] | None = None  # of the cells, one for all layers or one a layer
    energy_unit: str | None = None  # of the incident energy
    binning: Path | None = None  # CaloChallenge: the XML file
    layout: Literal["NLHW", "NHWL"] | None = None  # npz: where the layers are
    tree: str | None = None  # ROOT: its name
    branches: dict[Role, str] = Field(default={})  # ROOT: their names, where they are others
    sparse: bool = True  # ROOT, for writing: jagged arrays of the cells that are not 0; else one branch a cell
    shapes: tuple[Shape, ...] | None = None  # ROOT: H and W of each layer


class ShowerFile(ABC):
    """An open file, for one thread of one process. A context manager.

    Subclasses fill in what stands in the file: `count`, `names` (of the dataset of each layer), `shapes`, `stated` and
    `energy_stated` (units; None where nothing is said), then call `_settle`.
    """

    kind: ClassVar[Kind]
    default_unit: str = "MeV"  # where neither the file nor the user says
    default_energy_unit: str = "GeV"
    energy_name: str = "energy"
    length_unit: str = "cells"  # of `positions`

    count: int
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    stated: tuple[str | None, ...]
    energy_stated: str | None = None

    units: tuple[str, ...]  # a layer, of what `read` gives

    def __init__(self, path: Path, options: FileOptions) -> None:
        self.path, self.options = path, options

    def __len__(self) -> int:
        return self.count

    def read(self, start: int, stop: int) -> Showers:
        """Events [start, stop), as of a slice. Raises DataError."""
        start, stop, _ = slice(start, stop).indices(self.count)
        with damaged(self.path, self.names[0]):
            layers, energy, particle = self._read(start, max(start, stop))
        cells = tuple(self._converted(layer, place, start) for place, layer in enumerate(layers))
        if energy is not None:
            energy = native(energy).reshape(len(energy)).astype(np.float64) * (
                ENERGY[self._energy_unit] / ENERGY["GeV"]
            )
        count = max(start, stop) - start
        return Showers(
            cells,
            np.full(count, np.nan, np.float32) if energy is None else energy.astype(np.float32),
            np.full(count, -1, np.int64) if particle is None else native(particle).reshape(count).astype(np.int64),
        )

    def chunks(self, size: int | None = None) -> Iterator[Showers]:
        """All events in order, `size` at a time (default: about 32 MB)."""
        size = size or max(1, CHUNK // (8 * sum(map(prod, self.shapes))))
        for start in range(0, self.count, size):
            yield self.read(start, start + size)

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        """Of the middle of each cell, a layer [2, H, W]: x along W, y along H, in `length_unit`, 0 in the middle."""
        return tuple(grid(shape) for shape in self.shapes)

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        """Layers [n, H, W], incident energies [n] or [n, 1] and particles, as they stand in the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self) -> Self:
        """Checks the units, with those that the user gave, and whether the numbers are likely in them."""
        asked = self.options.unit
        wanted = (asked,) * len(self.names) if asked is None or isinstance(asked, str) else asked
        if len(wanted) != len(self.names):
            raise DataError(f"{self.path}: unit: {len(wanted)} were given, but the file has {len(self.names)} layers")
        found = zip(self.names, self.stated, wanted, strict=True)
        self._cell_units = tuple(self._unit(name, stated, unit, self.default_unit) for name, stated, unit in found)
        self.units = tuple("MeV" if unit in ENERGY else unit for unit in self._cell_units)
        given = self.options.energy_unit
        self._energy_unit = self._unit(self.energy_name, self.energy_stated, given, self.default_energy_unit)
        if self._energy_unit not in ENERGY:
            raise DataError(f"{self.path}: {self.energy_name}: {self._energy_unit!r} is no unit of energy")
        if asked is None and given is None and not any(self.stated) and set(self.units) == {"MeV"}:
            self._plausible()
        return self

    def _unit(self, name: str, stated: str | None, asked: str | None, default: str) -> str:
        for unit, place in ((stated, name), (asked, "unit")):
            if unit is not None and unit not in ENERGY and unit not in OTHER:
                raise DataError(f"{self.path}: {place}: {unknown('unit', unit, (*ENERGY, *OTHER))}")
        if stated and asked and stated != asked:
            raise DataError(f"{self.path}: {name}: the file says {stated}, `unit` says {asked}; mend one of them")
        return stated or asked or default

    def _plausible(self) -> None:
        """A detector sees between a thousandth and ten times the incident energy: the median of ten showers must."""
        if self.count < 10:
            return
        showers = self.read(0, 100)
        energy = sum(layer.reshape(len(layer), -1).sum(1, dtype=np.float64) for layer in showers.layers)
        with np.errstate(divide="ignore", invalid="ignore"):
            response = energy / (1e3 * showers.energy.astype(np.float64))
        if np.isfinite(response).any() and not 1e-3 <= (middle := float(np.nanmedian(response))) <= 10:
            raise DataError(
                f"{self.path}: {self.names[0]}: says no unit, and in {self.default_unit} the median shower would be "
                f"{middle:.3g} times the {self.energy_name} in {self.default_energy_unit}; give `unit`, `energy_unit`"
            )

    def _converted(self, layer: Array, place: int, start: int) -> Array:
        name, unit, layer = self.names[place], self._cell_units[place], native(layer)
        if layer.dtype.kind == "f" and not np.isfinite(layer).all():
            event = start + int(np.flatnonzero(~np.isfinite(layer).reshape(len(layer), -1).all(1))[0])
            raise DataError(f"{self.path}: {name}: event {event} is not finite; leave it out or write 0 there")
        if ENERGY.get(unit, 1.0) == 1.0:
            return layer
        return (layer.astype(np.float64) * ENERGY[unit]).astype(layer.dtype if layer.dtype.kind == "f" else np.float32)


def grid(shape: Shape, size: Shape | tuple[float, float] = (1, 1)) -> NDArray[np.float64]:
    """[2, H, W]: x and y of the middle of cells of `size` (height, width), 0 in the middle of the layer."""
    y, x = ((np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, size, strict=True))
    return np.stack(np.meshgrid(x, y))


def written_units(options: FileOptions, layers: Sequence[Array]) -> tuple[str, ...]:
    """One a layer: as asked for, else ADC for integers and MeV for the rest. Raises DataError for another number."""
    if isinstance(options.unit, tuple):
        if len(options.unit) != len(layers):
            raise DataError(f"unit: {len(options.unit)} were given for {len(layers)} layers")
        return options.unit
    return tuple(options.unit or ("ADC" if layer.dtype.kind in "iu" else "MeV") for layer in layers)


def native(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def stack_shape(path: Path, name: str, shape: Sequence[int], dtype: np.dtype[Any], count: int | None) -> Shape:
    """H and W of one layer [N, H, W] of numbers. Raises DataError where it is none, or has not `count` events."""
    if len(shape) != 3 or 0 in shape[1:] or dtype.kind not in "iufb":
        raise DataError(f"{path}: {name}: is {dtype} {list(shape)}; a layer is numbers [events, height, width]")
    if count is not None and shape[0] != count:
        raise DataError(f"{path}: {name}: has {shape[0]} events where others have {count}; cut all to the same events")
    return int(shape[1]), int(shape[2])


def column_shape(path: Path, name: str, shape: Sequence[int], count: int) -> None:
    if tuple(shape) not in ((count,), (count, 1)):
        raise DataError(f"{path}: {name}: is {list(shape)}; with {count} events it has to be [{count}] or [{count}, 1]")


@contextmanager
def damaged(path: Path, name: str) -> Iterator[None]:
    """Whatever a library says of a damaged file becomes a DataError that names the place in it."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"{path}: {name}: cannot be read ({detail}); the file is damaged or cut: copy it again"
        ) from error
