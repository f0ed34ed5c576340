"""Handwritten digits of two collections, MNIST and USPS: the classical pair of domains.

From one file, digits.npz: `mnist_images` [10000, 28, 28] with `mnist_labels`, `usps_train_images` [7291, 16, 16],
`usps_test_images` [2007, 16, 16] with their labels, all uint8, ink 255. A random fifth of the MNIST digits is held out,
always the same; of USPS its own test part.

MNIST digits fill a box of 20 pixels with their centre of mass in the middle of 28; USPS digits fill 16 x 16. `fit` says
how these come to `size`: `centre`, as MNIST: bicubic to 20 pixels and centred by mass in a frame of 28; or `resize`:
bicubic to 28. Then both domains are brought to `size` with a black frame. Pixels v become v / 127.5 − 1.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from translate.batches import Adaptation, Unpaired
from translate.data.adaptation import AdaptationSplit, Affine, Domain, Domains
from translate.data.source import Batch, Source, SourceConfig
from translate.data.transforms import resize
from translate.errors import ConfigError, DataError

SAMPLED = {"mnist": 2000, "usps": 1800}  # Long et al. 2013 (JDA), sec. 4.1
Collection = Literal["mnist", "usps"]


class DigitsConfig(SourceConfig):
    kind: Literal["digits"] = "digits"
    root: Annotated[Path, AfterValidator(lambda path: path.expanduser())]  # the folder of digits.npz
    source: Collection = "usps"
    target: Collection = "mnist"
    protocol: Literal["full", "sampled"] = "full"  # sampled: of the training parts, 2,000 of MNIST and 1,800 of USPS
    draw: int = Field(default=0, ge=0)  # which sample
    fit: Literal["centre", "resize"] = "centre"
    size: Literal[28, 32] = 28
    affine: Affine | None = None  # training images of both domains, at random
    labels: bool = True  # Adaptation batches, else Unpaired: for a translator
    batch_size: int = Field(default=64, ge=1)  # of each domain
    workers: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _of_arrays(self) -> "DigitsConfig":
        if self.augment:
            raise ValueError("augment: digits have affine maps instead: affine: {}")
        return self


class DigitsSource(Source):
    Config: ClassVar[type[SourceConfig]] = DigitsConfig
    config: DigitsConfig
    classes = tuple("0123456789")

    def __init__(self, config: DigitsConfig, size_multiple: int = 1) -> None:
        if config.size % size_multiple:
            raise ConfigError(f"data.size: {config.size} is not a multiple of {size_multiple}, as the network needs")
        self.config = config
        self.batch_type: type[Batch] = Adaptation if config.labels else Unpaired
        self.channels = {"source": 1, "target": 1, "label": 10} if config.labels else {"a": 1, "b": 1}
        if not config.labels:
            self.classes = ()
        self._domains = _read(config)
        source, source_test, target, target_test = self._domains
        affine, labelled = config.affine, config.labels
        self.train = AdaptationSplit(source, target.images, train=True, affine=affine, labelled=labelled)
        self.test = AdaptationSplit(source_test, target_test.images, train=False, labelled=labelled)

    def domains(self) -> Domains:
        return self._domains

    def describe(self) -> str:
        source, source_test, target, target_test = (len(part.labels) for part in self._domains)
        names = f"{self.config.source} to {self.config.target}, {self.config.protocol}"
        return f"digits: {names}: {source} + {target} training, {source_test} + {target_test} test images"


def _read(config: DigitsConfig) -> Domains:
    path = config.root / "digits.npz"
    if not path.is_file():
        raise DataError(f"data.root: {path} is missing")
    try:
        with np.load(path, allow_pickle=False) as file:
            source, source_test = _collection(file, config, config.source)
            target, target_test = _collection(file, config, config.target)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be used: {' '.join(str(error).split())}") from None
    if config.source == config.target:  # no domains at all: disjoint halves, for a null test
        middle = len(source.labels) // 2
        every = torch.arange(len(source.labels))
        source, target = source.take(every[:middle]), source.take(every[middle:])
    if config.protocol == "sampled":
        source, target = (
            part.take(_draw(len(part.labels), SAMPLED[name], config.draw))
            for part, name in ((source, config.source), (target, config.target))
        )
    source = source.take(torch.arange(len(source.labels))[: config.limit])
    return Domains(source, source_test, target, target_test)


def _draw(count: int, wanted: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng((seed, count)).permutation(count)[:wanted])


def _collection(file: "np.lib.npyio.NpzFile", config: DigitsConfig, name: str) -> tuple[Domain, Domain]:
    """Training and held-out images."""
    if name == "usps":
        return _domain(file, config, "usps_train"), _domain(file, config, "usps_test")
    whole = _domain(file, config, "mnist")
    order = _draw(len(whole.labels), len(whole.labels), 0)
    held_out = len(order) // 5
    return whole.take(order[held_out:]), whole.take(order[:held_out])


def _domain(file: "np.lib.npyio.NpzFile", config: DigitsConfig, name: str) -> Domain:
    pixels, labels = file[f"{name}_images"], file[f"{name}_labels"]
    side = 28 if name == "mnist" else 16
    if pixels.shape != (len(labels), side, side) or pixels.dtype != np.uint8:
        raise ValueError(f"{name}_images: {pixels.dtype} {list(pixels.shape)} is not uint8 [N, {side}, {side}]")
    if side == 16:
        pixels = np.stack([_fitted(image, config.fit) for image in pixels])
    frame = (config.size - 28) // 2
    pixels = np.pad(pixels, ((0, 0), (frame, frame), (frame, frame)))
    images = torch.from_numpy(pixels)[:, None].float() / 127.5 - 1
    return Domain(images, torch.from_numpy(labels.astype(np.int64)))


def _fitted(image: NDArray[np.uint8], fit: str) -> NDArray[np.uint8]:
    """[16, 16] → [28, 28]."""
    if fit == "resize":
        return resize(image[..., None], 28, 28)[..., 0]
    small = resize(image[..., None], 20, 20)[..., 0]
    mass, places = small.astype(float), np.arange(20)
    total = max(mass.sum(), 1)
    top, left = (int(np.clip(round(13.5 - (mass.sum(axis) @ places) / total), 0, 8)) for axis in (1, 0))
    canvas = np.zeros((28, 28), np.uint8)
    canvas[top : top + 20, left : left + 20] = small
    return canvas
