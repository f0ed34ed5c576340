import numpy as np
import pytest
import torch
from PIL import Image

from translate.batches import Paired
from translate.data.files import list_images
from translate.data.paired import PairedConfig, PairedSource
from translate.data.transforms import to_tensor
from translate.errors import DataError, ImageError

SIZE = {"load_size": 12, "crop_size": 8}


@pytest.fixture
def beside(tmp_path, save):
    """Side-by-side pictures: a grey ramp on the left, its negative on the right."""
    root = tmp_path / "beside"
    for part, count in (("train", 4), ("val", 2)):
        for index in range(count):
            with Image.open(save(tmp_path / "left.png", seed=index)) as image:
                left = np.asarray(image)
            (root / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.concatenate([left, 255 - left], axis=1)).save(root / part / f"{index}.png")
    return root


@pytest.fixture
def folders(tmp_path, save):
    root = tmp_path / "folders"
    for index in range(4):
        save(root / "trainA" / f"{index}.png", seed=index)
        save(root / "trainB" / f"{index}.jpg", seed=50 + index)
    save(root / "testA" / "t.png")
    save(root / "testB" / "t.png", seed=1)
    return root


def source(root, **keys):
    return PairedSource(PairedConfig(root=root, **(SIZE | keys)))


def test_side_by_side(beside, rng):
    data = source(beside)
    assert (len(data.train), len(data.test)) == (4, 2)
    assert data.batch_type is data.train.batch_type is Paired
    assert data.train.aligned
    assert data.test.aligned
    for index in range(4):
        left, right = data.train.sample(index, rng)
        assert left.shape == right.shape == (3, 8, 8)
        torch.testing.assert_close(left, -right, atol=3 / 127.5, rtol=0)  # one geometry, and the right half
    assert data.describe() == f"paired: 4 training, 2 test pairs in {beside}"
    assert data.train.name(2) == "2"


def test_left_is_a_and_direction_turns_round(beside, rng):
    left, right = source(beside, preprocess="none").test.sample(0, rng)
    with Image.open(beside / "val" / "0.png") as image:
        whole = np.asarray(image)
    assert torch.equal(left, to_tensor(whole[:, :24]))
    assert torch.equal(right, to_tensor(whole[:, 24:]))
    turned = source(beside, preprocess="none", direction="b2a").test.sample(0, rng)
    assert torch.equal(turned[0], right)
    assert torch.equal(turned[1], left)


def test_test_folder_comes_before_val(beside, save):
    save(beside / "test" / "x.png")
    assert source(beside).test.name(0) == "x"


def test_no_test_folder_and_images_in_the_root_itself(tmp_path, save):
    save(tmp_path / "flat" / "x.png")
    data = source(tmp_path / "flat")
    assert data.test is None
    assert len(data.train) == 1
    assert data.describe().endswith(f"1 training, no test pairs in {tmp_path / 'flat'}")


def test_two_folders_by_name(folders, rng):
    data = source(folders)
    assert (len(data.train), len(data.test)) == (4, 1)
    first, second = source(folders, preprocess="none").test.sample(0, rng)
    with Image.open(folders / "testA" / "t.png") as a, Image.open(folders / "testB" / "t.png") as b:
        assert torch.equal(first, to_tensor(np.asarray(a)))
        assert torch.equal(second, to_tensor(np.asarray(b)))


@pytest.mark.parametrize("form", ["A/{} B/{}", "{}/a {}/b", "{}/A {}/B"])
def test_other_layouts(tmp_path, save, form):
    for part in ("train", "test"):
        for folder in form.replace("{}", part).split():
            save(tmp_path / folder / "x.png")
    data = source(tmp_path)
    assert (len(data.train), len(data.test)) == (1, 1)


def test_channels_differ_by_side(folders, beside, rng):
    for root in (folders, beside):
        data = source(root, channels_a=1, channels_b=4, direction="b2a")
        assert data.channels == {"source": 4, "target": 1}
        assert [len(image) for image in data.train.sample(0, rng)] == [4, 1]


def test_unmatched_files(folders, save):
    save(folders / "trainA" / "alone.png")
    data = source(folders)
    assert len(data.train) == 4
    assert "(1 files without a partner left out)" in data.describe()
    with pytest.raises(DataError, match=r"data\.root: 1 files have no partner.*alone\.png.*unpaired"):
        source(folders, on_error="fail")


def test_no_names_in_common(tmp_path, save):
    save(tmp_path / "trainA" / "a.png")
    save(tmp_path / "trainB" / "b.png")
    with pytest.raises(DataError, match=r"no partner.*a\.png"):
        source(tmp_path)


def test_pairs_of_different_size(folders, save, rng):
    save(folders / "trainB" / "0.jpg", height=40)
    assert source(folders).train.sample(0, rng)[1].shape == (3, 8, 8)
    with pytest.raises(ImageError, match=r"trainA/0\.png is 24x20 but .*trainB/0\.jpg is 24x40"):
        source(folders, preprocess="crop").train.sample(0, rng)


def test_limit(folders, beside):
    assert len(source(folders, limit=3).train) == 3
    assert len(source(beside, limit=1).train) == 1
    assert len(source(beside, limit=1).test) == 2


def test_layout_can_be_said(folders, beside):
    with pytest.raises(DataError, match=r"expected side-by-side images in train/"):
        source(folders, layout="side_by_side")
    with pytest.raises(DataError, match=r"same name in trainA/ and trainB/"):
        source(beside, layout="folders")


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"none has no training pairs: there is no such folder.*data\.download"):
        source(tmp_path / "none")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="it holds train/"):
        source(tmp_path)
    with pytest.raises(DataError, match="side-by-side") as caught:
        source(tmp_path, download="facades")
    assert "data.download" not in str(caught.value)


def test_one_pixel_is_not_two_pictures(tmp_path, save, rng):
    save(tmp_path / "train" / "x.png", width=1)
    with pytest.raises(ImageError, match="1 pixel wide"):
        source(tmp_path).train.sample(0, rng)


def test_odd_width_halves_are_equal(tmp_path, save, rng):
    save(tmp_path / "train" / "x.png", width=25)
    first, second = source(tmp_path, preprocess="none").train.sample(0, rng)
    assert first.shape == second.shape


def test_16_bit_pairs(tmp_path, rng):
    for side, factor in (("trainA", 1), ("trainB", 2)):
        (tmp_path / side).mkdir()
        Image.fromarray((np.arange(400, dtype=np.uint16) * 80 * factor).reshape(20, 20)).save(tmp_path / side / "x.png")
    first, second = source(tmp_path, channels_a=1, channels_b=1, flip=False).train.sample(0, rng)
    torch.testing.assert_close((second + 1) / 2, first + 1, atol=1e-4, rtol=0)


def test_real_pairs(shared, rng):
    data = PairedSource(PairedConfig(root=shared / "emoji64", load_size=72, crop_size=64))
    assert (len(data.train), len(data.test)) == (1719, 192)
    files = list_images(shared / "emoji64" / "testA")
    assert [data.test.name(index) for index in range(192)] == sorted(path.stem for path in files)
    for index in range(192):
        for image, side in zip(data.test.sample(index, rng), ("testA", "testB"), strict=True):
            with Image.open(shared / "emoji64" / side / f"{data.test.name(index)}.png") as file:
                clear = file.convert("RGBA")
            white = Image.alpha_composite(Image.new("RGBA", (64, 64), "white"), clear).convert("RGB")
            torch.testing.assert_close(image, to_tensor(np.asarray(white)), atol=1.01 / 127.5, rtol=0)
