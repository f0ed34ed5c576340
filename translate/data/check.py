"""What is in a folder of training data, before a night is spent on it."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from translate.data.channels import to_channels
from translate.data.decode import SUFFIXES, decode
from translate.data.files import Sides, list_files, list_images, match, some, test_folders, two_folders
from translate.errors import DataError, ImageError


class _Facts(NamedTuple):
    """One file: what it holds, or why it cannot be read."""

    size: tuple[int, int]  # width, height
    mode: str
    digest: bytes
    error: str | None


@dataclass(frozen=True)
class FolderReport:
    """The images of one folder."""

    name: str
    count: int
    sizes: Counter[tuple[int, int]]  # width, height
    modes: Counter[str]
    others: Counter[str]  # suffixes of files that are no images


@dataclass(frozen=True)
class Report:
    """What `check` found. `problems` is what should be mended before training."""

    root: Path
    folders: list[FolderReport]
    pairs: list[str]  # one line per pair of folders
    unmatched: list[Path]
    unreadable: list[str]
    duplicates: list[tuple[Path, Path]]  # a training and a test file with the same pixels
    layout: str
    notes: list[str] = field(default_factory=list)

    @property
    def problems(self) -> bool:
        return bool(self.unreadable or self.duplicates or self.unmatched or not any(f.count for f in self.folders))

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def check(root: Path, *, threads: int = 4, progress: bool = False) -> Report:
    """Reads every image below `root` once, in any of the layouts. Raises DataError where there is no such folder.

    Duplicates are files of training and test whose pixels are equal once decoded, whatever their format.
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; name the folder that data.root names")
    files = list_files(root)
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    facts = dict(zip(images, _all_facts(images, threads, progress), strict=True))
    layout, sides = _layout(root)
    pairs, unmatched = _pairing(sides)
    return Report(
        root=root,
        folders=_folders(root, files, facts),
        pairs=pairs,
        unmatched=unmatched,
        unreadable=[fact.error for fact in facts.values() if fact.error],
        duplicates=_duplicates(root, facts),
        layout=layout,
        notes=_notes(facts.values()),
    )


def report(root: Path, *, progress: bool = False) -> str:
    """`check` as text."""
    return str(check(root, progress=progress))


def _all_facts(images: list[Path], threads: int, progress: bool) -> list[_Facts]:
    from tqdm import tqdm

    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")  # here, because threads share the filters that decode() sets
        return list(tqdm(pool.map(_facts, images), total=len(images), desc="reading", disable=not progress))


def _facts(path: Path) -> _Facts:
    try:
        pixels, mode = decode(path, float_range=None)
    except ImageError as error:
        return _Facts((0, 0), "", b"", str(error))
    height, width, channels = pixels.shape
    shown = to_channels(pixels, 3) if channels <= 4 else pixels  # grey and RGB of the same picture are equal
    digest = hashlib.blake2b(repr((shown.shape, shown.dtype.str)).encode(), digest_size=16)
    digest.update(shown.tobytes())
    return _Facts((width, height), mode, digest.digest(), None)


def _layout(root: Path) -> tuple[str, list[Sides]]:
    train = two_folders(root, "train")
    if train:
        test = test_folders(root)
        return "two folders (unpaired; paired where the names match)", [train, test] if test else [train]
    if list_images(root / "train"):
        return "one folder (paired, if the images stand side by side; images otherwise)", []
    return "images", []


def _pairing(found: list[Sides]) -> tuple[list[str], list[Path]]:
    """Some names in common: pairs, and those without a partner are mistakes. None: not meant as pairs."""
    lines, unmatched = [], []
    for sides in found:
        names = f"{sides.a.parent.name}/{sides.a.name}" if sides.a.name in ("a", "b", "A", "B") else sides.a.name
        try:
            pairs, alone = match(sides, list_images(sides.a), list_images(sides.b))
        except DataError as error:
            lines.append(f"{names}: {error}")
            continue
        if not pairs and alone:
            lines.append(f"{names}: no name in common with the other side: unpaired data")
            continue
        unmatched += alone
        if pairs:
            lines.append(f"{names}: {len(pairs)} pairs of the same name, {len(alone)} files without a partner")
    return lines, unmatched


def _folders(root: Path, files: list[Path], facts: dict[Path, _Facts]) -> list[FolderReport]:
    by_folder: dict[str, list[Path]] = {}
    for path in files:
        by_folder.setdefault(path.parent.relative_to(root).as_posix(), []).append(path)
    reports = []
    for name, members in sorted(by_folder.items()):
        good = [facts[path] for path in members if path in facts and not facts[path].error]
        others = Counter(path.suffix.lower() or path.name for path in members if path not in facts)
        count = sum(path in facts for path in members)
        reports.append(FolderReport(name, count, Counter(f.size for f in good), Counter(f.mode for f in good), others))
    return reports


def _duplicates(root: Path, facts: dict[Path, _Facts]) -> list[tuple[Path, Path]]:
    seen: dict[bytes, Path] = {}
    tests: list[tuple[Path, bytes]] = []
    for path, fact in facts.items():
        if fact.error:
            continue
        if _is_test(path.relative_to(root)):
            tests.append((path, fact.digest))
        else:
            seen.setdefault(fact.digest, path)
    return [(seen[digest], path) for path, digest in tests if digest in seen]


def _is_test(path: Path) -> bool:
    return any(part in ("test", "val", "testA", "testB", "valA", "valB") for part in path.parts[:-1])


def _notes(facts: Iterable[_Facts]) -> list[str]:
    """What is no mistake but asks for a setting."""
    modes = {fact.mode for fact in facts if not fact.error}
    notes = []
    if any("float" in mode or " int" in mode for mode in modes):
        notes.append("floats or signed integers: set data.float_range to their range")
    if any(mode.startswith(("LA", "RGBA", "PA")) for mode in modes):
        notes.append("transparency: shown on data.background unless 4 channels are wanted")
    return notes


def _lines(found: Report) -> Iterable[str]:
    yield f"{found.root}: {found.layout}"
    for folder in found.folders:
        yield f"  {folder.name}: {folder.count} image{'s' * (folder.count != 1)}"
        if folder.sizes:
            yield f"    sizes: {_sizes(folder.sizes)}"
            yield f"    modes: {_counted(folder.modes)}"
        if folder.others:
            yield f"    no images: {_counted(folder.others)}"
    for line in found.pairs:
        yield f"  {line}"
    for note in found.notes:
        yield f"  note: {note}"
    if found.unmatched:
        yield f"  {len(found.unmatched)} files without a partner: {some(_relative(found.root, found.unmatched), 10)}"
    if found.unreadable:
        yield f"  {len(found.unreadable)} files that cannot be used:"
        yield from (f"    {line}" for line in found.unreadable)
    if found.duplicates:
        yield f"  {len(found.duplicates)} test images that are in the training data too:"
        yield from (f"    {' = '.join(_relative(found.root, pair))}" for pair in found.duplicates[:10])
        if len(found.duplicates) > 10:
            yield f"    and {len(found.duplicates) - 10} more"
    if not any(folder.count for folder in found.folders):
        yield "  no images at all"
    yield "problems found" if found.problems else "no problems found"


def _relative(root: Path, paths: Iterable[Path]) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    common = ", ".join(f"{width}x{height} ({count})" for (width, height), count in sizes.most_common(3))
    if len(sizes) <= 3:
        return common
    widths, heights = zip(*sizes, strict=True)
    spread = f"{min(widths)}-{max(widths)} wide, {min(heights)}-{max(heights)} high"
    return f"{common} and {len(sizes) - 3} more; {spread}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())
