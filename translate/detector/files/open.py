"""Which format a file has, and writing that leaves the whole file or none."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from translate.detector.files.base import ENERGY, OTHER, FileOptions, Kind, ShowerFile
from translate.detector.showers import Showers
from translate.errors import DataError, unknown

_SUFFIXES: dict[str, Kind] = {
    ".h5": "calogan",
    ".hdf5": "calogan",
    ".npz": "npz",
    ".root": "root",
    ".fits": "fits",
    ".fit": "fits",
}


def open_showers(path: Path | str, options: FileOptions | None = None) -> ShowerFile:
    """Opens and checks the file (a folder is one of npz tiles) and reads at most a hundred events.

    Raises DataError where it is missing, damaged, of an unknown format, or where units or shapes do not fit.
    """
    path, options = Path(path).expanduser(), options or FileOptions()
    if not path.is_dir() and not path.is_file():
        raise DataError(f"{path}: there is no such file")
    match options.kind or _kind(path):
        case "calogan" | "calochallenge":
            from translate.detector.files.hdf5 import open_hdf5

            return open_hdf5(path, options)
        case "npz":
            from translate.detector.files.npz import Npz

            return Npz(path, options)
        case "tiles":
            from translate.detector.files.npz import Tiles

            return Tiles(path, options)
        case "root":
            from translate.detector.files.root import Root

            return Root(path, options)
        case "fits":
            from translate.detector.files.fits import Fits

            return Fits(path, options)


def write_showers(path: Path | str, chunks: Iterable[Showers], options: FileOptions | None = None) -> int:
    """Writes chunk after chunk, dtypes as they are, and gives the number of events.

    The file (for tiles, the folder) appears when it is complete: it is written under another name beside it, forced to
    disk and renamed. Energies are written in MeV (cells) and in the unit of the format (incident); `options.unit` names
    what is not an energy, as ADC. Raises DataError where chunks differ in their layers or the format cannot hold them.
    """
    path, options = Path(path).expanduser(), options or FileOptions()
    kind = options.kind or _kind(path)
    for unit in options.unit if isinstance(options.unit, tuple) else (options.unit or "MeV",):
        if unit in ENERGY and unit != "MeV":
            raise DataError(f"unit: energies are written in MeV, not in {unit}")
        if unit not in ENERGY and unit not in OTHER:
            raise DataError(f"unit: {unknown('unit', unit, ('MeV', *OTHER))}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder that is there already; remove it or choose another name")
    checked = _Checked(path, chunks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".showers.", dir=path.parent))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); choose another place") from None
    try:
        temporary = folder / path.name
        match kind:
            case "calogan":
                from translate.detector.files.hdf5 import write_calogan as write
            case "calochallenge":
                from translate.detector.files.hdf5 import write_calochallenge as write
            case "npz":
                from translate.detector.files.npz import write_npz as write
            case "tiles":
                from translate.detector.files.npz import write_tiles as write
            case "root":
                from translate.detector.files.root import write_root as write
            case "fits":
                from translate.detector.files.fits import write_fits as write
        write(temporary, checked.first, checked, options)
        for written in (*temporary.rglob("*"), temporary):
            _sync(written)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({' '.join(str(error).split())[:160]}); make room or access"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return checked.count


class _Checked:
    """The chunks, all of which have the layers of the first."""

    def __init__(self, path: Path, chunks: Iterable[Showers]) -> None:
        self.path, self.count, rest = path, 0, iter(chunks)
        first = next(rest, None)
        if first is None:
            raise DataError(f"{path}: there are no showers to write")
        self.first, self.chunks = first, chain((first,), rest)

    def __iter__(self) -> Iterator[Showers]:
        expected = [(layer.shape[1:], layer.dtype) for layer in self.first.layers]
        for chunk in self.chunks:
            found = [(layer.shape[1:], layer.dtype) for layer in chunk.layers]
            if found != expected:
                raise DataError(f"{self.path}: after {self.count} events layers change from {expected} to {found}")
            self.count += chunk.count()
            yield chunk


def _kind(path: Path) -> Kind:
    if path.is_dir():
        return "tiles"
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: {unknown('suffix', path.suffix, _SUFFIXES)}; or give `kind`")
    return _SUFFIXES[path.suffix.lower()]


def _sync(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # of folders, where the system does not know of this
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
