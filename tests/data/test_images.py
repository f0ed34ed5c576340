import pytest

from translate.batches import Images
from translate.data.images import ImagesConfig, ImagesSource
from translate.errors import DataError

SIZE = {"load_size": 12, "crop_size": 8}


@pytest.fixture
def root(tmp_path, save):
    for index in range(60):
        save(tmp_path / "all" / f"{index % 3}" / f"{index}.png", seed=index)
    return tmp_path / "all"


def source(root, **keys):
    return ImagesSource(ImagesConfig(root=root, **(SIZE | keys)))


def all_names(split):
    return {split.name(index) for index in range(len(split))}


def test_split_by_name(root, save, rng):
    data = source(root, test_share=0.3)
    assert data.batch_type is Images
    assert data.channels == {"image": 3}
    train, test = all_names(data.train), all_names(data.test)
    assert not train & test
    assert len(train | test) == 60
    assert 8 <= len(test) <= 28
    (image,) = data.train.sample(0, rng)
    assert image.shape == (3, 8, 8)
    assert not data.test.aligned
    save(root / "new.png")
    again = source(root, test_share=0.3)
    assert train <= all_names(again.train)  # adding a file moves none to the other side
    assert test <= all_names(again.test)


def test_no_test_share(root):
    data = source(root, test_share=0)
    assert data.test is None
    assert data.describe() == f"images: 60 training, no test images in {root}"


def test_limit_and_channels(root, rng):
    data = source(root, limit=5, channels=1)
    assert len(data.train) == 5
    assert data.train.sample(0, rng)[0].shape[0] == 1


def test_nothing_there(tmp_path, save):
    with pytest.raises(DataError, match=r"no training images: it is empty; expected images in it or in folders below"):
        source(tmp_path)
    save(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"data\.test_share 0\.99\d* took all 1"):
        source(tmp_path, test_share=0.9999)
