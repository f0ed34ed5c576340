"""Labelled pictures of one small size: MNIST, Fashion-MNIST, CIFAR-10, CelebA, or folders of pictures by class."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from translate.batches import Images, Labelled
from translate.data.augment import probe
from translate.data.channels import Pixels, to_channels
from translate.data.decode import read_image
from translate.data.files import stem
from translate.data.source import ArraySplit, Batch, Source, SourceConfig, Split
from translate.data.standard import TORCHVISION, Part, fetch, open_set
from translate.data.transforms import resize, to_tensor, unit
from translate.errors import ConfigError, DataError, unknown


class DatasetConfig(SourceConfig):
    kind: Literal["dataset"] = "dataset"
    name: Literal["mnist", "fashion_mnist", "cifar10", "celeba", "folder"]
    root: Annotated[Path, AfterValidator(lambda path: path.expanduser())]
    download: bool = False
    size: int = Field(default=32, ge=1, le=1024)
    fit: Literal["pad", "resize"] = "pad"  # how smaller pictures come to `size`: a black frame, or enlarged
    crop: int | None = Field(default=None, ge=1)  # first of all, the middle square of at most so many pixels
    channels: Literal[1, 3] | None = None  # None: 1 for MNIST and Fashion-MNIST, 3 for the others
    flip: bool = False
    labels: bool = True  # Labelled batches, else Images
    attribute: str | None = None  # of CelebA: the two classes are faces without and with it
    classes: Annotated[tuple[int | str, ...], Field(min_length=1)] | None = None  # these alone, by name or number
    workers: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> "DatasetConfig":
        if self.download and self.name not in TORCHVISION:
            raise ValueError(f"download: {self.name} is a set of your own; leave it out")
        if self.attribute and self.name != "celeba":
            raise ValueError(f"attribute: {self.name} has classes, only celeba has attributes; leave it out")
        if self.augment:
            try:
                probe(self.augment, [self.count_channels()], square=True)
            except ValueError as error:
                raise ValueError(f"augment: {error}") from error
        return self

    def prepare(self) -> None:
        if self.download:
            fetch(self.name, self.root)

    @property
    def labelled(self) -> bool:
        return self.labels and (self.name != "celeba" or self.attribute is not None)

    def count_channels(self) -> int:
        return self.channels or (1 if "mnist" in self.name else 3)

    def fitted(self, pictures: Pixels) -> Pixels:
        """[N, H, W, C] to [N, size, size, C'], of the same type, or float32 in [0, 1] for 16 bits."""
        count, height, width, _ = pictures.shape
        side = min(height, width, self.crop or height)
        top, left = (height - side) // 2, (width - side) // 2
        pictures = pictures[:, top : top + side, left : left + side]
        tall = np.ascontiguousarray(pictures).reshape(count * side, side, -1)
        pictures = unit(to_channels(tall, self.count_channels()).reshape(count, side, side, -1))
        if side < self.size and self.fit == "pad":
            frame = (self.size - side) // 2, self.size - side - (self.size - side) // 2
            return np.pad(pictures, ((0, 0), frame, frame, (0, 0)))
        return np.stack([resize(picture, self.size, self.size) for picture in pictures])

    def chosen(self, known: tuple[str, ...]) -> list[int]:
        """The numbers of `classes`. Raises ConfigError for one that is unknown or stands twice."""
        names = [known[c] if isinstance(c, int) and 0 <= c < len(known) else str(c) for c in self.classes or known]
        for name in names:
            if name not in known:
                raise ConfigError(f"data.classes: {unknown('class', name, known)}")
            if names.count(name) > 1:
                raise ConfigError(f"data.classes: {name!r} stands twice; name each once")
        return [known.index(name) for name in names]


class MemorySplit(ArraySplit):
    """uint8 pictures [N, C, size, size]; the random numbers of a sample: for the flip, for the augmentation."""

    aligned = False
    numbers = 2

    def __init__(self, config: DatasetConfig, part: Part, classes: tuple[str, ...], *, train: bool) -> None:
        assert isinstance(part.pictures, np.ndarray)
        self.batch_type: type[Batch] = Labelled if config.labelled else Images
        chunks = np.array_split(part.pictures, len(part.pictures) // 1000 + 1)  # what is between needs memory, too
        fitted = np.concatenate([config.fitted(chunk) for chunk in chunks if len(chunk)])
        self.images = torch.from_numpy(np.ascontiguousarray(fitted.transpose(0, 3, 1, 2)))
        self.labels, self.classes = torch.from_numpy(part.labels), classes
        self._flip = config.flip and train
        self._augment = config.augmentation() if train else None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[Tensor, ...]:
        chosen = torch.from_numpy(indices)
        images = self.images[chosen]
        if self._flip:
            mirrored = torch.from_numpy(numbers[:, 0] < 0.5)
            images[mirrored] = images[mirrored].flip(3)
        if self._augment:
            for image, number in zip(images, numbers[:, 1], strict=True):
                rng = np.random.default_rng(int(number * 2**53))
                (pixels,) = self._augment([image.permute(1, 2, 0).numpy()], rng)
                image.copy_(torch.from_numpy(pixels).permute(2, 0, 1))
        scaled = images.to(torch.float32).div_(255).sub_(0.5).div_(0.5)
        return (scaled, self.labels[chosen])[: len(self.batch_type._fields)]

    def name(self, index: int) -> str:
        return f"{index} {self.classes[self.labels[index]]}"


class FilesSplit(Split):
    """Pictures that are read when they are wanted."""

    aligned = False

    def __init__(self, config: DatasetConfig, part: Part, *, train: bool) -> None:
        assert isinstance(part.pictures, list)
        self.config, self.files, self.labels = config, part.pictures, torch.from_numpy(part.labels)
        self.batch_type: type[Batch] = Labelled if config.labelled else Images
        self._flip = config.flip and train
        self._augment = config.augmentation() if train else None

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        (pixels,) = self.config.fitted(read_image(self.files[index], channels=self.config.count_channels())[None])
        if self._flip and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if self._augment:
            (pixels,) = self._augment([pixels], rng)
        return (to_tensor(pixels), self.labels[index])[: len(self.batch_type._fields)]

    def name(self, index: int) -> str:
        return stem(self.files[index], self.config.root)


class DatasetSource(Source):
    """Field `image`, and `label` unless `data.labels` is false. The published training and test parts."""

    Config: ClassVar[type[SourceConfig]] = DatasetConfig
    config: DatasetConfig

    def __init__(self, config: DatasetConfig, size_multiple: int = 1) -> None:
        if config.size % size_multiple:
            raise ConfigError(f"data.size: {config.size} is not a multiple of {size_multiple}, as the network needs")
        self.config = config
        found = open_set(config.name, config.root, config.attribute)
        chosen = config.chosen(found.classes)
        names = tuple(found.classes[number] for number in chosen)
        train = _narrowed(found.train, chosen, config.limit)
        test = _narrowed(found.test, chosen, None) if found.test else None
        if not len(train.labels):
            raise DataError(f"data.root: {config.root} has no training images of {', '.join(names)}")
        self.batch_type: type[Batch] = Labelled if config.labelled else Images
        self.classes = names if config.labelled else ()
        self.channels = {"image": config.count_channels()}
        self.train = self._split(train, names, train=True)
        self.test = self._split(test, names, train=False) if test is not None and len(test.labels) else None

    def _split(self, part: Part, names: tuple[str, ...], *, train: bool) -> Split:
        if isinstance(part.pictures, list):
            return FilesSplit(self.config, part, train=train)
        return MemorySplit(self.config, part, names, train=train)

    def describe(self) -> str:
        tests = f"{len(self.test)} test" if self.test else "no test"
        classes = f" of {len(self.classes)} classes" if self.classes else ""
        return f"{self.config.name}: {len(self.train)} training, {tests} images{classes} in {self.config.root}"


def _narrowed(part: Part, chosen: list[int], limit: int | None) -> Part:
    """The first `limit` pictures of the chosen classes, which are numbered anew in that order."""
    keep = np.flatnonzero(np.isin(part.labels, chosen))[:limit]
    numbers = {number: position for position, number in enumerate(chosen)}
    labels = np.array([numbers[number] for number in part.labels[keep].tolist()], np.int64)
    pictures = part.pictures
    return Part([pictures[i] for i in keep] if isinstance(pictures, list) else pictures[keep], labels)
