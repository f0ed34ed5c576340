"""Two collections of pictures with no correspondence between them."""

from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from torch import Tensor

from translate.batches import Unpaired
from translate.data.files import Sides, list_images, looked_at, match, stem, test_folders, two_folders
from translate.data.source import PublishedConfig, Source, SourceConfig, Split
from translate.data.transforms import Preprocess
from translate.errors import DataError


class UnpairedConfig(PublishedConfig):
    family = "cyclegan"
    kind: Literal["unpaired"] = "unpaired"
    channels_a: int = Field(default=3, ge=1)
    channels_b: int = Field(default=3, ge=1)

    def channel_counts(self) -> tuple[int, ...]:
        return self.channels_a, self.channels_b


class _Part(NamedTuple):
    sides: Sides
    a: list[Path]
    b: list[Path]


class UnpairedSplit(Split):
    """As many samples as the larger side has files: A in turn, with a random B (in the test split, B in turn too).

    A test split with the same names on both sides is aligned: each A comes with its own B.
    """

    batch_type = Unpaired

    def __init__(self, config: UnpairedConfig, part: _Part, preprocess: Preprocess) -> None:
        self.config = config
        self.folder = part.sides.a
        self.a, self.b = part.a, part.b
        self.preprocess = preprocess
        self.aligned = False
        if not preprocess.train and {stem(path, part.sides.a) for path in part.a} == {
            stem(path, part.sides.b) for path in part.b
        }:
            pairs = match(part.sides, part.a, part.b).pairs
            self.a, self.b = [a for a, _ in pairs], [b for _, b in pairs]
            self.aligned = True

    def __len__(self) -> int:
        return max(len(self.a), len(self.b))

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        path_a = self.a[index % len(self.a)]
        other = int(rng.integers(len(self.b))) if self.preprocess.train else index
        path_b = self.b[other % len(self.b)]
        a = path_a, self.config.read(path_a, self.config.channels_a)
        b = path_b, self.config.read(path_b, self.config.channels_b)
        if self.aligned:
            return self.preprocess([a, b], rng)
        return self.preprocess([a], rng) + self.preprocess([b], rng)

    def name(self, index: int) -> str:
        return stem(self.a[index % len(self.a)], self.folder)


class UnpairedSource(Source):
    """Fields `a` and `b`."""

    Config: ClassVar[type[SourceConfig]] = UnpairedConfig
    config: UnpairedConfig
    batch_type = Unpaired

    def __init__(self, config: UnpairedConfig, size_multiple: int = 1) -> None:
        self.config = config
        self.channels = {"a": config.channels_a, "b": config.channels_b}
        train = _listed(two_folders(config.root, "train"))
        if train is None or not train.a or not train.b:
            raise DataError(_nothing(config, train))
        train = train._replace(a=train.a[: config.limit], b=train.b[: config.limit])
        test = _listed(test_folders(config.root))
        self.train = UnpairedSplit(config, train, config.preprocessing(train=True, size_multiple=size_multiple))
        prepared = config.preprocessing(train=False, size_multiple=size_multiple)
        self.test = UnpairedSplit(config, test, prepared) if test and test.a and test.b else None

    def describe(self) -> str:
        train, test = self.train, self.test
        assert isinstance(train, UnpairedSplit)
        tests = f"{len(test.a)} + {len(test.b)} test" if isinstance(test, UnpairedSplit) else "no test"
        return f"unpaired: {len(train.a)} + {len(train.b)} training, {tests} images in {self.config.root}"


def _listed(sides: Sides | None) -> _Part | None:
    return _Part(sides, list_images(sides.a), list_images(sides.b)) if sides else None


def _nothing(config: UnpairedConfig, found: _Part | None) -> str:
    if found is None:
        where = looked_at(config.root)
    else:
        empty = found.sides.b if found.a else found.sides.a
        where = f"{empty.relative_to(config.root)}/ has no images ({looked_at(empty)})"
    remedy = "" if config.download else "; or set data.download to a published set (horse2zebra, …)"
    return f"data.root: {config.root} has no training images: {where}; expected images in trainA/ and trainB/{remedy}"
