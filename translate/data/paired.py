"""Pairs of pictures of the same scene: side by side in one file, or in two folders under the same name."""

from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from translate.batches import Paired
from translate.data.channels import Pixels, to_channels
from translate.data.files import Sides, list_images, looked_at, match, some, stem, test_folders, two_folders
from translate.data.source import PublishedConfig, Source, SourceConfig, Split
from translate.data.transforms import Preprocess
from translate.errors import DataError, ImageError


class PairedConfig(PublishedConfig):
    family = "pix2pix"
    kind: Literal["paired"] = "paired"
    layout: Literal["auto", "side_by_side", "folders"] = "auto"
    direction: Literal["a2b", "b2a"] = "a2b"  # which side is translated into which; A is the left
    channels_a: int = Field(default=3, ge=1)
    channels_b: int = Field(default=3, ge=1)

    def channel_counts(self) -> tuple[int, ...]:
        return self.channels_a, self.channels_b


class _Part(NamedTuple):
    """The files of training or of test: one path per pair (side by side), or two."""

    folder: Path
    files: list[tuple[Path, ...]]
    unmatched: list[Path]


class PairedSplit(Split):
    batch_type = Paired
    aligned = True

    def __init__(self, config: PairedConfig, part: _Part, preprocess: Preprocess) -> None:
        self.config = config
        self.part = part
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.part.files)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        files = self.part.files[index]
        sides = self._halves(files[0]) if len(files) == 1 else (self._read(files[0], "a"), self._read(files[1], "b"))
        tensors = self.preprocess(list(zip((files[0], files[-1]), sides, strict=True)), rng)
        return tensors if self.config.direction == "a2b" else tensors[::-1]

    def name(self, index: int) -> str:
        return stem(self.part.files[index][0], self.part.folder)

    def _read(self, path: Path, side: Literal["a", "b"]) -> Pixels:
        return self.config.read(path, self.config.channels_a if side == "a" else self.config.channels_b)

    def _halves(self, path: Path) -> tuple[Pixels, Pixels]:
        pixels = self.config.read(path, None)
        half = pixels.shape[1] // 2
        if half == 0:
            raise ImageError(f"{path}: is 1 pixel wide, so not two pictures side by side; remove or replace it")
        left, right = pixels[:, :half], pixels[:, pixels.shape[1] - half :]
        background = self.config.background
        try:
            return (
                to_channels(left, self.config.channels_a, background),
                to_channels(right, self.config.channels_b, background),
            )
        except ValueError as error:
            raise ImageError(f"{path}: {error}; set data.channels_a and data.channels_b") from error


class PairedSource(Source):
    """Fields `source` and `target`; `data.direction` decides which side is which."""

    Config: ClassVar[type[SourceConfig]] = PairedConfig
    config: PairedConfig
    batch_type = Paired

    def __init__(self, config: PairedConfig, size_multiple: int = 1) -> None:
        self.config = config
        a, b = config.channels_a, config.channels_b
        self.channels = {"source": a, "target": b} if config.direction == "a2b" else {"source": b, "target": a}
        train, test = _parts(config)
        if config.on_error == "fail":
            _refuse_unmatched(train.unmatched + (test.unmatched if test else []))
        self._unmatched = len(train.unmatched) + (len(test.unmatched) if test else 0)
        train = train._replace(files=train.files[: config.limit])
        self.train = PairedSplit(config, train, config.preprocessing(train=True, size_multiple=size_multiple))
        prepared = config.preprocessing(train=False, size_multiple=size_multiple)
        self.test = PairedSplit(config, test, prepared) if test and test.files else None

    def describe(self) -> str:
        tests = f"{len(self.test)} test" if self.test else "no test"
        left = f" ({self._unmatched} files without a partner left out)" if self._unmatched else ""
        return f"paired: {len(self.train)} training, {tests} pairs in {self.config.root}{left}"


def _parts(config: PairedConfig) -> tuple[_Part, _Part | None]:
    root = config.root
    train_sides = two_folders(root, "train") if config.layout != "side_by_side" else None
    if train_sides is not None:
        test_sides = test_folders(root)
        train = _matched(train_sides)
        if train.files:
            return train, _matched(test_sides) if test_sides else None
        _refuse_unmatched(train.unmatched)  # nothing matches: the names are the mistake
    elif config.layout != "folders":
        folder = root / "train" if (root / "train").is_dir() else root
        files = list_images(folder, recursive=folder != root)
        if files:
            test = next((root / part for part in ("test", "val") if list_images(root / part)), None)
            return _single(folder, files), _single(test, list_images(test)) if test else None
    raise DataError(_nothing(config))


def _single(folder: Path, files: list[Path]) -> _Part:
    return _Part(folder, [(path,) for path in files], [])


def _matched(sides: Sides) -> _Part:
    matches = match(sides, list_images(sides.a), list_images(sides.b))
    return _Part(sides.a, list(matches.pairs), matches.unmatched)


def _refuse_unmatched(files: list[Path]) -> None:
    if files:
        raise DataError(
            f"data.root: {len(files)} files have no partner of the same name on the other side: {some(files)}; "
            "add or remove them, or use data.kind: unpaired"
        )


def _nothing(config: PairedConfig) -> str:
    expected = {
        "side_by_side": "side-by-side images in train/",
        "folders": "images of the same name in trainA/ and trainB/",
        "auto": "side-by-side images in train/, or images of the same name in trainA/ and trainB/",
    }[config.layout]
    remedy = "" if config.download else "; or set data.download to a published set (facades, maps, …)"
    return f"data.root: {config.root} has no training pairs: {looked_at(config.root)}; expected {expected}{remedy}"
