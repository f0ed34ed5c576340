import numpy as np
import pytest
import torch
from PIL import Image

from translate.batches import Unpaired
from translate.data.transforms import to_tensor
from translate.data.unpaired import UnpairedConfig, UnpairedSource
from translate.errors import DataError

SIZE = {"load_size": 12, "crop_size": 8}


def source(root, **keys):
    return UnpairedSource(UnpairedConfig(root=root, **(SIZE | keys)))


def picture(path):
    with Image.open(path) as image:
        return to_tensor(np.asarray(image))


def test_a_in_turn_and_b_at_random(unpaired_root):
    data = source(unpaired_root, preprocess="none", flip=False)
    assert data.batch_type is Unpaired
    assert data.channels == {"a": 3, "b": 3}
    assert len(data.train) == 7
    assert not data.train.aligned
    a_files = [picture(unpaired_root / "trainA" / f"{index}.png") for index in range(5)]
    b_files = [picture(unpaired_root / "trainB" / f"{index}.png") for index in range(7)]
    seen = set()
    for seed in range(60):
        a, b = data.train.sample(6, np.random.default_rng(seed))
        assert torch.equal(a, a_files[6 % 5])
        seen.add(next(index for index, image in enumerate(b_files) if torch.equal(b, image)))
    assert seen == set(range(7))


def test_larger_a(tmp_path, save, rng):
    for index in range(6):
        save(tmp_path / "trainA" / f"{index}.png")
    save(tmp_path / "trainB" / "x.png")
    data = source(tmp_path)
    assert len(data.train) == 6
    assert data.train.name(5) == "5"
    data.train.sample(5, rng)


def test_sides_are_cropped_apart(tmp_path, save):
    save(tmp_path / "trainA" / "x.png")
    save(tmp_path / "trainB" / "x.png")
    data = source(tmp_path)
    results = [data.train.sample(0, np.random.default_rng(seed)) for seed in range(10)]
    assert any(not torch.equal(a, b) for a, b in results)


def test_test_split_with_equal_names_is_aligned(unpaired_root, rng):
    data = source(unpaired_root, preprocess="none")
    assert data.test.aligned
    for index in range(3):
        a, b = data.test.sample(index, rng)
        assert torch.equal(a, picture(unpaired_root / "testA" / f"{index}.png"))
        assert torch.equal(b, picture(unpaired_root / "testB" / f"{index}.png"))
        assert data.test.name(index) == str(index)


def test_test_split_with_other_names_is_not(unpaired_root, save, rng):
    save(unpaired_root / "testB" / "other.png", seed=9)
    data = source(unpaired_root, preprocess="none")
    assert not data.test.aligned
    assert len(data.test) == 4
    a, b = data.test.sample(3, rng)
    assert torch.equal(a, picture(unpaired_root / "testA" / "0.png"))
    assert torch.equal(b, picture(unpaired_root / "testB" / "other.png"))


def test_describe_and_limit(unpaired_root):
    assert source(unpaired_root).describe() == f"unpaired: 5 + 7 training, 3 + 3 test images in {unpaired_root}"
    assert source(unpaired_root, limit=2).describe().startswith("unpaired: 2 + 2 training, 3 + 3 test")


def test_no_test_part(unpaired_root):
    for path in (unpaired_root / "testB").iterdir():
        path.unlink()
    data = source(unpaired_root)
    assert data.test is None
    assert "no test images" in data.describe()


def test_channels(unpaired_root, rng):
    a, b = source(unpaired_root, channels_a=4, channels_b=1).train.sample(0, rng)
    assert (len(a), len(b)) == (4, 1)


def test_nothing_there(tmp_path, save):
    with pytest.raises(
        DataError, match=r"there is no such folder; expected images in trainA/ and trainB/; or set data\.download"
    ):
        source(tmp_path / "none")
    save(tmp_path / "trainA" / "x.png")
    with pytest.raises(DataError, match=r"it holds trainA/"):
        source(tmp_path)
    (tmp_path / "trainB").mkdir()
    (tmp_path / "trainB" / "x.txt").touch()
    with pytest.raises(DataError, match=r"trainB/ has no images \(it holds x\.txt\)"):
        source(tmp_path)


def test_real_images(shared, rng):
    data = UnpairedSource(UnpairedConfig(root=shared / "emoji64", load_size=64, crop_size=64))
    assert data.describe().startswith("unpaired: 1719 + 1719 training, 192 + 192 test")
    assert data.test.aligned
    assert data.train.sample(0, rng)[0].shape == (3, 64, 64)


def test_folders_of_the_detector_data_are_found(shared):
    """slats/{train,test}/{a,b} hold .npz, which is not read here: the message says what is there."""
    with pytest.raises(DataError, match=r"train/a/ has no images .*\.npz"):
        source(shared / "slats")
