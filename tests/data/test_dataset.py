"""Keys, pictures and labels; the files of the sets are the business of test_standard."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from translate.batches import Images, Labelled
from translate.data.dataset import DatasetConfig, DatasetSource
from translate.data.source import size_of
from translate.data.stream import Stream, batches
from translate.errors import ConfigError, DataError


@pytest.fixture
def mnist(mnist_root):
    return lambda **keys: DatasetSource(DatasetConfig(name="mnist", root=mnist_root, **keys))


@pytest.fixture
def animals(class_root):
    return lambda **keys: DatasetSource(DatasetConfig(name="folder", root=class_root, size=16, **keys))


def first(split, index=0):
    return split.sample(index, np.random.default_rng(0))


def taken(source, count, first=0, workers=0, world=1, rank=0):
    with Stream(source.train, 8, 3, workers, first=first, world=world, rank=rank) as stream:
        return list(itertools.islice(stream, count))


def value(number):
    return number / 255 * 2 - 1


def test_labelled_batches_as_published(mnist):
    source = mnist()
    assert source.batch_type is Labelled
    assert source.channels == {"image": 1}
    assert source.classes == tuple("0123456789")
    assert (len(source.train), len(source.test)) == (30, 20)
    assert size_of(source.config) == (32, 32)
    assert source.describe() == f"mnist: 30 training, 20 test images of 10 classes in {source.config.root}"
    image, label = first(source.train, 17)
    assert (image.shape, image.dtype) == ((1, 32, 32), torch.float32)
    assert (label.shape, label.dtype, label.item()) == ((), torch.int64, 7)
    assert source.train.name(17) == "17 7"
    (batch,) = taken(source, 1)
    assert type(batch) is Labelled
    assert batch.image.shape == (8, 1, 32, 32)
    assert batch.label.dtype == torch.int64
    expected = torch.tensor([round((image[0, 9, 9].item() + 1) / 2 * 255) % 10 for image in batch.image])
    assert torch.equal(batch.label, expected)


def test_smaller_pictures_get_a_black_frame(mnist):
    image, _ = first(mnist().train, 17)
    assert image[0, 2, 3] == 1
    image[0, 2, 3] = value(17)
    torch.testing.assert_close(image[0, 2:30, 2:30], torch.full((28, 28), value(17)))
    image[0, 2:30, 2:30] = -1
    assert torch.equal(image, torch.full((1, 32, 32), -1.0))


def test_odd_frames_and_no_frame(mnist):
    image, _ = first(mnist(size=31).train)
    assert image[0, 1, 2] == 1
    assert torch.equal(first(mnist(size=28).train)[0][0, 0, :3], torch.tensor([-1.0, 1.0, -1.0]))


def test_resized(mnist):
    image, _ = first(mnist(size=56, fit="resize").train, 20)
    torch.testing.assert_close(image[0, 20:, 20:], torch.full((36, 36), value(20)))
    image, _ = first(mnist(size=14).train, 20)  # larger pictures are made smaller, whatever `fit` says
    torch.testing.assert_close(image[0, 4:, 4:], torch.full((10, 10), value(20)))


def test_middle_crop(mnist, animals, class_root):
    image, _ = first(mnist(size=4, crop=4).train, 20)
    torch.testing.assert_close(image, torch.full((1, 4, 4), value(20)))
    with Image.open(class_root / "test" / "cat" / "0.png") as file:  # 24 wide, 20 high
        expected = torch.from_numpy(np.asarray(file)[2:18, 4:20].copy()).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(first(animals(crop=16).test)[0], expected)
    with Image.open(class_root / "test" / "cat" / "0.png") as file:
        small = np.asarray(file.crop((2, 0, 22, 20)).resize((16, 16), Image.Resampling.BICUBIC))
    torch.testing.assert_close(first(animals().test)[0], torch.from_numpy(small.copy()).permute(2, 0, 1) / 127.5 - 1)


def test_channels(mnist, animals):
    assert mnist(channels=3).channels == {"image": 3}
    image, _ = first(mnist(channels=3).train, 9)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[:1], first(mnist().train, 9)[0])
    assert first(animals(channels=1).train)[0].shape == (1, 16, 16)
    assert first(animals().train)[0].shape == (3, 16, 16)


def test_chosen_classes_are_numbered_in_their_order(mnist):
    source = mnist(classes=[7, "3"])
    assert source.classes == ("7", "3")
    assert (len(source.train), len(source.test)) == (6, 4)
    assert [first(source.train, index)[1].item() for index in range(6)] == [1, 0] * 3
    torch.testing.assert_close(first(source.train, 1)[0][0, 9, 9].item(), value(7))
    assert len(mnist(classes=[7], limit=2).train) == 2


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["seven"], "data.classes: unknown class 'seven'; known: 0, 1"),
        ([10], "unknown class '10'"),
        ([-1], "unknown class '-1'"),
        ([3, "3"], "data.classes: '3' stands twice"),
    ],
)
def test_classes_that_are_not_there(mnist, classes, message):
    with pytest.raises(ConfigError, match=message):
        mnist(classes=classes)


def test_without_labels(mnist):
    source = mnist(labels=False, classes=[3])
    assert source.batch_type is Images
    assert source.classes == ()
    assert len(first(source.train)) == 1
    assert type(taken(source, 1)[0]) is Images
    _, batch = next(batches(source.test, 4))
    assert batch.image.shape == (2, 1, 32, 32)


def test_limit_is_for_training(mnist):
    assert (len(mnist(limit=5).train), len(mnist(limit=5).test)) == (5, 20)


def test_nothing_left(mnist_root, mnist_files, idx):
    (mnist_root / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(30, np.uint8)))
    with pytest.raises(DataError, match=r"has no training images of 4, 5"):
        DatasetSource(DatasetConfig(name="mnist", root=mnist_root, classes=[4, 5]))


def test_flip_is_for_training_and_half_of_the_samples(mnist):
    source = mnist(flip=True, size=28)
    seen = torch.cat([batch.image for batch in taken(source, 60)])
    mirrored = seen[:, 0, 0, 26] == 1
    assert torch.equal(mirrored, seen[:, 0, 0, 1] != 1)
    assert 0.42 < mirrored.float().mean() < 0.58
    assert all(first(source.test, index)[0][0, 0, 1] == 1 for index in range(20))
    assert all(batch.image[:, 0, 0, 1].eq(1).all() for batch in taken(mnist(size=28), 4))


ROTATE = [{"name": "Rotate", "limit": [40, 50], "p": 0.5}]


@pytest.mark.parametrize("kind", ["mnist", "animals"])
def test_order_and_randomness_are_functions_of_seed_epoch_and_index(kind, request):
    source = request.getfixturevalue(kind)(flip=True, augment=ROTATE)
    whole = taken(source, 9)
    assert any((a.image != b.image).any() for a, b in itertools.pairwise(whole))
    shares = [taken(source, 9, world=2, rank=rank) for rank in range(2)]
    joined = [Labelled(*(torch.cat(fields) for fields in zip(a, b, strict=True))) for a, b in zip(*shares, strict=True)]
    for other in (taken(source, 9, workers=2), taken(source, 4) + taken(source, 5, first=4), joined):
        assert all(
            torch.equal(a.image, b.image) and torch.equal(a.label, b.label) for a, b in zip(whole, other, strict=True)
        )


def test_augmentation_is_for_training(mnist):
    source = mnist(augment=[{"name": "InvertImg", "p": 1.0}])
    assert first(source.train)[0].mean() > 0.9
    assert first(source.test)[0].mean() < -0.9


def test_splits_travel_to_a_fresh_process(mnist, animals):
    for source in (mnist(augment=ROTATE), animals(augment=ROTATE)):
        again = pickle.loads(pickle.dumps(source.train))
        assert all(torch.equal(a, b) for a, b in zip(first(source.train, 3), first(again, 3), strict=True))


def test_folders(animals, class_root):
    source = animals()
    assert source.classes == ("cat", "dog")
    assert source.batch_type is Labelled
    assert source.train.name(1) == "train/dog/0"
    assert first(source.train, 1)[1].item() == 1
    (class_root / "train" / "cat" / "0.png").write_bytes(b"")
    with Stream(source.train, 6, 0) as stream:
        next(iter(stream))
    assert len(stream.problems) == 1
    assert "cat/0.png: is empty" in stream.problems[0]


def test_faces_have_labels_where_an_attribute_is_named():
    assert not DatasetConfig(name="celeba", root="x").labelled
    assert DatasetConfig(name="celeba", root="x", attribute="Smiling").labelled
    assert DatasetConfig(name="celeba", root="~/x").count_channels() == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"name": "folder", "download": True}, "download: folder is a set of your own"),
        ({"attribute": "Smiling"}, "attribute: mnist has classes, only celeba has attributes"),
        ({"name": "imagenet"}, "should be 'mnist', 'fashion_mnist', 'cifar10', 'celeba' or 'folder'"),
        ({"channels": 2}, "should be 1 or 3"),
        ({"classes": []}, "at least 1 item"),
        ({"augment": [{"name": "RandomCrop", "height": 9, "width": 9}]}, "changes the shape"),
    ],
)
def test_mistakes(keys, message):
    with pytest.raises(ValidationError) as caught:
        DatasetConfig(**({"name": "mnist", "root": "x"} | keys))
    assert message in caught.value.errors()[0]["msg"]


def test_size_that_the_network_cannot_take(mnist_root):
    with pytest.raises(ConfigError, match=r"data\.size: 28 is not a multiple of 16"):
        DatasetSource(DatasetConfig(name="mnist", root=mnist_root, size=28), 16)
