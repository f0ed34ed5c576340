"""Where showers come from, files or the simulator, and any of them at any time without all of them in memory.

Events are read, or simulated, in blocks, of which the last 256 MB are kept: what takes them in the order of
`Reader.order` reads each block once an epoch, or once altogether where they all fit.
"""

import os
from collections import OrderedDict
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from translate.config.spec import Spec
from translate.detector.files import FileOptions, ShowerFile, open_showers
from translate.detector.showers import Showers
from translate.detector.simulator import Detector, simulate
from translate.errors import DataError

BLOCK, BLOCK_BYTES = 1024, 32 << 20  # events in a block, at most
KEPT_BYTES = 256 << 20  # of blocks, whose events are mixed

Paths = Annotated[
    tuple[Path, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str | Path) else value),
]


class Events(Spec):
    """One side of the data: `files`, one after the other, or the built-in `simulator`."""

    files: Paths = ()
    options: FileOptions = FileOptions()
    simulator: Annotated[Detector, Field(discriminator="kind")] | None = None
    count: int = Field(default=20_000, ge=1)  # of simulated events
    seed: int = Field(default=0, ge=0)  # of the simulator

    @model_validator(mode="after")
    def _one_origin(self) -> "Events":
        if bool(self.files) == (self.simulator is not None):
            raise ValueError("needs either files or a simulator")
        return self


class Taken(NamedTuple):
    """Some events: cells as they are read, MeV or counts."""

    cells: NDArray[Any]  # [N, L, H, W]
    energy: NDArray[np.float32]  # [N] GeV
    particle: NDArray[np.int64]  # [N]


class Reader:
    """The events of one side by their numbers. Each process opens the files for itself."""

    def __init__(self, events: Events) -> None:
        """Raises DataError where files do not exist, cannot be read, or are not of the same layers."""
        self.events = events
        self.counts = [events.count]
        if events.simulator is not None:
            shapes, units = {events.simulator.shape}, {events.simulator.units}
        else:
            files = [self._opened(place) for place in range(len(events.files))]
            self.counts = [len(file) for file in files]
            shapes, units = {_shape(file) for file in files}, {file.units for file in files}
        for what, found in (("layers", shapes), ("units", units)):
            if len(found) > 1:
                raise DataError(f"{events.files[0]} and the files after it differ in their {what}: {sorted(found)}")
        (self.shape,), (self.units,) = shapes, units  # L, H, W; of the cells, a layer
        self.count = sum(self.counts)
        event = 4 * prod(self.shape)  # bytes
        self.size = min(BLOCK, max(1, BLOCK_BYTES // event))  # events in a block
        self.group = max(1, KEPT_BYTES // (self.size * event))  # blocks

    @property
    def tiles(self) -> bool:
        """Whether each event is a file, whose name says which it is."""
        return bool(self.events.files) and self._opened(0).kind == "tiles"

    def name(self, number: int) -> str:
        """Of a tile that of its file, else the number."""
        if self.tiles:
            place, within = self._place(number)
            return str(self._opened(place).files[within].stem)  # type: ignore[attr-defined]
        return str(number)

    def order(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Each event once: groups of blocks, mixed within a group."""
        blocks = rng.permutation(-(-self.count // self.size))
        return [
            rng.permutation(
                np.concatenate([np.arange(b * self.size, min((b + 1) * self.size, self.count)) for b in group])
            )
            for group in np.split(blocks, range(self.group, len(blocks), self.group))
        ]

    def take(self, numbers: NDArray[np.int64]) -> Taken:
        found = Taken(np.empty(0), np.empty(len(numbers), np.float32), np.empty(len(numbers), np.int64))
        which, within = np.divmod(numbers, self.size)
        for block in np.unique(which):
            part, mine = self._block(int(block)), which == block
            if not found.cells.size:
                found = found._replace(cells=np.empty((len(numbers), *self.shape), part.cells.dtype))
            found.cells[mine], found.energy[mine], found.particle[mine] = (piece[within[mine]] for piece in part)
        return found

    def _block(self, block: int) -> Taken:
        kept = self._mine()[1]
        if block not in kept:
            while len(kept) > self.group:
                kept.popitem(last=False)
            start = block * self.size
            showers = self._read(start, min(start + self.size, self.count))
            kept[block] = Taken(showers.cells, showers.energy, showers.particle)
        kept.move_to_end(block)
        return kept[block]

    def _read(self, start: int, stop: int) -> Showers:
        if self.events.simulator is not None:
            return simulate(self.events.simulator, stop - start, seed=self.events.seed, start=start)
        parts = []
        while start < stop:
            place, within = self._place(start)
            count = min(stop - start, self.counts[place] - within)
            parts.append(self._opened(place).read(within, within + count))
            start += count
        layers, energy, particle = zip(*parts, strict=True)
        joined = tuple(np.concatenate(layer) for layer in zip(*layers, strict=True))
        return Showers(joined, np.concatenate(energy), np.concatenate(particle))

    def _place(self, number: int) -> tuple[int, int]:
        """The file of an event, and its number there."""
        ends = np.cumsum(self.counts)
        place = int(np.searchsorted(ends, number, side="right"))
        return place, number - int(ends[place]) + self.counts[place]

    def _opened(self, place: int) -> ShowerFile:
        files = self._mine()[0]
        if place not in files:
            files[place] = open_showers(self.events.files[place], self.events.options)
        return files[place]

    def _mine(self) -> tuple[dict[int, ShowerFile], OrderedDict[int, Taken]]:
        """Open files and kept blocks of this process: those of the one that it was forked from are not its own."""
        if getattr(self, "_process", None) != os.getpid():
            self._process = os.getpid()
            self._own: tuple[dict[int, ShowerFile], OrderedDict[int, Taken]] = {}, OrderedDict()
        return self._own

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_process", "_own")}


def _shape(file: ShowerFile) -> tuple[int, int, int]:
    if len(set(file.shapes)) > 1:
        raise DataError(
            f"{file.path}: layers of {', '.join('x'.join(map(str, shape)) for shape in file.shapes)} cells are not one "
            "image: networks take layers that are alike"
        )
    return (len(file.shapes), *file.shapes[0])
