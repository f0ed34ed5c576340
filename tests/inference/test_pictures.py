"""Every kind of picture becomes pixels and comes back; pixels and network values are exact inverses."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from translate.data.transforms import to_tensor, unit
from translate.errors import ImageError, ModelError
from translate.inference.card import Card, Values
from translate.inference.pictures import carries_alpha, give, read, to_image, to_network, to_pixels

SIDE = Values(channels=3)


def card(source: int | None = 3, target: int = 3, **changes) -> Card:
    values = None if source is None else Values(channels=source)
    return Card(
        name="m", network="a2b", recipe="cyclegan", source=values, target=Values(channels=target),
        latent=4 if source is None else None, **changes,
    )  # fmt: skip


def whole_range(dtype) -> np.ndarray:
    full = np.iinfo(dtype).max
    return np.arange(full + 1, dtype=dtype).reshape(-1, 16, 1)


def network_values(pixels: np.ndarray, side: Values) -> np.ndarray:
    out = np.empty(pixels.transpose(2, 0, 1).shape, np.float32)
    to_network(pixels, side, out)
    return out


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (0.0, 1.0), (-2.5, 0.5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_comes_back(dtype, ends):
    side = Values(channels=1, range=ends)
    pixels = whole_range(dtype)
    values = network_values(pixels, side)
    assert (values[0, 0, 0], values[0, -1, -1]) == ends
    assert (to_pixels(values, side, pixels.dtype) == pixels).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_networks_see_what_they_saw_in_training(dtype):
    pixels = whole_range(dtype)
    assert (network_values(pixels, Values(channels=1)) == to_tensor(unit(pixels)).numpy()).all()


def test_values_are_clipped_and_rounded_to_nearest():
    values = np.array([-3, -1, -1 + 0.9 / 255, -1 + 1.1 / 255, 0.999, 1, 7], np.float32).reshape(1, 1, -1)
    given = values.copy()
    levels, floats = (to_pixels(values, SIDE, np.dtype(dtype)) for dtype in (np.uint8, np.float32))
    assert (levels.dtype, floats.dtype) == (np.uint8, np.float32)
    assert levels.ravel().tolist() == [0, 0, 0, 1, 255, 255, 255]
    assert (floats.min(), floats.max()) == (0, 1)
    assert (values == given).all()


COLOURS = [
    [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)],
    [(9, 90, 200), (200, 9, 90), (255, 255, 0), (255, 255, 255)],
]
RGB = Image.fromarray(np.array(COLOURS, np.uint8))
MODES = {
    "1": (np.uint8, 1), "L": (np.uint8, 1), "LA": (np.uint8, 2), "La": (np.uint8, 2), "P": (np.uint8, 3), "PA": (np.uint8, 4),
    "RGB": (np.uint8, 3), "RGBX": (np.uint8, 3), "RGBA": (np.uint8, 4), "RGBa": (np.uint8, 4), "CMYK": (np.uint8, 3),
    "YCbCr": (np.uint8, 3), "HSV": (np.uint8, 3), "I": (np.uint16, 1), "I;16": (np.uint16, 1), "F": (np.float32, 1),
}  # fmt: skip


def in_mode(mode: str, image: Image.Image = RGB) -> Image.Image:
    if mode == "PA":
        return image.convert("P").convert("PA")
    if mode in ("La", "RGBa"):
        return image.convert(mode.replace("a", "A")).convert(mode)
    if mode.startswith("I;16"):
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.float32) / 255)
    return image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_pillow_images_of_every_mode(mode):
    dtype, channels = MODES[mode]
    image = in_mode(mode)
    assert image.mode == mode
    pixels, form = read(image, card())
    assert form == "image"
    assert pixels.dtype == dtype
    assert pixels.shape == (2, 4, channels)
    white = 255 if mode == "I" else 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    assert pixels[0, 0, 0] == 0
    assert pixels[-1, -1, 0] == white


def test_big_endian_and_wide_integers():
    image = Image.frombytes("I;16B", (2, 1), b"\x12\x34\xff\xff")
    assert read(image, card(1, 1)).pixels.ravel().tolist() == [0x1234, 0xFFFF]
    array = np.array([[0, 2**32 - 1]], np.uint32)
    assert read(array, card(1, 1)).pixels.ravel().tolist() == [0, 1]
    assert read(np.array([[1, 65535]], ">u2"), card(1, 1)).pixels.dtype == np.uint16


def test_transparency_of_a_palette_and_of_a_colour():
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.info["transparency"] = 0
    assert read(palette, card()).pixels[0, :, 3].tolist() == [0, 255]
    colour = Image.new("RGB", (1, 1), (1, 2, 3))
    colour.info["transparency"] = (1, 2, 3)
    assert read(colour, card()).pixels.ravel().tolist()[3] == 0
    bits = Image.new("1", (1, 1), 1)
    bits.info["transparency"] = 255
    assert read(bits, card()).pixels.shape == (1, 1, 2)


def test_pictures_stand_upright():
    image = RGB.copy()
    image.getexif()[0x0112] = 6  # turned by a quarter
    pixels, _ = read(image, card())
    assert (pixels == np.rot90(np.asarray(RGB), -1)).all()


@pytest.mark.parametrize(
    ("array", "dtype", "form"),
    [
        (np.array([[True, False]]), np.uint8, "flat"),
        (np.zeros((2, 3), np.uint8), np.uint8, "flat"),
        (np.zeros((2, 3, 1), np.uint16), np.uint16, "array"),
        (np.zeros((2, 3, 4), np.float16), np.float32, "array"),
        (np.zeros((2, 3, 3), np.float64), np.float32, "array"),
        (np.zeros((2, 3, 3), np.int16), np.float32, "array"),
        (np.zeros((6, 6, 3), np.uint8)[::-2, ::3], np.uint8, "array"),
    ],
)  # fmt: skip
def test_arrays_of_every_number(array, dtype, form):
    given = read(array, card())
    assert given.form == form
    assert given.pixels.dtype == dtype
    assert given.pixels.ndim == 3
    assert given.pixels.flags.c_contiguous


def test_booleans_are_black_and_white():
    assert read(np.array([[True, False]]), card()).pixels.ravel().tolist() == [255, 0]


def test_floats_come_back_in_the_range_of_the_card():
    model = card(1, 1, float_range=(-2.0, 6.0))
    array = np.array([[-2, 0, 6]], np.float32)
    pixels, form = read(array, model)
    assert pixels.ravel().tolist() == [0, 0.25, 1]
    assert (give(pixels, form, model) == array).all()


def test_integers_come_back_as_they_are():
    array = np.array([[[1, 2, 3]]], np.uint16)
    pixels, form = read(array, card())
    assert give(pixels, form, card()) is pixels


BAD = {
    "values from 0 to 2 lie outside": np.array([[0.0, 2.0]]),
    "NaN": np.array([[0.0, np.nan]]),
    "infinite": np.array([[0.0, np.inf]]),
    "float16 values": np.full((2, 2), 3, np.float16),
    "int8 values from -3": np.array([[-3]], np.int8),
    "holds object values": np.array([[None, 1]]),
    "holds complex128 values": np.zeros((2, 2), complex),
    "holds <U1 values": np.array([["a"]]),
    "holds datetime64": np.array([["2020"]], "M8[s]"),
    "has shape ()": np.array(3),
    "has shape (5,)": np.zeros(5),
    "has shape (1, 2, 3, 3)": np.zeros((1, 2, 3, 3)),
    "is an empty picture (0x4": np.zeros((4, 0), np.uint8),
    "is an empty picture (5x0": np.zeros((0, 5, 3), np.uint8),
    "0 channels": np.zeros((2, 2, 0)),
    "channels first": np.zeros((3, 40, 40)),
    "has 5 channels where 3 are wanted; m takes RGB pictures": np.zeros((2, 2, 5)),
    "is a int": 3,
    "is a NoneType": None,
    "is a list; give a path, a Pillow image or a numpy array": [1],
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_no_picture_is_named(message):
    with pytest.raises(ImageError) as caught:
        read(BAD[message], card(), "picture 7")
    assert str(caught.value).startswith("picture 7: ")
    assert message in str(caught.value)


def test_damaged_files_are_named_whoever_opens_them(tmp_path):
    path = tmp_path / "ä x.jpg"
    RGB.resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match=r"ä x\.jpg: is damaged"):
        read(path, card())
    with pytest.raises(ImageError, match=r"ä x\.jpg: is damaged"):
        read(str(path), card())
    with Image.open(path) as image, pytest.raises(ImageError, match="the picture: is damaged"):
        read(image, card())


def test_more_channels_for_a_network_that_takes_them():
    assert read(np.zeros((2, 2, 5)), card(5, 1)).pixels.shape == (2, 2, 5)
    with pytest.raises(ImageError, match="has 3 channels where 5 are wanted; m takes 5 channels pictures"):
        read(RGB, card(5, 1))


def test_a_model_that_takes_no_pictures():
    with pytest.raises(ModelError, match=r"Translator\.generate"):
        read(RGB, card(None))


@pytest.mark.parametrize(
    ("source", "target", "given", "kept"),
    [
        (3, 3, 4, True),
        (1, 3, 2, True),
        (3, 1, 2, True),
        (3, 3, 3, False),
        (4, 3, 4, False),
        (3, 4, 4, False),
        (2, 2, 2, False),
    ],
)
def test_alpha_is_kept_where_the_network_has_none(source, target, given, kept):
    assert carries_alpha(np.zeros((1, 1, given), np.uint8), card(source, target)) is kept


@pytest.mark.parametrize(
    ("dtype", "channels", "mode"),
    [
        (np.uint8, 1, "L"), (np.uint8, 2, "LA"), (np.uint8, 3, "RGB"), (np.uint8, 4, "RGBA"), (np.uint16, 1, "I;16"),
        (np.float32, 1, "F"), (np.uint8, 5, None), (np.uint16, 3, None), (np.uint16, 2, None), (np.float32, 3, None),
    ],
)  # fmt: skip
def test_pillow_where_it_holds_the_result_without_loss(dtype, channels, mode):
    pixels = np.random.default_rng(0).integers(0, 200, (2, 3, channels)).astype(dtype)
    result = to_image(pixels)
    assert (result is pixels) if mode is None else (result.mode == mode)
    assert (np.asarray(result).reshape(pixels.shape) == pixels).all()


def test_sixteen_bit_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb")
    found, form = read(tmp_path / "x.tif", card())
    assert (found == pixels).all()
    assert isinstance(give(found, form, card()), np.ndarray)
