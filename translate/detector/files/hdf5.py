"""HDF5 of CaloGAN (arXiv 1712.10321) and of the CaloChallenge (arXiv 2410.21611).

CaloGAN: `layer_0`, `layer_1`, … [N, H, W] in MeV, `energy` [N, 1] in GeV. CaloChallenge: `showers` [N, V] in MeV, r
fastest, then α, then layers; `incident_energies` [N, 1] in MeV. An attribute `unit` of a dataset says otherwise. Files
written here have `particle` [N], too, checksums, and for `showers` an attribute `shapes` [L, 2].
"""

import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from translate.detector.files.base import (
    Array,
    FileOptions,
    Kind,
    Shape,
    ShowerFile,
    column_shape,
    damaged,
    grid,
    stack_shape,
    written_units,
)
from translate.detector.files.binning import Binning, published
from translate.detector.showers import PARTICLES, Showers
from translate.errors import DataError

_CALOGAN: tuple[Shape, ...] = ((3, 96), (12, 12), (12, 6))  # as published, each 480 mm x 480 mm


def open_hdf5(path: Path, options: FileOptions) -> "_Hdf5":
    import h5py

    with damaged(path, "the file"):
        file = h5py.File(path, "r")
    try:
        with damaged(path, "the file"):
            names = list(file)
        if options.kind == "calochallenge" or (options.kind is None and "showers" in names):
            return CaloChallenge(path, options, file)
        if options.kind == "calogan" or "layer_0" in names:
            return CaloGan(path, options, file)
        raise DataError(
            f"{path}: has neither 'layer_0', … (CaloGAN) nor 'showers' (CaloChallenge), but "
            f"{', '.join(names) or 'nothing'}"
        )
    except BaseException:
        file.close()
        raise


class _Hdf5(ShowerFile):
    def __init__(self, path: Path, options: FileOptions, file: Any) -> None:
        super().__init__(path, options)
        self.file = file
        self._open()
        for name in (self.energy_name, "particle"):
            if name in file:
                column_shape(path, name, self._dataset(name).shape, self.count)
        self.energy_stated = self._stated(self.energy_name)
        self._settle()

    @abstractmethod
    def _open(self) -> None:
        """Fills in what stands in the file."""

    def close(self) -> None:
        self.file.close()

    def _dataset(self, name: str) -> Any:
        import h5py

        with damaged(self.path, name):
            if not isinstance(found := self.file.get(name), h5py.Dataset):
                raise DataError(f"{self.path}: {name}: is missing; the file has {', '.join(self.file) or 'nothing'}")
        return found

    def _stated(self, name: str) -> str | None:
        attributes = self.file[name].attrs if name in self.file else {}
        unit = attributes.get("unit", attributes.get("units"))
        return unit.decode() if isinstance(unit, bytes) else None if unit is None else str(unit)

    def _columns(self, start: int, stop: int) -> tuple[Array | None, Array | None]:
        found = []
        for name in (self.energy_name, "particle"):
            with damaged(self.path, name):
                found.append(self.file[name][start:stop] if name in self.file else None)
        return found[0], found[1]


class CaloGan(_Hdf5):
    kind: ClassVar[Kind] = "calogan"

    def _open(self) -> None:
        places = sorted(int(name[6:]) for name in self.file if re.fullmatch(r"layer_\d+", name))
        self.names = tuple(f"layer_{place}" for place in range(max(places, default=0) + 1))
        datasets = [self._dataset(name) for name in self.names]
        self.count, shapes = (datasets[0].shape or (0,))[0], []
        for name, dataset in zip(self.names, datasets, strict=True):
            shapes.append(stack_shape(self.path, name, dataset.shape or (), dataset.dtype, self.count))
        self.shapes, self.stated = tuple(shapes), tuple(self._stated(name) for name in self.names)
        self.length_unit = "mm" if self.shapes == _CALOGAN else "cells"

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        layers = []
        for name in self.names:
            with damaged(self.path, name):
                layers.append(self.file[name][start:stop])
        return layers, *self._columns(start, stop)

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        if self.shapes != _CALOGAN:
            return super().positions
        return tuple(grid(shape, (480 / shape[0], 480 / shape[1])) for shape in self.shapes)


