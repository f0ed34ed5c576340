from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from translate.data.transforms import Geometry, Preprocess, common_multiple, resize, to_tensor, unit
from translate.errors import ImageError


def preprocess(mode, *, train=True, load=12, crop=8, flip=False, multiple=4):
    return Preprocess(mode=mode, load_size=load, crop_size=crop, flip=flip, train=train, multiple=multiple)


def one(process, image, rng):
    (tensor,) = process([(Path("x.png"), image)], rng)
    return tensor


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(7, 9), (40, 51), (20, 48)])
def test_8_bit_resize_is_pillows_to_the_bit(pixels, channels, size):
    image = pixels(channels=channels)
    whole = Image.fromarray(image[..., 0] if channels == 1 else image)
    expected = np.asarray(whole.resize(size[::-1], Image.Resampling.BICUBIC)).reshape(*size, channels)
    np.testing.assert_array_equal(resize(image, *size), expected)


def test_other_channel_counts_are_resized_one_by_one(pixels):
    image = pixels(channels=5)
    expected = np.concatenate([resize(image[..., c : c + 1], 9, 9) for c in range(5)], axis=2)
    np.testing.assert_array_equal(resize(image, 9, 9), expected)


def test_float_resize_is_pillows_and_clipped(rng):
    image = (rng.random((20, 24, 2)) > 0.5).astype(np.float32)  # bicubic overshoots at these edges
    plane = np.asarray(Image.fromarray(image[..., 1]).resize((50, 40), Image.Resampling.BICUBIC))
    assert plane.max() > 1
    resized = resize(image, 40, 50)
    np.testing.assert_array_equal(resized[..., 1], plane.clip(0, 1))
    assert resized.dtype == np.float32


def test_resize_to_the_same_size_is_free(pixels):
    image = pixels()
    assert resize(image, *image.shape[:2]) is image


def test_tensor_is_the_published_normalisation(pixels):
    image = pixels()
    expected = (torch.from_numpy(image.transpose(2, 0, 1).copy()).to(torch.float32).div(255) - 0.5) / 0.5
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor, expected)
    assert to_tensor(np.array([[[0], [255]]], np.uint8)).tolist() == [[[-1.0, 1.0]]]


def test_depths_agree():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    eight, sixteen = to_tensor(levels), to_tensor(unit(levels.astype(np.uint16) * 257))
    torch.testing.assert_close(eight, sixteen, atol=1e-6, rtol=0)
    torch.testing.assert_close(eight, to_tensor((levels / 255).astype(np.float32)), atol=1e-6, rtol=0)


def test_tensor_does_not_share_memory_with_the_pixels():
    image = np.full((2, 2, 1), 0.5, np.float32)
    to_tensor(image)
    assert (image == 0.5).all()


# The five modes. A picture 20 high and 24 wide, load_size 12, crop_size 8.


@pytest.mark.parametrize(
    ("mode", "train", "resized", "window"),
    [
        ("resize_and_crop", True, (12, 12), (8, 8)),
        ("resize_and_crop", False, (8, 8), (8, 8)),
        ("crop", True, (20, 24), (8, 8)),
        ("crop", False, (20, 24), (8, 8)),
        ("scale_width", True, (8, 12), (8, 12)),  # 12 wide, 10 high: rounded to 4, half to even as published
        ("scale_width", False, (8, 12), (8, 12)),
        ("scale_width_and_crop", True, (10, 12), (8, 8)),
        ("scale_width_and_crop", False, (8, 8), (8, 8)),  # 6 high would be less than the crop
        ("none", True, (20, 24), (20, 24)),
        ("none", False, (20, 24), (20, 24)),
    ],
)
def test_sizes_of_the_modes(mode, train, resized, window, pixels, rng):
    process = preprocess(mode, train=train)
    assert process.resized(20, 24) == resized
    assert one(process, pixels(), rng).shape == (3, *window)


@pytest.mark.parametrize("mode", ["none", "scale_width"])
def test_sizes_without_a_crop_fit_the_network(mode, pixels, rng):
    process = preprocess(mode, multiple=common_multiple(6), load=50)
    shape = one(process, pixels(height=21, width=31), rng).shape
    assert shape[1] % 12 == 0
    assert shape[2] % 12 == 0


