"""npz: one file of many events, or a folder of one-event tiles.

A file has `shower_maps` (or is a plain `arr_0`) [N, L, H, W], [N, H, W, L], [N, H, W] or [H, W], and may have `energy`
[N] in GeV, `particle` [N], `units` [L] and `layout`. A folder has one event a file, as the Simple Liquid Argon Track
Samples: signed 16-bit ADC counts. Integers are ADC counts unless the file says otherwise.
"""

import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from translate.detector.files.base import Array, FileOptions, Kind, ShowerFile, column_shape, damaged, written_units
from translate.detector.showers import Showers
from translate.errors import DataError


class Npz(ShowerFile):
    kind: ClassVar[Kind] = "npz"

    def __init__(self, path: Path, options: FileOptions) -> None:
        super().__init__(path, options)
        with damaged(path, "the archive"):
            self.zip = zipfile.ZipFile(path)
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        members = {name.removesuffix(".npy") for name in self.zip.namelist()}
        name = next((name for name in ("shower_maps", "arr_0") if name in members), None)
        if name is None:
            raise DataError(
                f"{self.path}: has neither shower_maps nor arr_0, but {', '.join(sorted(members)) or 'nothing'}"
            )
        self.cells = _Member(self.path, self.zip, name)
        shape = self.cells.shape
        if self.cells.dtype.kind not in "iufb" or len(shape) not in (2, 3, 4) or 0 in shape[1:]:
            raise DataError(
                f"{self.path}: {name}: is {self.cells.dtype} {list(shape)}; expected numbers "
                "[events, layers, height, width]"
            )
        self.count = shape[0] if len(shape) > 2 else 1
        self.axis = self._layer_axis(name, shape, self._text("layout", members)) if len(shape) == 4 else None
        layers = shape[self.axis] if self.axis else 1
        plane = tuple(n for place, n in enumerate(shape) if place not in (self.axis, 0 if len(shape) > 2 else None))
        self.shapes = ((plane[0], plane[1]),) * layers
        self.names = (name,) * layers
        self.default_unit = "ADC" if self.cells.dtype.kind in "iu" else "MeV"
        units = self._strings("units", members)
        if len(units) not in (0, 1, layers):
            raise DataError(f"{self.path}: units: has {len(units)} for {layers} layers")
        self.stated = tuple(units) * layers if len(units) == 1 else tuple(units) or (None,) * layers
        self.columns = {key: _Member(self.path, self.zip, key) for key in ("energy", "particle") if key in members}
        for key, column in self.columns.items():
            column_shape(self.path, key, column.shape, self.count)
        self._settle()

    def _layer_axis(self, name: str, shape: Sequence[int], stated: str | None) -> int:
        layout = self.options.layout or stated
        if layout not in (None, "NLHW", "NHWL"):
            raise DataError(f"{self.path}: layout: is {layout!r}; expected NLHW or NHWL")
        if layout is None and shape[1] == shape[3]:
            raise DataError(f"{self.path}: {name}: where the layers of {list(shape)} are cannot be told; give `layout`")
        return 1 if layout == "NLHW" or (layout is None and shape[1] < shape[3]) else 3

    def _strings(self, name: str, members: set[str]) -> list[str]:
        if name not in members:
            return []
        with damaged(self.path, name):
            return [str(text) for text in np.atleast_1d(_Member(self.path, self.zip, name).whole())]

    def _text(self, name: str, members: set[str]) -> str | None:
        return next(iter(self._strings(name, members)), None)

    def close(self) -> None:
        self.zip.close()

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        if len(self.cells.shape) == 2:
            cells = self.cells.whole()[None, None][start:stop]
        else:
            cells = self.cells.read(start, stop)
            cells = np.moveaxis(cells, self.axis, 1) if self.axis else cells[:, None]
        energy, particle = (self.columns[key].read(start, stop) if key in self.columns else None for key in _COLUMNS)
        return [np.ascontiguousarray(cells[:, layer]) for layer in range(cells.shape[1])], energy, particle


_COLUMNS = ("energy", "particle")


