import numpy as np
import pytest
from PIL import Image

from translate.data.channels import maximum, to_channels

TYPES = [np.uint8, np.uint16, np.float32]


def full(dtype):
    return 1 if dtype is np.float32 else np.iinfo(dtype).max


def test_same_number_is_untouched(pixels):
    for channels in (1, 2, 3, 4, 7):
        image = pixels(channels=channels)
        assert to_channels(image, channels) is image


def test_luminance_is_pillows(pixels):
    image = pixels()
    np.testing.assert_array_equal(to_channels(image, 1)[..., 0], np.asarray(Image.fromarray(image).convert("L")))


@pytest.mark.parametrize("dtype", TYPES)
def test_luminance_of_white_is_white(dtype):
    white = np.full((1, 1, 3), full(dtype), dtype)
    grey = to_channels(white, 1)
    assert grey.dtype == dtype
    np.testing.assert_allclose(grey, full(dtype), rtol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_grey_is_repeated_and_alpha_is_opaque(dtype):
    grey = np.full((2, 3, 1), full(dtype) // 2 if dtype is not np.float32 else 0.5, dtype)
    np.testing.assert_array_equal(to_channels(grey, 3), np.repeat(grey, 3, axis=2))
    four = to_channels(grey, 4)
    assert four.dtype == dtype
    assert (four[..., 3] == full(dtype)).all()
    assert (to_channels(np.repeat(grey, 3, 2), 4) == four).all()


@pytest.mark.parametrize("dtype", TYPES)
def test_alpha_mixes_with_the_background(dtype):
    top = full(dtype)
    image = np.array([[[top, 0, 0, top], [top, 0, 0, 0], [top, 0, 0, top / 2]]]).astype(dtype)
    mixed = to_channels(image, 3, (0, 0, 255))[0].astype(float) / top
    np.testing.assert_allclose(mixed, [[1, 0, 0], [0, 0, 1], [0.5, 0, 0.5]], atol=1 / 255)
    assert mixed[1].tolist() == [0, 0, 1]


def test_composite_is_exact_at_8_bits(rng):
    image = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    alpha = image[..., 3:] / 255
    expected = np.floor(image[..., :3] * alpha + 200 * (1 - alpha) + 0.5)
    np.testing.assert_allclose(to_channels(image, 3, (200, 200, 200)), expected, atol=0)


def test_grey_and_alpha(rng):
    image = rng.integers(0, 65536, (4, 4, 2), dtype=np.uint16)
    one, three, four = (to_channels(image, count) for count in (1, 3, 4))
    np.testing.assert_array_equal(three, np.repeat(one, 3, 2))
    np.testing.assert_array_equal(four, image[..., [0, 0, 0, 1]])


@pytest.mark.parametrize(("have", "want"), [(5, 3), (5, 1), (3, 2), (1, 2), (3, 5), (4, 6)])
def test_impossible_conversions(have, want):
    with pytest.raises(ValueError, match=f"has {have} channel"):
        to_channels(np.zeros((2, 2, have), np.uint8), want)


def test_maximum():
    assert [maximum(np.zeros(1, dtype)) for dtype in TYPES] == [255, 65535, 1]