def test_common_multiple():
    assert [common_multiple(size) for size in (1, 4, 6, 256)] == [4, 4, 12, 256]


def test_tiny_pictures_are_not_rounded_to_nothing():
    assert preprocess("none").resized(1, 1) == (4, 4)


@pytest.mark.parametrize(("height", "width"), [(5, 30), (30, 5), (3, 3), (7, 8)])
def test_pictures_smaller_than_the_crop_are_enlarged(height, width, pixels, rng):
    process = preprocess("crop")
    resized = process.resized(height, width)
    assert min(resized) == 8
    assert resized[0] / resized[1] == pytest.approx(height / width, rel=0.1)
    assert one(process, pixels(height=height, width=width), rng).shape == (3, 8, 8)


def test_test_mode_takes_the_middle_and_never_mirrors(pixels):
    image = pixels(height=20, width=24)
    results = [one(preprocess("crop", train=False, flip=True), image, np.random.default_rng(seed)) for seed in range(8)]
    assert all(torch.equal(result, to_tensor(image[6:14, 8:16])) for result in results)


def test_published_test_preprocessing_is_a_plain_resize(pixels, rng):
    image = pixels()
    expected = to_tensor(np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BICUBIC)))
    assert torch.equal(one(preprocess("resize_and_crop", train=False), image, rng), expected)


def test_training_crop_is_a_window_of_the_resized_picture(pixels, rng):
    image = pixels()
    large = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling.BICUBIC))
    windows = [to_tensor(large[y : y + 8, x : x + 8]) for y in range(5) for x in range(5)]
    found = {
        next(place for place, window in enumerate(windows) if torch.equal(crop, window))
        for crop in (one(preprocess("resize_and_crop"), image, rng) for _ in range(300))
    }
    assert found == set(range(25))  # every position, the last ones included


def test_half_are_mirrored(pixels, rng):
    image = pixels()
    plain = to_tensor(image)
    mirrored = [torch.equal(one(preprocess("none", flip=True), image, rng), plain.flip(2)) for _ in range(200)]
    assert 70 < sum(mirrored) < 130
    assert not any(torch.equal(one(preprocess("none"), image, rng), plain.flip(2)) for _ in range(20))


@pytest.mark.parametrize("mode", ["resize_and_crop", "crop", "scale_width", "scale_width_and_crop", "none"])
def test_pairs_get_one_geometry(mode, pixels, rng):
    image = pixels(height=24, width=24)
    process = preprocess(mode, flip=True)
    for _ in range(20):
        first, second = process([(Path("a"), image), (Path("b"), 255 - image)], rng)
        torch.testing.assert_close(first, -second, atol=2.1 / 127.5, rtol=0)  # bicubic rounds twice


def test_pairs_of_different_sizes(pixels, rng):
    pair = [(Path("left.png"), pixels()), (Path("right.png"), pixels(height=30, width=24))]
    first, second = preprocess("resize_and_crop")(pair, rng)
    assert first.shape == second.shape == (3, 8, 8)
    for mode in ("crop", "none", "scale_width", "scale_width_and_crop"):
        with pytest.raises(ImageError, match=r"left\.png is 24x20 but right\.png is 24x30.*" + mode):
            preprocess(mode)(pair, rng)


def test_pairs_that_would_round_to_one_size_are_still_different(pixels, rng):
    pair = [(Path("left.png"), pixels(height=20)), (Path("right.png"), pixels(height=21))]
    with pytest.raises(ImageError, match=r"right\.png"):
        preprocess("none")(pair, rng)


def test_pairs_of_one_aspect_scale_to_one_size(pixels, rng):
    pair = [(Path("a"), pixels(height=20, width=24)), (Path("b"), pixels(height=40, width=48, channels=1))]
    first, second = preprocess("scale_width")(pair, rng)
    assert first.shape[1:] == second.shape[1:]
    assert (first.shape[0], second.shape[0]) == (3, 1)


def test_same_numbers_same_result(pixels):
    process = preprocess("resize_and_crop", flip=True)
    first, second = (one(process, pixels(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)


def test_geometry_by_hand():
    image = np.arange(24, dtype=np.uint8).reshape(4, 6, 1)
    cut = Geometry(height=4, width=6, top=1, left=2, window=(2, 3), flip=True)(image)
    assert cut[..., 0].tolist() == [[10, 9, 8], [16, 15, 14]]
