"""The standard sets of labelled pictures, opened and downloaded with torchvision, and folders of pictures by class.

MNIST and Fashion-MNIST are read here: torchvision insists on its own folders and on unpacked files.
"""

import gzip
import http.client
import io
import socket
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.data.files import list_images, looked_at
from translate.errors import ConfigError, DataError, DownloadError, unknown

Pictures = NDArray[np.uint8] | list[Path]  # [N, H, W, C]

# name → what torchvision calls it, and the folder that it makes below root. To import torchvision takes seconds.
TORCHVISION = {
    "mnist": ("MNIST", "MNIST"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "celeba": ("CelebA", "celeba"),
}
_IDX = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
}
_LARGEST = 1 << 30  # bytes of an IDX file


class Part(NamedTuple):
    """Training or test part: `labels[i]` is the class of `pictures[i]`."""

    pictures: Pictures
    labels: NDArray[np.int64]


class Opened(NamedTuple):
    classes: tuple[str, ...]
    train: Part
    test: Part | None


def open_set(name: str, root: Path, attribute: str | None = None) -> Opened:
    """The set of that name below `root`; pictures that are files are not read yet.

    `attribute` of CelebA divides the faces in those without and with it. Raises DataError, which names the file that is
    missing or damaged, and ConfigError for an unknown attribute.
    """
    if name in _IDX:
        return _idx_set(name, root)
    if name == "folder":
        return _folders(root)
    return _cifar10(root) if name == "cifar10" else _celeba(root, attribute)


