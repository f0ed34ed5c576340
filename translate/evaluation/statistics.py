"""The features of a set of pictures, in one pass for all feature spaces; those of references are kept on disk."""

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from translate import __version__
from translate.data.channels import Pixels
from translate.errors import EvaluationError
from translate.evaluation.pictures import Pictures
from translate.evaluation.spaces import Extracted, Space
from translate.inference.writing import write

VERSION, BATCH = 1, 64  # of the cached files; pictures through a network together, always: so digits stay the same


def extract(
    pictures: Pictures, spaces: Sequence[Space], channels: int, *, title: str, cache: Path | None = None
) -> dict[str, Extracted]:
    """By the name of the space. `channels` as for Space; `cache`: the folder of kept features, None for none.

    A bar is shown on a terminal. Raises ImageError, and DataError for pictures that a space does not take.
    """
    found: dict[str, Extracted] = {}
    digest = pictures.digest() if cache is not None else ""
    for space in spaces:
        if cache is not None and (kept := _kept(_place(cache, digest, space, channels))):
            found[space.name] = kept
    todo = [space for space in spaces if space.name not in found]
    parts: dict[str, list[Extracted]] = {space.name: [] for space in todo}
    for batch in _batches(pictures, title) if todo else ():
        for space in todo:
            parts[space.name].append(space(batch, channels))
    for space in todo:
        found[space.name] = _joined(space, parts[space.name])
        if cache is not None:
            _keep(_place(cache, digest, space, channels), found[space.name])
    return found


def whole(space: Space, pictures: Sequence[Pixels]) -> Extracted:
    """The features of pictures that are in memory."""
    channels, starts = pictures[0].shape[2], range(0, len(pictures), BATCH)
    return _joined(space, [space(pictures[start : start + BATCH], channels) for start in starts])


def _joined(space: Space, parts: Sequence[Extracted]) -> Extracted:
    values, likely = zip(*parts, strict=True)
    if len({each.shape[1] for each in values}) > 1:
        raise EvaluationError(f"{space.name}: pictures of different sizes have no common features; choose pixels:32")
    known = [each for each in likely if each is not None]
    return Extracted(np.concatenate(values), np.concatenate(known) if known else None)


def cache_folder() -> Path:
    """Of this user: $TRANSLATE_CACHE, or the system's usual place."""
    import pooch

    return Path(os.environ.get("TRANSLATE_CACHE") or pooch.os_cache("translate")) / "features"


def bar(total: int, title: str) -> Any:
    """A progress bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    return tqdm(total=total, desc=title, unit=" pictures", leave=False, disable=not sys.stderr.isatty())


def _batches(pictures: Pictures, title: str) -> Iterator[list[Pixels]]:
    with bar(len(pictures), title) as progress:
        for start in range(0, len(pictures), BATCH):
            batch = pictures.read(range(start, min(start + BATCH, len(pictures))))
            yield batch
            progress.update(len(batch))


def _place(cache: Path, digest: str, space: Space, channels: int) -> Path:
    key = [VERSION, __version__, digest, space.name, space.version, space.preparation, channels]
    return cache / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.npz"


def _kept(path: Path) -> Extracted | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return Extracted(file["values"], file.get("probabilities"))
    except Exception:  # not there, or damaged in any way at all: it is computed again
        return None


def _keep(path: Path, extracted: Extracted) -> None:
    """A full disk costs the time of the next run, not this one."""
    file, likely = io.BytesIO(), extracted.probabilities
    arrays = {"values": extracted.values} | ({} if likely is None else {"probabilities": likely})
    np.savez(file, allow_pickle=False, **arrays)
    try:
        write(path, file.getvalue())
    except OSError as error:
        print(f"{path}: features could not be kept ({error.strerror})", file=sys.stderr)
