"""One folder of pictures, for methods that learn what a collection looks like."""

import hashlib
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from translate.batches import Images
from translate.data.files import list_images, looked_at, stem
from translate.data.source import FolderConfig, Source, SourceConfig, Split
from translate.data.transforms import Preprocess
from translate.errors import DataError


class ImagesConfig(FolderConfig):
    kind: Literal["images"] = "images"
    channels: int = Field(default=3, ge=1)
    test_share: float = Field(default=0.1, ge=0, lt=1)  # by a hash of the name: new files move no old one

    def channel_counts(self) -> tuple[int, ...]:
        return (self.channels,)


class ImagesSplit(Split):
    batch_type = Images
    aligned = False

    def __init__(self, config: ImagesConfig, files: list[Path], preprocess: Preprocess) -> None:
        self.config = config
        self.files = files
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        path = self.files[index]
        return self.preprocess([(path, self.config.read(path, self.config.channels))], rng)

    def name(self, index: int) -> str:
        return stem(self.files[index], self.config.root)


class ImagesSource(Source):
    """Field `image`: every picture below `data.root`."""

    Config: ClassVar[type[SourceConfig]] = ImagesConfig
    config: ImagesConfig
    batch_type = Images

    def __init__(self, config: ImagesConfig, size_multiple: int = 1) -> None:
        self.config = config
        self.channels = {"image": config.channels}
        files = list_images(config.root)
        held_out = {path for path in files if _share(stem(path, config.root)) < config.test_share}
        train = [path for path in files if path not in held_out][: config.limit]
        if not train:
            raise DataError(
                f"data.root: {config.root} has no training images: {looked_at(config.root)}; expected images in it or "
                "in folders below it"
                + (f", and data.test_share {config.test_share:g} took all {len(files)} of them" if files else "")
            )
        self.train = ImagesSplit(config, train, config.preprocessing(train=True, size_multiple=size_multiple))
        test = [path for path in files if path in held_out]
        prepared = config.preprocessing(train=False, size_multiple=size_multiple)
        self.test = ImagesSplit(config, test, prepared) if test else None

    def describe(self) -> str:
        tests = f"{len(self.test)} test" if self.test else "no test"
        return f"images: {len(self.train)} training, {tests} images in {self.config.root}"


def _share(name: str) -> float:
    """A number in [0, 1) that depends on the name alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
