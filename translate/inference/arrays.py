"""Files of arrays that hold pictures: .npy, .npz and HDF5. Only the slices that are asked for are read.

An array of numbers [H, W] or [H, W, C] is one picture, [N, H, W, C] is N of them; others are passed over.
"""

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.data.decode import MAX_PIXELS, check_shape
from translate.errors import ImageError

SUFFIXES = frozenset((".npy", ".npz", ".h5", ".hdf5"))


class Arrays(ABC):
    """An open file, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _read(self, member: str, index: int | None) -> NDArray[Any]: ...

    def read(self, member: str, index: int | None) -> NDArray[Any]:
        """[H, W] or [H, W, C]: the array, or one picture of a stack. Raises ImageError."""
        with _named(self.path):
            return self._read(member, index)


def open_arrays(path: Path) -> Arrays:
    """Raises ImageError where that is no such file."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise ImageError(f"{path}: is not a file that can be read; mend or remove it")
    kind = {".npy": _Npy, ".npz": _Npz}.get(path.suffix.lower(), _Hdf5)
    with _named(path):
        return kind(path)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Of the arrays that may be pictures, by the name of the member ("" in a .npy). Raises ImageError for none."""
    with closing(open_arrays(path)) as opened, _named(path):
        found = opened.shapes()
    if not found:
        raise ImageError(f"{path}: holds no array of numbers [H, W], [H, W, C] or [N, H, W, C]")
    for name in found:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or any(letter in name for letter in "\\:\0"):
            raise ImageError(f"{path}: holds {name!r}, which could leave the output folder; rename it")
    return found


class _Npy(Arrays):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ImageError(f"{path}: is an .npz by its content; rename it")
        self.array = array

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"": self.array.shape} if _may_be_pictures(self.array.shape, self.array.dtype) else {}

    def close(self) -> None:
        del self.array  # the map goes with it

    def _read(self, member: str, index: int | None) -> NDArray[Any]:
        array = self.array if index is None else self.array[index]
        check_shape(self.path, array.shape, MAX_PIXELS)
        return np.array(array)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int  # of the values


class _Npz(Arrays):
    """A member is read forwards, so that a compressed stack is unpacked once however many pictures it has."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.zip = zipfile.ZipFile(path)
        self.member = ""
        self.file: IO[bytes] | None = None

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for name in self.zip.namelist():
            if name.endswith(".npy"):
                with self.zip.open(name) as file:
                    header = _header(file)
                if _may_be_pictures(header.shape, header.dtype):
                    found[name.removesuffix(".npy")] = header.shape
        return found

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
        self.zip.close()

    def _read(self, member: str, index: int | None) -> NDArray[Any]:
        if self.file is None or member != self.member:
            self.member, self.file = member, self.zip.open(f"{member}.npy")
            self.header = _header(self.file)
        shape, fortran, dtype, start = self.header
        if index is not None and fortran:
            raise ImageError(f"{self.path}: {member} is in Fortran order; save it after numpy.ascontiguousarray")
        shape = shape if index is None else shape[1:]
        check_shape(self.path, shape, MAX_PIXELS)
        size = prod(shape) * dtype.itemsize
        self.file.seek(start + (index or 0) * size)
        array = np.frombuffer(self.file.read(size), dtype)
        return array.reshape(shape, order="F" if fortran else "C")


class _Hdf5(Arrays):
    def __init__(self, path: Path) -> None:
        import h5py

        super().__init__(path)
        self.file = h5py.File(path, "r")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        import h5py

        found: dict[str, tuple[int, ...]] = {}

        def look(name: str, node: Any) -> None:
            if isinstance(node, h5py.Dataset) and node.shape and _may_be_pictures(node.shape, node.dtype):
                found[name] = node.shape

        self.file.visititems(look)
        return found

    def close(self) -> None:
        self.file.close()

    def _read(self, member: str, index: int | None) -> NDArray[Any]:
        dataset = self.file[member]
        check_shape(self.path, dataset.shape if index is None else dataset.shape[1:], MAX_PIXELS)
        return np.asarray(dataset[...] if index is None else dataset[index])


def _may_be_pictures(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and len(shape) in (2, 3, 4) and 0 not in shape


def _header(file: IO[bytes]) -> _Header:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    return _Header(*read(file), file.tell())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # a damaged file can raise anything at all
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"{path}: cannot be read as arrays ({detail}); remove or replace it") from error