def fetch(name: str, root: Path) -> None:
    """Lets torchvision download and check the set, in a folder that becomes part of `root` when it is complete.

    Does nothing where `root` has it, whole or not. Raises DownloadError.
    """
    folder = _home(name, root)
    if folder.exists() or (name in _IDX and _idx_folder(name, root)):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=root, ignore_cleanup_errors=True) as place:
            with _attended():
                _torchvision(name)(place, download=True)
            Path(place, folder.name).rename(folder)
    except (RuntimeError, OSError, EOFError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DownloadError(
            f"{root}: {name} could not be downloaded ({reason}); nothing was kept. Try again later, or "
            f"{_by_hand(name, root)}"
        ) from error


def _torchvision(name: str) -> Any:
    from torchvision import datasets

    return getattr(datasets, TORCHVISION[name][0])


def _home(name: str, root: Path) -> Path:
    """The folder that torchvision makes in `root`."""
    return root / TORCHVISION[name][1]


@contextmanager
def _attended() -> Iterator[None]:
    """Without a progress bar in a log, nor an endless wait for a server that has gone silent."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with warnings.catch_warnings(), nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


def _by_hand(name: str, root: Path) -> str:
    dataset = _torchvision(name)
    if name in _IDX:
        return f"put {', '.join(file for file, _ in dataset.resources)} of {dataset.mirrors[0]} into {root}"
    if name == "cifar10":
        return f"unpack {dataset.url} in {root}"
    return f"put the files of https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html into {_home(name, root)}, unpacked"


def _missing(name: str, root: Path, expected: str) -> DataError:
    remedy = ""
    if name in TORCHVISION:
        home = _home(name, root)
        remedy = f"; {f'remove {home} and' if home.exists() else 'or'} set data.download: true"
    return DataError(f"data.root: {root} does not hold {name}: {looked_at(root)}; expected {expected}{remedy}")


def _idx_set(name: str, root: Path) -> Opened:
    folder = _idx_folder(name, root)
    if folder is None:
        raise _missing(name, root, f"train-images-idx3-ubyte(.gz) and the like in it or {_home(name, root).name}/raw")
    classes, parts = _IDX[name], []
    for part in ("train", "t10k"):
        images, labels = (_idx_file(folder, f"{part}-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        pictures, numbers = read_idx(images, 3), read_idx(labels, 1).astype(np.int64)
        if len(pictures) != len(numbers) or numbers.max(initial=0) >= len(classes):
            raise DataError(
                f"{labels}: {len(numbers)} labels up to {numbers.max(initial=0)} do not belong to the {len(pictures)} "
                f"images of {images.name} in {len(classes)} classes; fetch both again"
            )
        parts.append(Part(pictures[..., None], numbers))
    return Opened(classes, *parts)


def _idx_folder(name: str, root: Path) -> Path | None:
    folders = (root, root / "raw", _home(name, root) / "raw")
    return next((folder for folder in folders if any(folder.glob("train-images*idx3-ubyte*"))), None)


def _idx_file(folder: Path, name: str) -> Path:
    """Plain or packed; some copies are called `train-images.idx3-ubyte`."""
    names = [f"{stem}{suffix}" for stem in (name, name.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    path = next((folder / each for each in names if (folder / each).is_file()), None)
    if path is None:
        raise DataError(f"{folder / name}: is missing, with and without .gz; fetch it again")
    return path


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of bytes, packed by gzip or not: magic number, big-endian sizes, values. Raises DataError."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            data = file.read(_LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: is damaged or truncated ({error}); fetch it again") from error
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise DataError(f"{path}: is no IDX file of bytes in {dimensions} dimensions; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, 4))
    if len(data) != start + int(np.prod(shape, dtype=object)):
        raise DataError(f"{path}: has {len(data) - start} bytes for {shape} values; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _cifar10(root: Path) -> Opened:
    dataset = _torchvision("cifar10")
    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    train, test = (_checked("cifar10", root, files, train=train) for train in (True, False))
    parts = (Part(part.data, np.array(part.targets, np.int64)) for part in (train, test))
    return Opened(tuple(train.classes), *parts)


def _celeba(root: Path, attribute: str | None) -> Opened:
    files = [(name, md5) for _, md5, name in _torchvision("celeba").file_list if name.endswith(".txt")]
    parts = []
    for split in ("train", "test"):
        part = _checked("celeba", root, files, split=split)
        names = [name for name in part.attr_names if name]
        if attribute is not None and attribute not in names:
            raise ConfigError(f"data.attribute: {unknown('attribute', attribute, names)}")
        labels = part.attr[:, names.index(attribute)].numpy() if attribute else np.zeros(len(part), np.int64)
        folder = _home("celeba", root) / "img_align_celeba"
        parts.append(Part([folder / name for name in part.filename], labels.astype(np.int64)))
    return Opened((f"not {attribute}", attribute) if attribute else ("face",), *parts)


def _checked(name: str, root: Path, files: list[tuple[str, str]], **part: Any) -> Any:
    """The torchvision set, whose `files` have the published MD5: they may hold pickles, and nothing else is loaded."""
    from torchvision.datasets.utils import check_integrity

    folder = _home(name, root)
    if not folder.is_dir():
        raise _missing(name, root, f"the folder {folder.name}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickles of another age
            return _torchvision(name)(root, **part)
    except RuntimeError as error:
        bad = next((file for file, md5 in files if not check_integrity(folder / file, md5)), "img_align_celeba")
        raise DataError(
            f"{folder / bad}: is missing or not the published one; remove {folder} and set data.download: true"
        ) from error


def _folders(root: Path) -> Opened:
    """`root/train/CLASS/…` and `root/test/CLASS/…` (or val), or `root/CLASS/…` without a test part."""
    divided = (root / "train").is_dir()
    train = root / "train" if divided else root
    test = next((root / name for name in ("test", "val") if divided and (root / name).is_dir()), None)
    found = sorted({path.relative_to(train).parts[0] for path in list_images(train) if path.parent != train})
    if not found:
        raise _missing("folder", root, "images in one folder a class, in it or in train/")
    return Opened(tuple(found), _by_class(train, found), _by_class(test, found) if test else None)


def _by_class(folder: Path, classes: list[str]) -> Part:
    """The classes in turn, so that the first N files hold all of them."""
    files = [[(path, label) for path in list_images(folder / name)] for label, name in enumerate(classes)]
    pairs = [pair for row in zip_longest(*files) for pair in row if pair]
    return Part([path for path, _ in pairs], np.array([label for _, label in pairs], np.int64))
