"""What is to be translated: files, folders, globs and the pictures within arrays, each with the name of its output.

Only names are listed; a file is opened when its turn comes.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from itertools import chain, count, takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from translate.data import decode
from translate.data.channels import Pixels
from translate.data.files import looked_at
from translate.errors import ConfigError, DataError, ImageError
from translate.inference import arrays
from translate.inference.writing import Format, suffix_of

SUFFIXES = decode.SUFFIXES | arrays.SUFFIXES


class Item(NamedTuple):
    """One picture."""

    name: str  # the path below the input folder with /; of arrays, then /member, then /place in the stack
    output: str  # the path below the output folder with /
    path: Path
    member: str | None = None  # None: not an array; "" in a .npy
    place: int | None = None  # in a stack
    size: int = 0  # of the file, bytes
    modified: int = 0  # ns since 1970
    error: str | None = None  # why it cannot be used, where that is known already


class Inputs:
    """Iterating gives the items. `total`, at first the number of files, grows as stacks of pictures are found.

    `output` is the name that the output of a single input has.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        format: Format,
        *,
        unlisted: Sequence[Item] = (),
        output: str | None = None,
    ) -> None:
        self.root, self.names, self.format, self.unlisted, self.output = root, names, format, unlisted, output
        self.total = len(names) + len(unlisted)
        self._renamed = renamed(names, format)

    def __iter__(self) -> Iterator[Item]:
        self.total = len(self.names) + len(self.unlisted)
        yield from self.unlisted
        for name in self.names:
            yield from self._pictures(name)

    def _pictures(self, name: str) -> Iterator[Item]:
        path, suffix = self.root / name, suffix_of(name, self.format)
        file = Item(name, self.output or self._renamed.get(name, _stem(name)) + suffix, path)
        try:
            status = path.stat()
            file = file._replace(size=status.st_size, modified=status.st_mtime_ns)
            shapes = arrays.shapes(path) if path.suffix.lower() in arrays.SUFFIXES else None
        except OSError:  # reading it will say why
            shapes = None
        except ImageError as error:
            file, shapes = file._replace(error=str(error)), None
        if shapes is None:
            yield file
            return
        self.total += sum(shape[0] if len(shape) == 4 else 1 for shape in shapes.values()) - 1
        for member, shape in shapes.items():
            whole = file._replace(member=member)
            if member and self.output is None:
                whole = whole._replace(name=f"{name}/{member}", output=f"{name}/{member}{suffix}")
            if len(shape) < 4:
                yield whole
            for place in range(shape[0] if len(shape) == 4 else 0):
                below = f"{whole.name}/{place:05d}"
                yield whole._replace(name=below, output=below + suffix, place=place)


class Reader(threading.local):
    """Reads items. Each thread keeps the file of arrays open that it read last."""

    def __init__(self, float_range: tuple[float, float], max_pixels: int = decode.MAX_PIXELS) -> None:
        self.float_range, self.max_pixels = float_range, max_pixels
        self.arrays: arrays.Arrays | None = None

    def __call__(self, item: Item) -> Pixels:
        """[H, W, C]: uint8, uint16, or float32 in [0, 1]. Raises ImageError."""
        if item.error is not None:
            raise ImageError(item.error)
        if item.member is None:
            return decode.read_image(item.path, float_range=self.float_range, max_pixels=self.max_pixels)
        if self.arrays is None or self.arrays.path != item.path:
            if self.arrays is not None:
                self.arrays.close()
            self.arrays = None
            self.arrays = arrays.open_arrays(item.path)
        array = self.arrays.read(item.member, item.place)
        return decode.from_memory(array, item.name, float_range=self.float_range)


def find(text: str, output: Path, format: Format, *, recursive: bool) -> Inputs:
    """What INPUT stands for: a file, the pictures of a folder, or a glob. What lies in the folder `output` is left out.

    Raises DataError where there is nothing, ConfigError where outputs would lie among the inputs.
    """
    path = Path(text)
    unlisted: list[Item] = []
    if not os.path.lexists(path):
        path, names = _matching(text)
    elif path.is_dir():
        names, unlisted = _listed(path, recursive)
    else:
        path, names = path.parent, [path.name]
    root, target = path.resolve(), output.resolve()
    if root == target:
        raise ConfigError(f"{output}: is the folder of the inputs; choose another OUTPUT")
    if target.is_relative_to(root):
        inside = target.relative_to(root).as_posix()
        names = [name for name in names if not f"{name}/".startswith(f"{inside}/")]
    elif root.is_relative_to(target):
        first = root.relative_to(target).parts[0]
        if any(PurePosixPath(name).parts[0] == first for name in names):
            raise ConfigError(f"{output}: outputs would come to lie in {path}, among the inputs; choose another OUTPUT")
    if not names and not unlisted:
        deeper = path.is_dir() and not recursive and any(entry.is_dir() for entry in path.iterdir())
        remedy = "add --recursive for the folders in it" if deeper else looked_at(path)
        raise DataError(f"{text}: no pictures found; {remedy}")
    return Inputs(path, names, format, unlisted=unlisted)


def renamed(names: Sequence[str], format: Format) -> dict[str, str]:
    """The outputs, without suffix, of inputs whose output would be another's, even where a disk ignores case: a.jpg
    becomes a.jpg.png where there is a.png. Those that keep their suffix go first.
    """
    found = {}
    taken = {str(parent).lower() for name in names for parent in PurePosixPath(name).parents}
    for name in sorted(names, key=lambda name: _stem(name) + suffix_of(name, format) != name):
        for stem in chain((_stem(name), name), (f"{name}~{number}" for number in count(2))):
            output = f"{stem}{suffix_of(name, format)}".lower()
            if output not in taken:
                break
        taken.add(output)
        if stem != _stem(name):
            found[name] = stem
    return found


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in SUFFIXES else name


def _listed(root: Path, recursive: bool) -> tuple[list[str], list[Item]]:
    """The names of the pictures in a folder, and what could not be listed. Links to folders are not followed."""
    names: list[str] = []
    unlisted: list[Item] = []

    def note(error: OSError) -> None:
        place = Path(error.filename)
        reason = f"{place}: cannot be listed ({error.strerror}); change its permissions"
        if place == root:
            raise DataError(reason)
        name = place.relative_to(root).as_posix()
        unlisted.append(Item(name, name, place, error=reason))

    for place, folders, files in os.walk(root, onerror=note):
        folders[:] = [name for name in folders if recursive and _visible(name)]
        below = Path(place).relative_to(root)
        names += [(below / name).as_posix() for name in files if _visible(name) and _is_picture(name)]
    return sorted(names), unlisted


def _matching(text: str) -> tuple[Path, list[str]]:
    """The folder before the first part with a wildcard, and the pictures below it that match."""
    parts = Path(text).parts
    root = Path(*takewhile(lambda part: not set(part) & set("*?["), parts))
    pattern = parts[len(root.parts) :]
    if not pattern:
        raise DataError(f"{text}: there is no such file or folder")
    try:
        found = [path for path in root.glob("/".join(pattern)) if _is_picture(path.name) and not path.is_dir()]
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{text}: cannot be looked for ({error})") from None
    relative = {path.relative_to(root) for path in found}
    return root, sorted(path.as_posix() for path in relative if all(_visible(part) for part in path.parts))


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"
