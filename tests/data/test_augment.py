import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from translate.data.augment import Augment, probe, validate
from translate.data.transforms import Preprocess
from translate.errors import DataError

ROTATE = {"name": "Rotate", "limit": 40, "p": 1.0}
JITTER = {"name": "ColorJitter", "brightness": 0.4, "p": 1.0}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"name": "ColorJiter"}, "unknown transform 'ColorJiter' (did you mean 'ColorJitter'?)"),
        ({"name": "Rotate", "limits": 5}, "Rotate: unknown argument 'limits' (did you mean 'limit'?)"),
        ({"name": "Rotate", "p": 3}, "Rotate: p"),
        ({"name": "GaussianBlur", "sigma_limit": "wide"}, "GaussianBlur: sigma_limit"),
        ({"limit": 5}, "needs the name"),
        ({"name": 5}, "needs the name"),
        ({"name": "BasicTransform"}, "unknown transform"),
        ({"name": "OneOf"}, "unknown transform"),
    ],
)
def test_mistakes_are_named(item, message):
    with pytest.raises(ValueError, match=r".") as caught:
        validate([item])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["RandomCrop", "Resize", "RandomScale", "PadIfNeeded", "CenterCrop"])
def test_transforms_that_change_the_size_are_refused(name):
    arguments = {
        "RandomCrop": {"height": 20, "width": 20},
        "CenterCrop": {"height": 20, "width": 20},
        "Resize": {"height": 20, "width": 20},
        "PadIfNeeded": {"min_height": 80, "min_width": 80},
    }
    with pytest.raises(ValueError, match=f"{name} changes the shape"):
        probe([{"name": name, **arguments.get(name, {}), "p": 0.1}], [3], square=True)


def test_quarter_turns_need_square_pictures():
    probe([{"name": "RandomRotate90"}], [3], square=True)
    with pytest.raises(ValueError, match="RandomRotate90 changes the shape"):
        probe([{"name": "RandomRotate90"}], [3], square=False)


def test_transforms_that_cannot_take_the_channels_or_change_the_type():
    with pytest.raises(ValueError, match="1-channel"):
        probe([{"name": "ChannelShuffle"}, {"name": "ISONoise"}], [3, 1], square=True)
    with pytest.raises(ValueError, match="turns uint8 into float32"):
        probe([{"name": "Normalize"}], [3], square=True)


def test_same_numbers_same_result_and_other_numbers_another(pixels):
    augment = Augment([ROTATE, JITTER, {"name": "GaussNoise", "p": 1.0}])
    image = pixels(height=32, width=32)
    first, second, third = (augment([image], np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
    assert (first != image).any()


def test_global_generators_play_no_part(pixels):
    augment = Augment([ROTATE, JITTER])
    results = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        results.append(augment([pixels(height=32, width=32)], np.random.default_rng(0))[0])
        np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.testing.assert_array_equal(*results)


def test_transforms_are_applied_independently(pixels):
    """albumentations gives every transform of a seeded list the same numbers: all or none would be applied."""
    augment = Augment([{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}])
    image = pixels(height=32, width=32)
    outcomes = {augment([image], np.random.default_rng(seed))[0].tobytes() for seed in range(40)}
    assert len(outcomes) == 4


@pytest.mark.parametrize("channels", [(3, 3), (3, 1), (1, 4)])
def test_pairs_get_the_same_change(pixels, channels):
    augment = Augment(
        [ROTATE, {"name": "ElasticTransform", "alpha": 40, "p": 0.7}, {"name": "HorizontalFlip", "p": 0.5}]
    )
    plane = pixels(height=32, width=32, channels=1)
    images = [np.repeat(plane, count, axis=2) for count in channels]
    for seed in range(6):
        first, second = augment(images, np.random.default_rng(seed))
        np.testing.assert_array_equal(first[..., 0], second[..., 0])


def test_pair_geometry_through_the_whole_preprocessing(pixels, rng):
    process = Preprocess("resize_and_crop", 36, 32, True, True, augment=Augment([ROTATE]))
    image = pixels(height=40, width=40)
    for _ in range(5):
        first, second = process([(Path("a"), image), (Path("b"), image)], rng)
        assert torch.equal(first, second)


def test_floats_stay_in_range(rng):
    image = rng.random((32, 32, 3)).astype(np.float32)
    (result,) = Augment([{"name": "RandomBrightnessContrast", "brightness_limit": 0.5, "p": 1.0}])([image], rng)
    assert result.dtype == np.float32
    assert result.min() >= 0
    assert result.max() <= 1


def test_what_fails_while_training_names_the_transform(rng):
    with pytest.raises(DataError, match=r"data.augment: ToSepia does not work on 5-channel"):
        Augment([{"name": "ToSepia", "p": 1.0}])([np.zeros((32, 32, 5), np.uint8)], rng)


def test_survives_a_trip_to_another_process(pixels):
    augment = Augment([ROTATE])
    image = pixels(height=32, width=32)
    expected = augment([image], np.random.default_rng(0))[0]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(augment))([image], np.random.default_rng(0))[0], expected)


def test_imported_only_where_it_is_used():
    code = (
        "import sys; from translate.data import find; config = find('images').Config;"
        "config(kind='images', root='x'); first = 'albumentations' in sys.modules;"
        "config(kind='images', root='x', augment=[{'name': 'Rotate'}]); import os;"
        "print(first, 'albumentations' in sys.modules, os.environ['NO_ALBUMENTATIONS_UPDATE'])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "NO_ALBUMENTATIONS_UPDATE"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert found.stdout.split() == ["False", "True", "1"]
