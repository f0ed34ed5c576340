"""Detector images of a simulation and of data: from files of any size, folders of tiles, or the built-in simulator.

N events, L layers (the channels of the networks), H x W cells.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from translate.batches import Adaptation, Conditioned, Images, Labelled, Paired, Unpaired, UnpairedEnergies
from translate.data.files import looked_at, some, test_folders, two_folders
from translate.data.source import ArraySplit, Batch, Source, SourceConfig
from translate.detector.events import Events, Reader, Taken
from translate.detector.normalisation import Normalisation
from translate.detector.showers import PARTICLES
from translate.errors import ConfigError, DataError, unknown

if TYPE_CHECKING:
    from PIL import Image

    from translate.data.adaptation import Domains

_GIVES: dict[str, type[Batch]] = {
    "unpaired": Unpaired,
    "unpaired_energies": UnpairedEnergies,
    "paired": Paired,
    "adaptation": Adaptation,
    "conditioned": Conditioned,
    "images": Images,
    "labelled": Labelled,
}
_BOTH = ("unpaired", "unpaired_energies", "paired", "adaptation")
_IMAGES = ("image", "source", "target", "a", "b")  # fields of batches


class DetectorConfig(SourceConfig):
    """`simulation` and `data` name the events of both sides; or `root` a folder {train,test}/{a,b} of npz tiles, whose
    side a is the simulation. Kinds of one side take the simulation, unless only data are given."""

    kind: Literal["detector"] = "detector"
    gives: Literal["unpaired", "unpaired_energies", "paired", "adaptation", "conditioned", "images", "labelled"] = (
        "unpaired"
    )
    root: Path | None = None
    download: Literal["slats"] | None = None  # into `root`
    simulation: Events | None = None
    data: Events | None = None
    direction: Literal["a2b", "b2a"] = "a2b"  # b2a: both sides of `root` change places
    pairs: bool = False  # event for event, both sides are the same; of tiles: those with the same names
    normalisation: Normalisation = Normalisation()
    crop: int | tuple[int, int] | None = None  # rows and columns, at random places; tests are of whole images
    test_share: float = Field(default=0.1, ge=0, le=0.5)  # every so many-th event is held out
    classes: tuple[str, ...] = ()  # particle types, in this order; of the simulator known
    energy_unit: float = Field(default=10.0, gt=0)  # GeV; the condition is the logarithm to base 10 of E in this unit
    workers: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _sides(self) -> "DetectorConfig":
        sides = [side for side in (self.simulation, self.data) if side is not None]
        if (self.root is None) == (not sides):
            raise ValueError("needs either root, or simulation and data")
        if self.root is None and self.gives in _BOTH and len(sides) < 2:
            raise ValueError(f"gives: {self.gives} needs both simulation and data")
        if self.root is None and (self.download or self.direction == "b2a"):
            raise ValueError("download, direction: are of root; leave them out")
        if self.augment:
            raise ValueError("augment: detector images are no photographs; use crop alone")
        if (self.gives == "paired" or self.pairs) and len({side.seed for side in sides if side.simulator}) > 1:
            raise ValueError("gives: pairs are of the same showers: give both simulators one seed")
        for name in self.classes:
            if name not in PARTICLES:
                raise ValueError(f"classes: {unknown('particle', name, PARTICLES)}")
        return self

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of training images, where the config says them."""
        if self.crop is not None:
            return self.crop if isinstance(self.crop, tuple) else (self.crop, self.crop)
        side = self.simulation or self.data
        return side.simulator.shape[1:] if side is not None and side.simulator is not None else None

    def prepare(self) -> None:
        from translate.data.download import download

        if self.download is not None:
            assert self.root is not None
            download("detector", self.download, self.root.expanduser())


