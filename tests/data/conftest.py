"""Small pictures and folders of them, made anew for every test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared" / "data"

Save = Callable[..., Path]


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    """Smooth random colour, [H, W, C] uint8: `pixels(seed, height, width, channels)`."""

    def make(seed: int = 0, height: int = 20, width: int = 24, channels: int = 3) -> np.ndarray:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
        planes = [
            Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
        ]
        return np.stack([np.asarray(plane) for plane in planes], axis=2)

    return make


@pytest.fixture
def save(pixels) -> Save:
    """`save(path, seed=0, height=20, width=24)`: an RGB picture in the format of the suffix; gives the path."""

    def write(path: Path, seed: int = 0, height: int = 20, width: int = 24) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(seed, height, width)).save(path)
        return path

    return write


@pytest.fixture
def unpaired_root(tmp_path, save) -> Path:
    """trainA (5), trainB (7), testA and testB (3 of the same names)."""
    root = tmp_path / "set"
    for folder, count, start in (("trainA", 5, 0), ("trainB", 7, 100), ("testA", 3, 200), ("testB", 3, 300)):
        for index in range(count):
            save(root / folder / f"{index}.png", seed=start + index)
    return root


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is missing: it holds the real data")
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def idx() -> Callable[[np.ndarray], bytes]:
    """An array of bytes as an IDX file."""

    def pack(array: np.ndarray) -> bytes:
        return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()

    return pack


@pytest.fixture
def mnist_files(idx) -> dict[str, bytes]:
    """The four files, unpacked: 30 training and 20 test pictures [28, 28]; picture i is all i but for one pixel."""
    files = {}
    for part, count in (("train", 30), ("t10k", 20)):
        images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28).reshape(count, 28, 28)
        images[:, 0, 1] = 255
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


@pytest.fixture
def mnist_root(tmp_path, mnist_files) -> Path:
    root = tmp_path / "mnist"
    root.mkdir()
    for name, data in mnist_files.items():
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def class_root(tmp_path, save) -> Path:
    """train/cat (4), train/dog (2), test/cat (1), test/dog (1): 20 x 24 pixels."""
    root = tmp_path / "animals"
    for folder, count in (("train/cat", 4), ("train/dog", 2), ("test/cat", 1), ("test/dog", 1)):
        for index in range(count):
            save(root / folder / f"{index}.png", seed=len(folder) + index)
    return root