class _Member:
    """One array of an archive. Stored, it is mapped into memory; compressed, it is read forwards."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, name: str) -> None:
        self.path, self.zip, self.name = path, archive, name
        with damaged(path, name):
            info = archive.getinfo(f"{name}.npy")
            with archive.open(info) as file:
                major, _ = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
                shape, fortran, self.dtype = read(file)
                self.shape: tuple[int, ...] = tuple(shape)
                self.start = file.tell()
            if self.dtype.hasobject:
                raise DataError(f"{path}: {name}: holds Python objects; save it as an array of numbers")
            if fortran and len(self.shape) > 1:
                raise DataError(f"{path}: {name}: is in Fortran order; save it after numpy.ascontiguousarray")
            if info.file_size != self.start + prod(self.shape) * self.dtype.itemsize:
                raise DataError(
                    f"{path}: {name}: has {info.file_size} bytes, not those of {list(self.shape)}; copy it again"
                )
            self.map: Array | None = None
            if info.compress_type == zipfile.ZIP_STORED and 0 not in self.shape:
                with path.open("rb") as raw:
                    raw.seek(info.header_offset + 26)
                    lengths = np.frombuffer(raw.read(4), "<u2")
                offset = info.header_offset + 30 + int(lengths.sum()) + self.start
                self.map = np.memmap(path, self.dtype, "r", offset, self.shape)
        self.file: IO[bytes] | None = None

    def whole(self) -> Array:
        return self._from(0, prod(self.shape)).reshape(self.shape)

    def read(self, start: int, stop: int) -> Array:
        """Rows [start, stop) of the first axis, a copy."""
        row = prod(self.shape[1:])
        return self._from(start * row, stop * row).reshape(-1, *self.shape[1:])

    def _from(self, start: int, stop: int) -> Array:
        with damaged(self.path, self.name):
            if self.map is not None:
                return np.array(self.map.reshape(-1)[start:stop])
            if self.file is None:
                self.file = self.zip.open(f"{self.name}.npy")
            self.file.seek(self.start + start * self.dtype.itemsize)
            data = self.file.read((stop - start) * self.dtype.itemsize)
            return np.frombuffer(data, self.dtype, stop - start).copy()


class Tiles(ShowerFile):
    """A folder of .npz files, one event each, in the order of their names (`files`)."""

    kind: ClassVar[Kind] = "tiles"

    def __init__(self, path: Path, options: FileOptions) -> None:
        super().__init__(path, FileOptions())  # tiles convert their units
        self.files = sorted(path.glob("*.npz"))
        if not self.files:
            raise DataError(f"{path}: has no .npz files")
        self.count, self._inner = len(self.files), options.model_copy(update={"kind": None})
        with self._tile(0) as tile:
            self.shapes, self.names, self.stated, self.energy_stated = tile.shapes, tile.names, tile.units, "GeV"
        self._settle()

    def _tile(self, place: int) -> Npz:
        tile = Npz(self.files[place], self._inner)
        if tile.count != 1 or getattr(self, "shapes", tile.shapes) != tile.shapes:
            tile.close()
            raise DataError(
                f"{tile.path}: {tile.names[0]}: {tile.count} events of {tile.shapes}; a tile is one, of {self.shapes}"
            )
        return tile

    def close(self) -> None:
        """Every tile is closed as soon as it is read."""

    def _read(self, start: int, stop: int) -> tuple[Sequence[Array], Array | None, Array | None]:
        showers = []
        for place in range(start, stop):
            with self._tile(place) as tile:
                showers.append(tile.read(0, 1))
        if not showers:
            return [np.empty((0, *shape)) for shape in self.shapes], None, None
        layers = [np.concatenate(parts) for parts in zip(*(shower.layers for shower in showers), strict=True)]
        energy = np.concatenate([shower.energy for shower in showers])
        return layers, energy, np.concatenate([shower.particle for shower in showers])


def write_npz(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    """Arrays grow in files beside `path`, since a member of an archive has to know its size first."""
    _same(path, first)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        columns = [Column(Path(folder) / f"{name}.npy") for name in ("shower_maps", *_COLUMNS)]
        for chunk in chunks:
            found: tuple[Array, ...] = (chunk.cells, chunk.energy, chunk.particle)
            for column, values in zip(columns, found, strict=True):
                column.append(values)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for column in columns:
                column.load()
                archive.write(column.path, column.path.name)
            for name, value in (("units", written_units(options, first.layers)), ("layout", "NLHW")):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(value))


def write_tiles(path: Path, first: Showers, chunks: Iterable[Showers], options: FileOptions) -> None:
    """000000.npz, …: `arr_0` [H, W], or [1, L, H, W] of several layers, and beside it what is not evident."""
    _same(path, first)
    path.mkdir()
    place, units = 0, written_units(options, first.layers)
    for chunk in chunks:
        for event, energy, particle in zip(chunk.cells, chunk.energy, chunk.particle, strict=True):
            arrays: dict[str, Any] = (
                {"arr_0": event[0]} if len(event) == 1 else {"arr_0": event[None], "layout": "NLHW"}
            )
            if set(units) != {"ADC"} or event.dtype.kind not in "iu":
                arrays["units"] = units
            if not np.isnan(energy):
                arrays["energy"] = [energy]
            if particle != -1:
                arrays["particle"] = [particle]
            np.savez_compressed(path / f"{place:06d}.npz", **arrays)
            place += 1


def _same(path: Path, first: Showers) -> None:
    if len({(layer.shape[1:], layer.dtype) for layer in first.layers}) > 1:
        raise DataError(f"{path.name}: layers differ in shape or dtype, which an npz cannot hold; write kind: calogan")


class Column:
    """A .npy file that grows by rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.file, self.shape, self.dtype = path, path.open("w+b"), (0,), np.dtype("u1")

    def append(self, values: NDArray[Any]) -> None:
        if self.shape == (0,):
            self.shape, self.dtype = (0, *values.shape[1:]), values.dtype
            self._header()
        self.shape = (self.shape[0] + len(values), *self.shape[1:])
        self.file.write(np.ascontiguousarray(values).data)

    def load(self) -> Array:
        """What was appended, mapped into memory; nothing can be appended any more."""
        self.file.seek(0)
        self._header()  # which is padded, so that the count may grow
        self.file.close()
        mapped: Array = np.load(self.path, mmap_mode="r")
        return mapped

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(self.file, header)
