"""Sets of pictures: order, labels, digests, partners."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.errors import DataError
from translate.evaluation.pictures import Array, Data, Folder, matched, open_pictures

CONFIG = """
recipe: {{kind: gan}}
data: {{kind: dataset, name: folder, root: {root}, size: 16, channels: 3}}
"""


def fill(folder: Path, names: list[str], mode: str = "RGB", seed: int = 0) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng((seed, number)).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(path)
    return folder


def test_a_folder_is_in_the_order_of_its_names_and_folders_in_it_are_classes(tmp_path: Path) -> None:
    pictures = Folder(fill(tmp_path, ["b/1.png", "a/2.png", "a/1.png"]))
    assert [pictures.name(place) for place in range(3)] == ["a/1", "a/2", "b/1"]
    assert pictures.classes == ("a", "b")
    assert pictures.labels is not None
    assert pictures.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(pictures.read([2])[0], np.asarray(Image.open(tmp_path / "b/1.png")))
    fill(tmp_path, ["c.png"])
    assert Folder(tmp_path).labels is None


def test_channels_are_those_of_all_pictures(tmp_path: Path) -> None:
    assert Folder(fill(tmp_path / "grey", ["1.png", "2.png"], "LA")).channels() == 1
    assert Folder(fill(tmp_path / "colour", ["1.png"], "RGBA")).channels() == 3
    fill(tmp_path / "grey", ["3.png"])
    assert Folder(tmp_path / "grey").channels() == 3


def test_the_digest_follows_content_and_order_alone(tmp_path: Path) -> None:
    one, two = (Folder(fill(tmp_path / name, ["1.png", "2.png"])) for name in ("a", "b"))
    assert one.digest() == two.digest()
    fill(tmp_path / "b", ["1.png", "2.png"], seed=1)
    assert Folder(tmp_path / "b").digest() != one.digest()


def test_arrays_with_and_without_labels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(5))
    np.save(tmp_path / "b.npy", images[..., 0])
    with_labels, grey = open_pictures(str(tmp_path / "a.npz")), open_pictures(str(tmp_path / "b.npy"))
    assert with_labels.labels is not None
    assert with_labels.labels.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(with_labels.read([3, 1])[0], images[3])
    assert grey.read([0])[0].shape == (8, 9, 1)
    assert (len(grey), grey.channels(), grey.labels) == (5, 1, None)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 3, 3, 3), np.float32)}, "a float32"),
        ({"a": np.zeros((2, 3, 3, 3), np.uint8), "b": np.zeros((2, 3, 3, 3), np.uint8)}, "one array of pictures"),
    ],
)
def test_an_array_file_without_one_stack_of_pictures_is_refused(tmp_path: Path, arrays: dict, message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        Array(tmp_path / "a.npz")
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match=r"b\.npy"):
        Array(tmp_path / "b.npy")


def test_the_data_of_a_config_are_prepared_as_for_training(tmp_path: Path) -> None:
    fill(tmp_path / "set", ["train/x/1.png", "train/y/2.png", "test/x/3.png", "test/y/4.png", "test/y/5.png"])
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(root=tmp_path / "set"))
    test, train = Data(str(config)), open_pictures(f"{config}#train")
    assert (len(test), len(train), test.classes) == (3, 2, ("x", "y"))
    assert test.labels is not None
    assert test.labels.tolist() == [0, 1, 1]
    picture = test.read([0])[0]
    assert picture.shape == (16, 16, 3)
    np.testing.assert_array_equal(picture[3:13, 3:13], np.asarray(Image.open(tmp_path / "set/test/x/3.png"))[:, 1:11])
    with pytest.raises(DataError, match="no part of that name"):
        Data(f"{config}#other")


def test_partners_have_the_same_name(tmp_path: Path) -> None:
    a = Folder(fill(tmp_path / "a", ["1.png", "x/2.png"]))
    b = Folder(fill(tmp_path / "b", ["x/2.jpg", "1.bmp"]))
    assert [b.name(place) for place in matched(a, b)] == ["1", "x/2"]
    fill(tmp_path / "b", ["3.png"])
    with pytest.raises(DataError, match="without a partner of the same name: 3"):
        matched(a, Folder(tmp_path / "b"))


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is empty"):
        Folder(tmp_path)