class CaloChallenge(_Hdf5):
    kind: ClassVar[Kind] = "calochallenge"
    default_energy_unit = "MeV"
    energy_name = "incident_energies"

    def _open(self) -> None:
        dataset = self._dataset("showers")
        if len(dataset.shape or ()) != 2 or dataset.dtype.kind not in "iuf":
            raise DataError(
                f"{self.path}: showers: is {dataset.dtype} {dataset.shape}; expected numbers [events, voxels]"
            )
        self.count, voxels = dataset.shape
        asked, known = self.options.binning, dataset.attrs.get("shapes")
        self.binning = Binning.read(asked) if asked else published().get(voxels) if known is None else None
        if self.binning is not None:
            self.shapes, self.length_unit = self.binning.shapes, "mm"
        elif known is not None:
            self.shapes = tuple((int(a), int(r)) for a, r in known)
        else:
            sizes = ", ".join(map(str, published()))
            raise DataError(
                f"{self.path}: showers: {voxels} voxels are no published binning ({sizes}); give `binning`, its XML"
            )
        if voxels != (total := sum(map(prod, self.shapes))):
            raise DataError(
                f"{self.path}: showers: has {voxels} voxels where {asked or 'its attribute shapes'} has {total} bins; "
                "give the `binning` of this file"
            )
        self.names = ("showers",) * len(self.shapes)
        self.stated = (self._stated("showers"),) * len(self.shapes)

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        with damaged(self.path, "showers"):
            flat = self.file["showers"][start:stop]
        energy, particle = self._columns(start, stop)
        if particle is None and self.binning is not None and self.binning.particle is not None:
            particle = np.full(stop - start, PARTICLES.index(self.binning.particle))
        ends = np.cumsum([prod(shape) for shape in self.shapes])[:-1]
        parts = zip(np.split(flat, ends, axis=1), self.shapes, strict=True)
        return [part.reshape(-1, *shape) for part, shape in parts], energy, particle

    @property
    def positions(self) -> tuple[NDArray[np.float64], ...]:
        return super().positions if self.binning is None else self.binning.positions


def write_calogan(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    units = written_units(options, first.layers)
    with _Sink(path) as sink:
        for place, unit in enumerate(units):
            sink.create(f"layer_{place}", first.layers[place], unit)
        sink.create("energy", first.energy[:, None], "GeV")
        sink.create("particle", first.particle)
        for chunk in chunks:
            for place, layer in enumerate(chunk.layers):
                sink.append(f"layer_{place}", layer)
            sink.append("energy", chunk.energy[:, None])
            sink.append("particle", chunk.particle)


def write_calochallenge(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    """Incident energies as float64, in which MeV give back the very GeV they were made from."""
    shapes = tuple(layer.shape[1:] for layer in first.layers)
    if options.binning is not None and shapes != (wanted := Binning.read(options.binning).shapes):
        raise DataError(f"{path.name}: layers of {shapes} are not those of {options.binning}, {wanted}")
    units = written_units(options, first.layers)
    if len({layer.dtype for layer in first.layers}) > 1 or len(set(units)) > 1:
        raise DataError(
            f"{path.name}: layers differ in dtype or unit, which 'showers' cannot hold; write kind: calogan"
        )
    with _Sink(path) as sink:
        dataset = sink.create("showers", _flat(first), units[0])
        known = published().get(dataset.shape[1])
        if known is None or known.shapes != shapes:
            dataset.attrs["shapes"] = np.array(shapes)
        sink.create("incident_energies", np.empty((0, 1)), "MeV")
        sink.create("particle", first.particle)
        for chunk in chunks:
            sink.append("showers", _flat(chunk))
            sink.append("incident_energies", chunk.energy.astype(np.float64)[:, None] * 1e3)
            sink.append("particle", chunk.particle)


def _flat(showers: Showers) -> Array:
    return np.concatenate([layer.reshape(len(layer), -1) for layer in showers.layers], axis=1)


class _Sink:
    """An HDF5 file whose datasets grow."""

    def __init__(self, path: Path) -> None:
        import h5py

        self.file = h5py.File(path, "w")

    def create(self, name: str, example: Array, unit: str | None = None) -> Any:
        """Compressed, since most cells are empty; a chunk on disk has about 1 MB."""
        rest = example.shape[1:]
        rows = max(1, (1 << 20) // max(1, prod(rest) * example.dtype.itemsize))
        dataset = self.file.create_dataset(
            name,
            (0, *rest),
            maxshape=(None, *rest),
            chunks=(rows, *rest),
            dtype=example.dtype,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
            fletcher32=True,
        )
        if unit is not None:
            dataset.attrs["unit"] = unit
        return dataset

    def append(self, name: str, values: Array) -> None:
        dataset = self.file[name]
        start = len(dataset)
        dataset.resize(start + len(values), axis=0)
        dataset[start:] = values

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
