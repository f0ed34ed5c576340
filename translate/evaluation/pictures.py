"""The sets of pictures that are compared: folders, arrays, the data of a config, and what a model makes.

Pixels are as in `translate.data.channels`: [H, W, C], uint8, uint16, or float32 in [0, 1].
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from translate.data.channels import Pixels
from translate.data.decode import read_image
from translate.data.files import list_images, looked_at, some, stem
from translate.errors import DataError, ModelError

if TYPE_CHECKING:
    from translate.data.source import Split
    from translate.inference.translator import Translator

LOOKED_AT, THREADS, BATCH = 32, 4, 16  # pictures that tell the channels; decoding at a time; through a model together


class Pictures(ABC):
    """A set, in an order that does not change. Reading raises ImageError, which names the picture."""

    what: str  # for the report
    labels: NDArray[np.int64] | None = None  # [N]
    classes: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, place: int) -> str:
        """By which pairs are found."""

    @abstractmethod
    def read(self, places: Sequence[int]) -> list[Pixels]: ...

    @abstractmethod
    def parts(self) -> Iterable[bytes]:
        """What the pictures are a function of."""

    def digest(self) -> str:
        """SHA-256 in hexadecimal digits: the same for the same pictures in the same order."""
        total = hashlib.sha256()
        for part in self.parts():
            total.update(hashlib.sha256(part).digest())
        return total.hexdigest()

    def channels(self) -> int:
        """1 where all pictures that were looked at are grey, 3 for colour, else their own; alpha is not counted."""
        places = np.unique(np.linspace(0, len(self) - 1, LOOKED_AT).astype(int)).tolist()
        counts = {picture.shape[2] for picture in self.read(places)}
        return 1 if counts <= {1, 2} else 3 if counts <= {1, 2, 3, 4} else max(counts)


class Folder(Pictures):
    """Every picture below a folder; where all of them lie in folders of it, these are the classes."""

    def __init__(self, folder: Path) -> None:
        self.what, self.folder, self.files = f"folder {folder}", folder, list_images(folder)
        if not self.files:
            raise DataError(f"{folder}: no pictures found: {looked_at(folder)}")
        below = [path.relative_to(folder).parts for path in self.files]
        if all(len(parts) > 1 for parts in below):
            self.classes = tuple(sorted({parts[0] for parts in below}))
            self.labels = np.array([self.classes.index(parts[0]) for parts in below], np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, place: int) -> str:
        return stem(self.files[place], self.folder)

    def read(self, places: Sequence[int]) -> list[Pixels]:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(read_image, [self.files[place] for place in places]))

    def parts(self) -> Iterable[bytes]:
        for place, path in enumerate(self.files):
            yield self.name(place).encode("utf-8", "surrogateescape")
            yield path.read_bytes()


class Array(Pictures):
    """uint8 [N, H, W, C] or [N, H, W] of a .npy, or of the one such member of an .npz; integers [N] are the labels."""

    def __init__(self, path: Path) -> None:
        try:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            members = {"": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded}
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: cannot be read ({error}); save it with numpy.save or numpy.savez") from None
        found = [a for a in members.values() if a.dtype == np.uint8 and a.ndim in (3, 4) and 0 not in a.shape]
        if len(found) != 1:
            shapes = ", ".join(f"{name} {array.dtype} {list(array.shape)}".strip() for name, array in members.items())
            raise DataError(f"{path}: needs one array of pictures, uint8 [N, H, W, C] or [N, H, W]; it holds {shapes}")
        self.what, self.array = f"array {path}", found[0][..., None] if found[0].ndim == 3 else found[0]
        labels = [a for a in members.values() if a.dtype.kind in "iu" and a.shape == (len(self),)]
        if len(labels) == 1 and labels[0].min() >= 0:
            self.labels = np.array(labels[0], np.int64)

    def __len__(self) -> int:
        return len(self.array)

    def name(self, place: int) -> str:
        return str(place)

    def read(self, places: Sequence[int]) -> list[Pixels]:
        return [np.array(self.array[place]) for place in places]

    def parts(self) -> Iterable[bytes]:
        yield str(self.array.shape).encode()
        for start in range(0, len(self), 1024):
            yield np.ascontiguousarray(self.array[start : start + 1024]).tobytes()
        if self.labels is not None:
            yield self.labels.tobytes()


class Data(Pictures):
    """The images that a config's networks imitate, prepared as for training, in 8 bits: `NAME.yaml` for the test part,
    `NAME.yaml#train` for the other."""

    def __init__(self, text: str) -> None:
        from translate.config.load import load
        from translate.data import find

        name, _, part = text.partition("#")
        data = load(name).data
        source = find(data.kind)(data)
        split: Split | None = {"": source.test, "test": source.test, "train": source.train}.get(part)
        if split is None:
            raise DataError(f"{text}: has no part of that name; there are {name}#train" + "#test" * bool(source.test))
        self.what, self.split = f"{part or 'test'} part of {source.describe()}", split
        fields = split.batch_type._fields
        self.field = next(fields.index(name) for name in ("image", "target", "b") if name in fields)
        if fields[self.field + 1 : self.field + 2] == ("label",) and source.classes:
            self.labels = np.array([int(self._sample(place)[self.field + 1]) for place in range(len(split))], np.int64)
            self.classes = source.classes

    def __len__(self) -> int:
        return len(self.split)

    def name(self, place: int) -> str:
        return self.split.name(place)

    def read(self, places: Sequence[int]) -> list[Pixels]:
        tensors = (self._sample(place)[self.field] for place in places)
        images = (tensor.add(1).mul(127.5).round().clamp(0, 255).byte() for tensor in tensors)
        return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]

    def _sample(self, place: int) -> Any:
        return self.split.sample(place, np.random.default_rng((0, place)))

    def parts(self) -> Iterable[bytes]:
        for start in range(0, len(self), 64):
            for picture in self.read(range(start, min(start + 64, len(self)))):
                yield str(picture.shape).encode() + picture.tobytes()


class Translated(Pictures):
    """What a model makes of the pictures of another set."""

    def __init__(self, model: Path, inputs: Pictures, *, direction: str | None, seed: int) -> None:
        self.translator, self.inputs, self.seed = _load(model, direction), inputs, seed
        if self.translator.card.source is None:
            raise ModelError(f"{model}: makes pictures from random numbers: give --count N in place of --input")
        self.what = f"{self.translator.card.network} of {model}, of {inputs.what}, seed {seed}"
        self.labels, self.classes = inputs.labels, inputs.classes

    def __len__(self) -> int:
        return len(self.inputs)

    def name(self, place: int) -> str:
        return self.inputs.name(place)

    def read(self, places: Sequence[int]) -> list[Pixels]:
        return self.variant(places, self.seed)

    def variant(self, places: Sequence[int], seed: int) -> list[Pixels]:
        """With the noise of another seed."""
        given = self.inputs.read(places)
        if any(picture.dtype.kind == "f" for picture in given):
            return [self.translator.pixels(picture, seed=seed) for picture in given]
        return [np.asarray(output) for output in self.translator(given, seed=seed)]

    def parts(self) -> Iterable[bytes]:
        yield f"{_hash(self.translator)} {self.seed}".encode()
        yield from self.inputs.parts()


class Generated(Pictures):
    """What a model makes from random numbers; labels in turn, where it takes any."""

    def __init__(self, model: Path, count: int, *, seed: int) -> None:
        from translate.inference.latents import classes, draw

        self.translator, self.seed = _load(model, None), seed
        card = self.translator.card
        self.latents, self.numbers = draw(card, count, seed), classes(card, count, None)
        self.what = f"{card.network} of {model}, {count} pictures, seed {seed}"
        if card.labels:
            self.labels, self.classes = self.numbers, card.labels

    def __len__(self) -> int:
        return len(self.latents)

    def name(self, place: int) -> str:
        return str(place)

    def read(self, places: Sequence[int]) -> list[Pixels]:
        some = list(places)
        return list(self.translator.decode(self.latents[some], self.numbers[some], seed=self.seed))

    def parts(self) -> Iterable[bytes]:
        yield f"{_hash(self.translator)} {self.seed} {len(self)}".encode()


def open_pictures(text: str) -> Pictures:
    """A folder, a .npy or .npz, or a config. Raises DataError where there are no pictures, ConfigError for a config."""
    path = Path(text)
    if text.partition("#")[0].endswith((".yaml", ".yml")):
        return Data(text)
    if path.suffix.lower() in (".npy", ".npz"):
        return Array(path)
    return Folder(path)


def matched(generated: Pictures, reference: Pictures) -> list[int]:
    """For each generated picture the place of the reference of the same name; of arrays, of the same place.

    Raises DataError where one has no partner.
    """
    if isinstance(generated, Array) or isinstance(reference, Array):
        if len(generated) != len(reference):
            raise DataError(f"--paired: {len(generated)} pictures and {len(reference)}: pairs need as many of each")
        return list(range(len(generated)))
    places = {reference.name(place): place for place in range(len(reference))}
    names = [generated.name(place) for place in range(len(generated))]
    if alone := sorted(set(names) ^ set(places)):
        raise DataError(f"--paired: without a partner of the same name: {some(alone)}; add or remove files")
    return [places[name] for name in names]


def _load(model: Path, direction: str | None) -> "Translator":
    from translate.inference.translator import Translator

    return Translator.load(model, direction=direction, precision="fp32", batch_size=BATCH)


def _hash(translator: "Translator") -> str:
    path = translator.session.path
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {translator.card.network}"
