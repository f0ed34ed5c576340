"""What every kind of data has in common: the config keys, and the two interfaces that training sees."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor

from translate.batches import Adaptation, Conditioned, Images, Labelled, Paired, Unpaired, UnpairedEnergies
from translate.config.spec import Kinded
from translate.data.augment import Augment, probe, validate
from translate.data.channels import Pixels
from translate.data.decode import MAX_PIXELS, read_image
from translate.data.transforms import Mode, Preprocess, common_multiple
from translate.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from translate.data.adaptation import Domains

Batch = Images | Labelled | Paired | Unpaired | UnpairedEnergies | Adaptation | Conditioned


def _colour(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except ValueError:
        near = difflib.get_close_matches(value, ImageColor.colormap, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown colour {value!r}{hint}; write a name, '#rrggbb' or [red, green, blue]") from None
    return red, green, blue


Byte = Annotated[int, Field(ge=0, le=255)]
Background = Annotated[tuple[Byte, Byte, Byte], BeforeValidator(_colour)]


class SourceConfig(Kinded):
    """The keys of every kind of data."""

    batch_size: int = Field(default=1, ge=1)  # over all processes
    workers: int = Field(default=2, ge=0)  # processes that read images; 0 reads them between the steps
    on_error: Literal["skip", "fail"] = "skip"  # what an unreadable file does
    limit: int | None = Field(default=None, ge=1)  # the first N training images alone
    augment: tuple[dict[str, Any], ...] = ()  # albumentations by name: {name: ColorJitter, p: 0.5}

    @field_validator("augment")
    @classmethod
    def _known_transforms(cls, items: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        if items:
            validate(items)
        return items

    def augmentation(self) -> Augment | None:
        return Augment(self.augment) if self.augment else None

    def prepare(self) -> None:
        """Fetches what `download` asks for, unless it is there; else does nothing. Raises DownloadError.

        One process calls this, before any opens the source.
        """


class FolderConfig(SourceConfig):
    """The keys of every kind of data that is read from files."""

    root: Path
    preprocess: Mode = "resize_and_crop"
    load_size: int = Field(default=286, ge=1)
    crop_size: int = Field(default=256, ge=1)
    flip: bool = True
    background: Background = (255, 255, 255)
    float_range: tuple[float, float] = (0.0, 1.0)
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)

    @field_validator("root")
    @classmethod
    def _home(cls, root: Path) -> Path:
        return root.expanduser()

    @field_validator("float_range")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError(f"needs [lowest, highest], got [{value[0]:g}, {value[1]:g}]")
        return value

    @model_validator(mode="after")
    def _sizes(self) -> "FolderConfig":
        if self.preprocess in ("resize_and_crop", "scale_width_and_crop") and self.load_size < self.crop_size:
            raise ValueError(
                f"load_size {self.load_size} is smaller than crop_size {self.crop_size}; raise it or lower that"
            )
        if self.augment:
            try:
                probe(self.augment, self.channel_counts(), square=self.preprocess.endswith("crop"))
            except ValueError as error:
                raise ValueError(f"augment: {error}") from error
        return self

    def channel_counts(self) -> tuple[int, ...]:
        """How many channels the images may have, for checking `augment`."""
        return (3,)

    def read(self, path: Path, channels: int | None) -> Pixels:
        """The picture in `path` as [H, W, C] under these settings. Raises ImageError."""
        low, high = self.float_range
        return read_image(
            path,
            channels=channels,
            background=self.background,
            float_range=(low, high),
            max_pixels=self.max_pixels,
        )

    def preprocessing(self, *, train: bool, size_multiple: int) -> Preprocess:
        """Raises ConfigError where the network cannot take the crop."""
        if self.preprocess.endswith("crop") and self.crop_size % size_multiple:
            raise ConfigError(
                f"data.crop_size: {self.crop_size} is not a multiple of {size_multiple}, as the network needs"
            )
        return Preprocess(
            mode=self.preprocess,
            load_size=self.load_size,
            crop_size=self.crop_size,
            flip=self.flip,
            train=train,
            multiple=common_multiple(size_multiple),
            augment=self.augmentation(),
        )


class PublishedConfig(FolderConfig):
    """Folders that can be filled by downloading one of the published data sets of a family."""

    family: ClassVar[str]  # "pix2pix" or "cyclegan": where the archives are looked up
    download: str | None = None

    @field_validator("download")
    @classmethod
    def _published(cls, name: str | None) -> str | None:
        from translate.data.catalogue import published

        if name is not None:
            published(cls.family, name)
        return name

    def prepare(self) -> None:
        from translate.data.download import download

        if self.download is not None:
            download(self.family, self.download, self.root)


class Split(ABC):
    """A collection of samples: one side of the division into training and test."""

    batch_type: type[Batch]
    aligned: bool  # its samples are true pairs, so that L1, PSNR and SSIM can be computed

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Per field of `batch_type` one float32 [C, H, W] in [-1, 1], or int64 [] for a label.

        All randomness comes from `rng`.

        Raises ImageError where a file cannot be used.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call this sample in grids and reports."""

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Of the samples in one epoch: each once."""
        return rng.permutation(len(self))


class ArraySplit(Split):
    """Samples that are in memory, or calculated: made many at a time, from a few random numbers each."""

    numbers: ClassVar[int]  # how many random numbers a sample takes

    @abstractmethod
    def batch(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[Tensor, ...]:
        """Samples [N, ...] per field; `numbers` [N, `self.numbers`] in [0, 1) are all of their randomness."""

    def sample(self, index: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
        return tuple(field[0] for field in self.batch(np.array([index]), rng.random((1, self.numbers))))


class Source(ABC):
    """Opened data: lists the files, raises DataError where there is nothing to train on, and reads nothing yet.

    `size_multiple` is what the network needs both sides of an image to be a multiple of.
    """

    Config: ClassVar[type[SourceConfig]]

    config: SourceConfig
    batch_type: type[Batch]  # of the class, but for kinds where the config decides
    channels: dict[str, int]  # per field of images: {"source": 3, "target": 3}
    units: Mapping[str, tuple[str, ...]] = MappingProxyType({})  # of detector images, a channel: {"a": ("VEM", "ns")}
    classes: tuple[str, ...] = ()  # their names, where the batches are Labelled
    train: Split  # random crop, flip and augmentation
    test: Split | None  # deterministic; None where the data have no test part
    samples: int | None = None  # how many examples its `picture` shows; None: validation.samples

    @abstractmethod
    def __init__(self, config: Any, size_multiple: int = 1) -> None: ...

    @abstractmethod
    def describe(self) -> str:
        """One line: `unpaired: 1067 + 1334 training, 120 + 140 test images in datasets/horse2zebra`."""

    def picture(self, columns: Mapping[str, Sequence[Tensor]]) -> "Image.Image | None":
        """Samples by title in one picture, for data that a grid of images would not show; None: a grid."""
        return None

    def measure(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Metrics of pairs, [N] each, for data that are no pictures; empty: those of pictures."""
        return {}

    def domains(self) -> "Domains":
        """Both domains whole, with the labels of the target, for a study. Raises ConfigError where there are none."""
        raise ConfigError(f"data.kind: {self.config.kind} has no labelled source and target; use digits or detector")


def size_of(config: SourceConfig) -> tuple[int, int] | None:
    """Height and width of every training sample; None where they follow the files."""
    if isinstance(config, FolderConfig):
        return (config.crop_size, config.crop_size) if config.preprocess.endswith("crop") else None
    size: int | tuple[int, int] | None = getattr(config, "size", None)
    return (size, size) if isinstance(size, int) else size
