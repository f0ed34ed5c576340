"""Features in one pass, kept on disk, whatever the disk does."""

from pathlib import Path

import numpy as np
import pytest

from translate.evaluation import statistics
from translate.evaluation.pictures import Array, open_pictures
from translate.evaluation.spaces import Extracted, Space, open_space
from translate.evaluation.statistics import cache_folder, extract, whole


class Counted:
    """A space that says how often it was asked."""

    def __init__(self, version: str = "1") -> None:
        self.calls = 0
        self.space = Space("counted", version, "none", self.compute, classes=("a", "b"))

    def compute(self, pictures: list[np.ndarray]) -> Extracted:
        self.calls += 1
        means = np.array([[picture.mean()] for picture in pictures], np.float32)
        return Extracted(means, np.concatenate([means / 255, 1 - means / 255], 1))


@pytest.fixture
def pictures(tmp_path: Path) -> Array:
    images = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 1), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    return Array(tmp_path / "a.npy")


def test_one_pass_for_all_spaces_in_order(pictures: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    read, places = type(pictures).read, list[int]()
    monkeypatch.setattr(type(pictures), "read", lambda self, some: places.extend(some) or read(self, some))
    counted = Counted()
    found = extract(pictures, [counted.space, open_space("pixels")], 1, title="x")
    assert places == list(range(150))
    assert counted.calls == 3  # batches of 64
    np.testing.assert_allclose(found["counted"].values[:, 0], pictures.array.mean((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found["pixels"].values, pictures.array.reshape(150, -1) / 255, atol=1e-6)


def test_features_are_kept_until_pictures_or_space_change(pictures: Array, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, again, other = Counted(), Counted(), Counted("2")
    values = [extract(pictures, [each.space], 1, title="x", cache=cache)["counted"] for each in (first, again, other)]
    assert (first.calls, again.calls, other.calls) == (3, 0, 3)
    np.testing.assert_array_equal(values[0].values, values[1].values)
    np.testing.assert_array_equal(values[0].probabilities, values[1].probabilities)
    np.save(tmp_path / "b.npy", 255 - pictures.array)
    changed = Counted()
    extract(open_pictures(str(tmp_path / "b.npy")), [changed.space], 1, title="x", cache=cache)
    assert changed.calls == 3
    assert not list(cache.glob(".*"))  # nothing half written


def test_a_damaged_file_is_computed_again(pictures: Array, tmp_path: Path) -> None:
    extract(pictures, [Counted().space], 1, title="x", cache=tmp_path)
    (kept,) = tmp_path.glob("*.npz")
    whole_file = kept.read_bytes()
    kept.write_bytes(whole_file[:-40])
    counted = Counted()
    extract(pictures, [counted.space], 1, title="x", cache=tmp_path)
    assert counted.calls == 3
    assert kept.read_bytes() == whole_file


def test_a_full_disk_is_no_end(
    pictures: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(statistics, "write", full)
    found = extract(pictures, [Counted().space], 1, title="x", cache=tmp_path)
    assert len(found["counted"].values) == 150
    assert "No space left" in capsys.readouterr().err


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRANSLATE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "features"
    monkeypatch.delenv("TRANSLATE_CACHE")
    assert cache_folder().name == "features"


def test_pictures_in_memory_have_the_features_of_files(pictures: Array) -> None:
    space = open_space("pixels")
    np.testing.assert_array_equal(
        whole(space, pictures.read(range(150))).values, extract(pictures, [space], 1, title="x")["pixels"].values
    )
