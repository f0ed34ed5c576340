import io
import json
import os

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from translate.data.decode import read_image
from translate.errors import ImageError
from translate.inference.card import Card, Values
from translate.inference.writing import encode, provenance, remove_leftovers, write

CARD = Card(
    name="näme",
    network="a2b",
    recipe="test",
    source=Values(channels=3),
    target=Values(channels=3),
    config_hash="c0ffee",
    background=(0, 0, 255),
    float_range=(-2.0, 6.0),
)
NOTE = provenance(CARD, "5ha", 7)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def values(rng, dtype, channels, height=9, width=7) -> np.ndarray:
    if dtype == np.float32:
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def there_and_back(tmp_path, pixels, name):
    (tmp_path / name).write_bytes(encode(pixels, name, CARD, NOTE))
    return read_image(tmp_path / name, float_range=CARD.float_range)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("x.png", np.uint8),
        ("x.png", np.uint16),
        *(("x.tif", dtype) for dtype in (np.uint8, np.uint16, np.float32)),
        *(("x.npy", dtype) for dtype in (np.uint8, np.uint16, np.float32)),
    ],
)
def test_depth_channels_and_values_are_kept(tmp_path, rng, name, dtype, channels):
    for height, width in ((9, 7), (1, 1), (1, 50)):
        pixels = values(rng, dtype, channels, height, width)
        found = there_and_back(tmp_path, pixels, name)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, pixels, atol=1e-6 if dtype == np.float32 else 0)


@pytest.mark.parametrize("name", ["x.tif", "x.npy"])
def test_many_channels(tmp_path, rng, name):
    pixels = values(rng, np.uint16, 7)
    np.testing.assert_array_equal(there_and_back(tmp_path, pixels, name), pixels)
    with pytest.raises(ImageError, match=r"x\.(png|jpg|webp): cannot hold 7x9, 7 channels"):
        encode(pixels, "x.png", CARD, NOTE)


def test_floats_are_in_the_range_of_the_card(rng):
    pixels = values(rng, np.float32, 3)
    file = np.load(io.BytesIO(encode(pixels, "x.npy", CARD, NOTE)))
    np.testing.assert_allclose(file, pixels * 8 - 2, atol=1e-6)
    assert file.dtype == np.float32


def test_floats_become_16_bits_in_png(tmp_path):
    pixels = np.array([0, 0.5, 1], np.float32).reshape(1, 3, 1)
    assert there_and_back(tmp_path, pixels, "x.png")[0, :, 0].tolist() == [0, 32768, 65535]


@pytest.mark.parametrize("name", ["x.jpg", "x.jpeg", "x.webp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_lossy_formats_have_8_bits(tmp_path, name, dtype):
    full = 1.0 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = np.array([[[0, full, full / 2]] * 16] * 16).astype(dtype)
    found = there_and_back(tmp_path, pixels, name)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - [0, 255, 128]).max() <= 4


def test_jpeg_has_full_colour_resolution(tmp_path):
    (tmp_path / "x.jpg").write_bytes(encode(np.zeros((16, 16, 3), np.uint8), "x.jpg", CARD, NOTE))
    with Image.open(tmp_path / "x.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_transparency(tmp_path):
    pixels = np.full((16, 16, 4), (255, 0, 0, 0), np.uint8)
    jpeg = there_and_back(tmp_path, pixels, "x.jpg")
    assert np.abs(jpeg.astype(int) - CARD.background).max() <= 3
    assert there_and_back(tmp_path, pixels[..., :2], "x.jpg").shape == (16, 16, 1)
    assert (there_and_back(tmp_path, pixels, "x.webp")[..., 3] == 0).all()
    assert there_and_back(tmp_path, pixels[..., ::3], "x.webp").shape == (16, 16, 4)


def test_too_large_for_the_format():
    with pytest.raises(ImageError, match=r"x\.webp: cannot hold 20000x2, 3 channels .*--format"):
        encode(np.zeros((2, 20_000, 3), np.uint8), "x.webp", CARD, NOTE)
    with pytest.raises(ImageError, match=r"x\.jpg: cannot hold 70000x2"):
        encode(np.zeros((2, 70_000, 3), np.uint8), "x.jpg", CARD, NOTE)


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_says_where_it_comes_from(rng, name, channels):
    data = encode(values(rng, np.uint8, channels), name, CARD, NOTE)
    if name == "x.tif":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            note, software = file.pages.first.description, file.pages.first.software
    else:
        with Image.open(io.BytesIO(data)) as image:
            note = image.text["translate"] if name == "x.png" else image.getexif()[0x010E]
            software = None if name == "x.png" else image.getexif()[0x0131]
            assert image.getexif().get(0x0112) is None
    found = json.loads(note)
    assert (found["model"], found["network"], found["model_hash"]) == ("näme", "a2b", "5ha")
    assert (found["config_hash"], found["seed"]) == ("c0ffee", 7)
    assert software is None or software == f"translate {found['version']}"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_programs_read_the_png(rng, dtype):
    pixels = values(rng, dtype, 3)
    data = encode(pixels, "x.png", CARD, NOTE)
    np.testing.assert_array_equal(imagecodecs.png_decode(data), pixels)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
        assert image.format == "PNG"


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.webp", "x.tif", "x.npy"])
def test_the_same_pixels_are_the_same_bytes(rng, name):
    pixels = values(rng, np.uint8, 3)
    assert encode(pixels, name, CARD, NOTE) == encode(pixels.copy(), name, CARD, NOTE)


# Files


def names(folder) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_folders_are_made_and_nothing_is_left(tmp_path):
    write(tmp_path / "a/b/x.png", b"one")
    write(tmp_path / "a/b/x.png", b"two")
    assert (tmp_path / "a/b/x.png").read_bytes() == b"two"
    assert names(tmp_path / "a/b") == ["x.png"]


@pytest.mark.parametrize(
    "name", ["x" * 251 + ".png", "ü" * 125 + ".png", "猫" * 83 + ".png", os.fsdecode(b"\xff\xfe.png")]
)
def test_long_and_odd_names(tmp_path, name):
    write(tmp_path / name, b"data")
    assert names(tmp_path) == [name]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    write(tmp_path / "x.png", b"old")

    def interrupted(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.png", b"new")
    assert (tmp_path / "x.png").read_bytes() == b"old"
    assert names(tmp_path) == ["x.png"]


def test_leftovers(tmp_path):
    for name in ("a/.translate-00ff.part", ".translate-1.part", "a/x.part", "translate-1.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.part")) == ["translate-1.part", "x.part"]