class Part(NamedTuple):
    """The training or test events of a reader: of `every` 10, numbers 0, 10, 20, … are tests; of 0 all events count."""

    reader: Reader
    every: int
    test: bool

    @property
    def total(self) -> int:
        tests = -(-self.reader.count // self.every) if self.every else 0
        return tests if self.test and self.every else self.reader.count - tests

    def numbers(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of its events in the reader."""
        if not self.every:
            return index
        return index * self.every if self.test else index + index // (self.every - 1) + 1

    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Undoes `numbers`; events of the other part are left out."""
        if not self.every:
            return numbers
        mine: NDArray[np.int64] = numbers[(numbers % self.every == 0) == self.test]
        return mine // self.every if self.test else mine - mine // self.every - 1

    def take(self, index: NDArray[np.int64]) -> Taken:
        return self.reader.take(self.numbers(index))


class DetectorSplit(ArraySplit):
    """As many samples as the first side has events; its partner is random unless the sides are pairs."""

    numbers = 3  # the partner, and the place of the crop

    def __init__(self, config: DetectorConfig, parts: Sequence[Part], classes: Sequence[str], pairs: bool) -> None:
        self.config, self.parts, self.train = config, parts, not parts[0].test
        self.batch_type = _GIVES[config.gives]
        self.aligned = len(parts) == 2 and pairs and (config.gives == "paired" or not self.train)
        self._class = np.full(len(PARTICLES) + 1, -1)
        self._class[[PARTICLES.index(name) for name in classes]] = np.arange(len(classes))
        self._length = min(parts[0].total, (config.limit if self.train else None) or parts[0].total)

    def __len__(self) -> int:
        return self._length

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        part = self.parts[0]
        order = np.concatenate([part.places(group) for group in part.reader.order(rng)])
        return order[order < len(self)]

    def batch(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> tuple[Tensor, ...]:
        first = self.parts[0].take(indices)
        images = self.images(first, numbers)
        match self.config.gives:
            case "images":
                return (images,)
            case "labelled":
                return images, self.labels(first)
            case "conditioned":
                return images, self.labels(first), self.condition(first)
        second = self.parts[1].take(self._partners(indices, numbers[:, 0]))
        other = self.images(second, numbers)
        match self.config.gives:
            case "adaptation":
                return images, self.labels(first), other
            case "unpaired_energies":
                return images, other, self.condition(first), self.condition(second)
        return images, other

    def images(self, taken: Taken, numbers: NDArray[np.float64] | None = None) -> Tensor:
        cells, crop = taken.cells, self.config.size if self.config.crop and self.train else None
        if crop is not None and numbers is not None:
            room = np.array(cells.shape[2:]) - crop + 1
            corners = (numbers[:, 1:] * room).astype(int)
            cells = np.stack(
                [one[:, y : y + crop[0], x : x + crop[1]] for one, (y, x) in zip(cells, corners, strict=True)]
            )
        return torch.from_numpy(self.config.normalisation.forward(cells, taken.energy))

    def condition(self, taken: Taken) -> Tensor:
        """log10 of the incident energies in `energy_unit`, [N, 1]. Raises DataError where one is not known."""
        condition = np.log10(taken.energy / self.config.energy_unit, dtype=np.float32)[:, None]
        if not np.isfinite(condition).all():
            raise DataError(
                f"data.gives: {self.config.gives} needs the incident energy, which the files do not tell of all events"
            )
        return torch.from_numpy(condition)

    def labels(self, taken: Taken) -> Tensor:
        labels = self._class[taken.particle]
        if (labels < 0).any():
            kinds = sorted({PARTICLES[kind] if kind >= 0 else "unknown" for kind in taken.particle[labels < 0]})
            raise DataError(
                f"data.classes: there are events of {', '.join(kinds)} particles; name all of them in order"
            )
        return torch.from_numpy(labels)

    def _partners(self, indices: NDArray[np.int64], numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        """In the second part: the same event of pairs, in turn for tests, else any of about the same place, so that few
        blocks of a large file are open at a time."""
        a, b = self.parts[0].total, self.parts[1].total
        if self.aligned or not self.train:
            return indices % b
        span = self.parts[0].reader.size
        low = indices // span * span
        return ((low + numbers * np.minimum(span, a - low)) * b / a).astype(np.int64)

    def name(self, index: int) -> str:
        return self.parts[0].reader.name(int(self.parts[0].numbers(np.array([index]))[0]))


class DetectorSource(Source):
    """Fields as `data.gives` says."""

    Config: ClassVar[type[SourceConfig]] = DetectorConfig
    config: DetectorConfig

    def __init__(self, config: DetectorConfig, size_multiple: int = 1) -> None:
        self.config = config
        self.batch_type = _GIVES[config.gives]
        train, test = self._parts()
        for part in train:
            self._check(part, size_multiple)
        self.classes = _classes(config) if config.gives in ("adaptation", "conditioned", "labelled") else ()
        counts = [part.reader.shape[0] for part in train]
        fields = [name for name in self.batch_type._fields if name in _IMAGES]
        self.channels = dict(zip(fields, counts, strict=True))
        self.units = {name: part.reader.units for name, part in zip(fields, train, strict=True)}
        if config.gives == "unpaired_energies":
            self.channels["energy"] = 1
        pairs = (config.pairs or config.gives == "paired" or config.root is not None) and _same_events(train)
        if config.gives == "paired" and not pairs:
            raise DataError(
                f"data.gives: paired needs the same events on both sides, but there are {train[0].total} and "
                f"{train[1].total}, or tiles of other names"
            )
        self.train = DetectorSplit(config, train, self.classes, pairs)
        pairs = pairs and _same_events(test)
        self.test = (
            DetectorSplit(config, test, self.classes, pairs) if test and all(part.total for part in test) else None
        )

    def _parts(self) -> tuple[list[Part], list[Part]]:
        """Training and test parts: of both sides where `gives` wants both."""
        config, both = self.config, self.config.gives in _BOTH
        if config.root is None:
            sides = [side for side in (config.simulation, config.data) if side is not None][: 2 if both else 1]
            every = round(1 / config.test_share) if config.test_share else 0
            readers = [Reader(side) for side in sides]
            tests = [Part(reader, every, True) for reader in readers] if every else []
            return [Part(reader, every, False) for reader in readers], tests
        root = config.root.expanduser()
        train, test = two_folders(root, "train"), test_folders(root)
        if train is None:
            remedy = "" if config.download else "; or set data.download: slats"
            raise DataError(f"data.root: {root}: {looked_at(root)}; expected tiles in train/a and train/b{remedy}")
        turn = 1 if config.direction == "a2b" else -1
        return _tiles(train[::turn][: 1 + both], False), _tiles(test[::turn][: 1 + both], True) if test else []

    def _check(self, part: Part, multiple: int) -> None:
        whole, crop = part.reader.shape[1:], self.config.size if self.config.crop else None
        if crop and any(side > room for side, room in zip(crop, whole, strict=True)):
            raise ConfigError(f"data.crop: {crop[0]}x{crop[1]} is larger than the images, {whole[0]}x{whole[1]}")
        if any(side % multiple for side in (*(crop or ()), *whole)):
            raise ConfigError(
                f"data.crop: images of {whole[0]}x{whole[1]} cells, cropped to {crop}, are no multiples of {multiple}, "
                "as the network needs: choose a refiner, a smaller depth or another crop"
            )
        if not part.total:
            raise DataError("data: no events to train on: lower data.test_share")

    def describe(self) -> str:
        train, test = self.train, self.test
        assert isinstance(train, DetectorSplit)
        counts = " + ".join(str(part.total) for part in train.parts)
        tests = " + ".join(str(part.total) for part in test.parts) if isinstance(test, DetectorSplit) else "no"
        shape = "x".join(map(str, train.parts[0].reader.shape))
        return f"detector: {counts} training, {tests} test events of {shape} cells"

    def picture(self, columns: Mapping[str, Sequence[Tensor]]) -> "Image.Image":
        from translate.detector.pictures import sheet

        return sheet({title: self.physical(torch.stack(list(images))) for title, images in columns.items()})

    def measure(self, output: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """l1 and l2, mean |x − y| and mean (x − y)² over cells, in the units of the data, one value an event."""
        change = torch.from_numpy(self.physical(output) - self.physical(truth))
        return {"l1": change.abs().mean((1, 2, 3)), "l2": change.square().mean((1, 2, 3))}

    def physical(self, images: Tensor) -> NDArray[Any]:
        """In the units of the data; as shares of the incident energy where the normalisation takes them so."""
        energy = np.full(len(images), 1e-3) if self.config.normalisation.by_energy else None
        return self.config.normalisation.inverse(images.detach().float().cpu().numpy(), energy)

    def domains(self) -> "Domains":
        from translate.data.adaptation import Domain, Domains

        if self.config.gives != "adaptation" or self.test is None:
            raise ConfigError("data.gives: a study needs adaptation, with a test_share")
        found = []
        for place in (0, 1):
            for split in (self.train, self.test):
                assert isinstance(split, DetectorSplit)
                count = len(split) if place == 0 else split.parts[place].total
                chunks = [
                    split.parts[place].take(np.arange(start, min(start + 1000, count)))
                    for start in range(0, count, 1000)
                ]
                images, labels = zip(*((split.images(chunk), split.labels(chunk)) for chunk in chunks), strict=True)
                found.append(Domain(torch.cat(images), torch.cat(labels)))
        return Domains(*found)


def _tiles(folders: Sequence[Path], test: bool) -> list[Part]:
    return [Part(Reader(Events(files=(folder,))), 0, test) for folder in folders]


def _same_events(parts: Sequence[Part]) -> bool:
    """Whether event for event, by their names, the two sides can be the same."""
    if len(parts) < 2 or parts[0].total != parts[1].total:
        return False
    a, b = (part.reader for part in parts)
    return all(a.name(number) == b.name(number) for number in (range(a.count) if a.tiles and b.tiles else ()))


def _classes(config: DetectorConfig) -> tuple[str, ...]:
    """As the config says, or all that its simulators make."""
    made = [side.simulator.particles for side in (config.simulation, config.data) if side and side.simulator]
    classes = config.classes or tuple(name for name in PARTICLES if any(name in particles for particles in made))
    if not classes:
        raise ConfigError(f"data.classes: name the particle types of the files, of {some(PARTICLES, 9)}")
    return classes
