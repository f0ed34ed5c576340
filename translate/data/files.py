"""Which files there are, and which belong together. Nothing here opens a file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from translate.data.decode import SUFFIXES
from translate.errors import DataError


class Sides(NamedTuple):
    a: Path
    b: Path


class Matches(NamedTuple):
    pairs: list[tuple[Path, Path]]  # in the order of the names
    unmatched: list[Path]


def list_files(folder: Path) -> list[Path]:
    """Every file under `folder`, sorted by its path, but for hidden ones (`._cat.jpg` of a Mac is no picture).

    Links to folders are not followed. Raises DataError where the folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); change its permissions or remove it")

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def list_images(folder: Path, *, recursive: bool = True) -> list[Path]:
    """The files of `list_files` with the suffix of an image, in any case; none where there is no such folder."""
    if not folder.is_dir():
        return []
    files = [path for path in list_files(folder) if path.suffix.lower() in SUFFIXES]
    return files if recursive else [path for path in files if path.parent == folder]


def two_folders(root: Path, part: str) -> Sides | None:
    """The folders of both sides: trainA + trainB, A/train + B/train, train/A + train/B or train/a + train/b.

    For training also A + B (a + b) without a part, where they hold the images themselves.
    """
    candidates = [
        Sides(root / f"{part}A", root / f"{part}B"),
        Sides(root / "A" / part, root / "B" / part),
        Sides(root / part / "A", root / part / "B"),
        Sides(root / part / "a", root / part / "b"),
    ]
    for sides in candidates:
        if sides.a.is_dir() and sides.b.is_dir():
            return sides
    for sides in (Sides(root / "A", root / "B"), Sides(root / "a", root / "b")):
        if part == "train" and sides.a.is_dir() and sides.b.is_dir():
            divided = any((side / name).is_dir() for side in sides for name in ("train", "test", "val"))
            return None if divided else sides
    return None


def test_folders(root: Path) -> Sides | None:
    """The two folders of `test`, or else of `val`."""
    return two_folders(root, "test") or two_folders(root, "val")


def stem(path: Path, folder: Path) -> str:
    """The name by which files are matched: the path below `folder` without its suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def match(sides: Sides, files_a: Sequence[Path], files_b: Sequence[Path]) -> Matches:
    """The files of both sides with the same name, and those left alone. Raises DataError where a name is not unique."""
    by_name = [_by_stem(folder, files) for folder, files in zip(sides, (files_a, files_b), strict=True)]
    a, b = by_name
    alone = [a[name] for name in a if name not in b] + [b[name] for name in b if name not in a]
    return Matches([(a[name], b[name]) for name in sorted(a) if name in b], alone)


def _by_stem(folder: Path, files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        other = found.setdefault(stem(path, folder), path)
        if other is not path:
            raise DataError(f"{other} and {path} have the same name, so neither has one partner; rename or remove one")
    return found


def some(paths: Sequence[object], count: int = 3) -> str:
    """`x, y, z and 12 more`."""
    more = f" and {len(paths) - count} more" if len(paths) > count else ""
    return ", ".join(str(path) for path in paths[:count]) + more


def looked_at(root: Path) -> str:
    """What is there, for the message that something else was expected."""
    if not root.exists():
        return "there is no such folder"
    if not root.is_dir():
        return "it is not a folder"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    return f"it holds {some(entries, 6)}" if entries else "it is empty"
