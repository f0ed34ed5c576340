import os
import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from translate.data.decode import SUFFIXES, decode, orient, read_image
from translate.errors import ImageError


def refused(path, *words, **options):
    """Reading fails with an ImageError that names the file and says all of `words`."""
    with pytest.raises(ImageError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# What can be read


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "ppm", "webp"])
def test_lossless_formats_keep_their_pixels(tmp_path, pixels, suffix):
    grey = pixels(channels=1)[..., 0]
    path = tmp_path / f"x.{suffix}"
    image = Image.fromarray(grey)
    if suffix == "webp":
        image.convert("RGB").save(path, lossless=True)
    else:
        image.save(path)
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], grey)


def test_jpeg_is_what_pillow_decodes(tmp_path, save):
    path = save(tmp_path / "x.jpg")
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path), np.asarray(image))


def test_suffix_does_not_matter(tmp_path, save):
    path = save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(path.rename(tmp_path / "x.jpg")), read_image(save(tmp_path / "y.png")))


def test_16_bit_grey_png(tmp_path):
    values = np.array([[0, 1, 256], [1000, 40000, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    read = read_image(tmp_path / "x.png")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., 0], values)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colour_png_keeps_its_depth(tmp_path, channels, rng):
    values = rng.integers(0, 65536, (5, 7, channels), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(values))
    read = read_image(tmp_path / "x.png")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)


def test_16_bit_pgm(tmp_path):
    values = np.array([[0, 258, 65535]], ">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 3 1 65535\n" + values.tobytes())
    read = read_image(tmp_path / "x.pgm")
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read[..., 0], values)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("u1", (5, 7)), ("u2", (5, 7)), ("u1", (5, 7, 3)), ("u2", (5, 7, 3)), ("u2", (5, 7, 4)), ("f4", (5, 7, 3))],
)
def test_tiff_of_any_type(tmp_path, rng, dtype, shape, compression):
    values = rng.random(shape, np.float32) if dtype == "f4" else rng.integers(0, 200, shape).astype(dtype)
    photometric = "rgb" if len(shape) == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "x.tif", values, photometric=photometric, compression=compression)
    read = read_image(tmp_path / "x.tif")
    assert read.dtype == dtype
    np.testing.assert_allclose(read, values if len(shape) == 3 else values[..., None], rtol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_planar_tiff_becomes_channels_last(tmp_path, rng, count):
    values = rng.integers(0, 256, (count, 5, 7), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), values.transpose(1, 2, 0))


def test_planar_rgb_tiff(tmp_path, rng):
    values = rng.integers(0, 65536, (3, 5, 7), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), values.transpose(1, 2, 0))


def test_channels_of_a_microscope_stack_are_put_together(tmp_path, rng):
    values = rng.integers(0, 65536, (4, 5, 7), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, imagej=True, metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), values.transpose(1, 2, 0))


def test_first_page_of_many(tmp_path, rng):
    values = rng.integers(0, 256, (3, 5, 7), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], values[0])


def test_white_is_zero_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.array([[0, 255]], np.uint8), photometric="miniswhite")
    assert read_image(tmp_path / "x.tif")[0, :, 0].tolist() == [255, 0]


def test_12_bit_tiff_fills_the_range(tmp_path):
    values = np.array([[0, 4095, 2048, 7] * 4] * 16, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, bitspersample=12, compression="jpeg2000")
    assert read_image(tmp_path / "x.tif")[0, :2, 0].tolist() == [0, 65535]


def test_associated_alpha_is_divided_out(tmp_path):
    values = np.array([[[1000, 2000, 0, 32768], [0, 0, 0, 0]]], np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", extrasamples=["assocalpha"])
    read = read_image(tmp_path / "x.tif")[0]
    np.testing.assert_allclose(read[0], [2000, 4000, 0, 32768], atol=1)
    assert read[1].tolist() == [0, 0, 0, 0]


def test_palette_tiff_is_left_to_pillow(tmp_path, pixels):
    Image.fromarray(pixels()).quantize(8).save(tmp_path / "x.tif")
    with Image.open(tmp_path / "x.tif") as image:
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), np.asarray(image.convert("RGB")))


def test_one_bit(tmp_path):
    for suffix in ("png", "tif"):
        Image.fromarray(np.array([[True, False, True]])).save(tmp_path / f"x.{suffix}")
        assert read_image(tmp_path / f"x.{suffix}")[0, :, 0].tolist() == [255, 0, 255]


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    assert read_image(tmp_path / "plain.png").tolist() == [[[10, 20, 30], [40, 50, 60]]]
    assert read_image(tmp_path / "clear.png").tolist() == [[[10, 20, 30, 255], [40, 50, 60, 0]]]
    assert read_image(tmp_path / "clear.png", channels=3, background=(1, 2, 3)).tolist() == [[[10, 20, 30], [1, 2, 3]]]


@pytest.mark.parametrize(("mode", "transparency"), [("RGB", (9, 9, 9)), ("L", 9)])
def test_colour_key_transparency(tmp_path, mode, transparency):
    Image.new(mode, (2, 2), transparency).save(tmp_path / "x.png", transparency=transparency)
    assert (read_image(tmp_path / "x.png", channels=3) == 255).all()


def test_grey_with_alpha(tmp_path):
    Image.fromarray(np.array([[[100, 255], [100, 0]]], np.uint8)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png", channels=1)[0, :, 0].tolist() == [100, 255]
    assert read_image(tmp_path / "x.png", channels=4)[0].tolist() == [[100, 100, 100, 255], [100, 100, 100, 0]]


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    read = read_image(tmp_path / "x.jpg").astype(int)
    assert read.shape == (8, 8, 3)
    assert np.abs(read - [255, 0, 0]).max() <= 3  # red, and not its complement


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation(tmp_path, pixels, orientation, suffix):
    upright = Image.fromarray(pixels(height=16, width=32))
    undo = {
        **{2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM},
        **{5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE},
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"x.{suffix}", exif=exif, quality=98)
    read = read_image(tmp_path / f"x.{suffix}").astype(int)
    assert read.shape == (16, 32, 3)
    assert np.abs(read - np.asarray(upright)).mean() < 6


def test_orientation_of_16_bit_colour_png(tmp_path, rng):
    values = rng.integers(0, 65536, (3, 4, 3), dtype=np.uint16)
    data = imagecodecs.png_encode(values)
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "x.png").write_bytes(data[:33] + chunk + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(values, -1))


def test_unknown_orientation_changes_nothing(pixels):
    np.testing.assert_array_equal(orient(pixels(), 99), pixels())


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
        assert read_image(tmp_path / f"x.{suffix}", channels=3)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("dtype", "expected"), [("u1", "u1"), ("u2", "u2"), ("u4", "f4"), ("f4", "f4"), ("f8", "f4")])
def test_npy(tmp_path, dtype, expected, order):
    values = np.array([[0, 1]], np.dtype(dtype).newbyteorder(order))
    np.save(tmp_path / "x.npy", values)
    read = read_image(tmp_path / "x.npy")
    assert read.dtype == expected
    assert read.dtype.isnative
    np.testing.assert_allclose(read[..., 0], values / (2**32 - 1 if dtype == "u4" else 1))


def test_npy_of_truth_values_and_many_channels(tmp_path):
    np.save(tmp_path / "b.npy", np.array([[True, False]]))
    np.save(tmp_path / "n.npy", np.zeros((3, 4, 12), np.uint8))
    assert read_image(tmp_path / "b.npy")[0, :, 0].tolist() == [255, 0]
    assert read_image(tmp_path / "n.npy").shape == (3, 4, 12)


def test_float_range_scales_floats_and_signed_integers(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[-2.0, 0.0, 6.0]]))
    np.save(tmp_path / "i.npy", np.array([[-2, 0, 6]], np.int16))
    for name in ("f.npy", "i.npy"):
        assert read_image(tmp_path / name, float_range=(-2, 6))[0, :, 0].tolist() == [0, 0.25, 1]
        assert read_image(tmp_path / name, float_range=None)[0, :, 0].tolist() == [-2, 0, 6]


def test_pfm(tmp_path):
    values = np.array([[0.25, 0.5]], "<f4")
    (tmp_path / "x.pfm").write_bytes(b"Pf\n2 1\n-1.0\n" + values.tobytes())
    np.testing.assert_allclose(read_image(tmp_path / "x.pfm")[..., 0], values)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", "L 8-bit"), ("1", "1 1-bit"), ("P", "P 8-bit"), ("I;16", "I 16-bit"), ("RGB", "RGB 8-bit")],
)
def test_mode_is_the_stored_one(tmp_path, mode, expected):
    Image.new(mode, (3, 3)).save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png", float_range=None).mode == expected


# What cannot


def test_missing_empty_and_no_image(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path / "empty.png", "empty (0 bytes)", "remove")
    refused(tmp_path / "text.png", "not an image")
    refused(tmp_path / "page.jpg", "not an image")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "npy"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated(tmp_path, pixels, suffix, share):
    path = tmp_path / f"x.{suffix}"
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    np.save(path, image) if suffix == "npy" else Image.fromarray(image).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_truncated_16_bit_files(tmp_path, rng, bits):
    values = rng.integers(0, 2**bits, (40, 40, 3)).astype(f"u{bits // 8}")
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(values)[:-2000])
    refused(tmp_path / "x.png", "damaged or truncated")
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb", compression="zlib")
    (tmp_path / "x.tif").write_bytes((tmp_path / "x.tif").read_bytes()[:-2000])
    refused(tmp_path / "x.tif", "damaged or truncated")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp", "npy", "ppm", "jp2"])
def test_random_damage_is_an_image_error_or_an_image(tmp_path, suffix, pixels):
    path = tmp_path / f"x.{suffix}"
    np.save(path, pixels()) if suffix == "npy" else Image.fromarray(pixels()).save(path)
    good = bytearray(path.read_bytes())
    rng = np.random.default_rng(1)
    outcomes = set()
    for _ in range(60):
        bad = bytearray(good)
        for place in rng.integers(0, min(len(bad), 200), 6):
            bad[place] = rng.integers(256)
        path.write_bytes(bad)
        try:
            outcomes.add(read_image(path, float_range=None, max_pixels=100_000).ndim)
        except ImageError:
            outcomes.add("refused")
    assert outcomes <= {3, "refused"}
    assert "refused" in outcomes or suffix in ("bmp", "ppm")


def test_folder_named_like_an_image(tmp_path):
    (tmp_path / "x.png").mkdir()
    refused(tmp_path / "x.png", "is a folder")


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    refused(tmp_path / "x.png", "not a regular file")


def test_links(tmp_path, save):
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "good.png").symlink_to(save(tmp_path / "real.png"))
    refused(tmp_path / "broken.png", "broken symbolic link")
    refused(tmp_path / "loop.png", "loop of symbolic links")
    assert read_image(tmp_path / "good.png").shape == (20, 24, 3)


def test_no_permission(tmp_path, save, monkeypatch):
    path = save(tmp_path / "x.png")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def deny(*_args, **_options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("pathlib.Path.open", deny)
    refused(path, "permissions")


def test_eps_is_not_run(tmp_path):
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    refused(tmp_path / "x.png", "not an image")


def bomb(path, width, height):
    """A valid PNG header that announces width x height."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [15_000, 60_000, 2**31 - 1])
def test_bomb_is_refused_by_its_header(tmp_path, side):
    refused(bomb(tmp_path / "x.png", side, side), "data.max_pixels", str(side))


def test_limit_is_ours_and_not_pillows(tmp_path, save):
    limit = Image.MAX_IMAGE_PIXELS
    refused(save(tmp_path / "x.png"), "24x20", "data.max_pixels = 479", max_pixels=479)
    assert read_image(tmp_path / "x.png", max_pixels=480).shape == (20, 24, 3)
    Image.new("1", (9_500, 9_500)).save(tmp_path / "large.png")  # above Pillow's limit, below ours
    assert read_image(tmp_path / "large.png").shape == (9_500, 9_500, 1)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_bombs_of_the_other_formats(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((300, 300), np.uint16), compression="zlib")
    np.save(tmp_path / "x.npy", np.zeros((300, 300), np.uint8))
    refused(tmp_path / "x.tif", "300x300", max_pixels=1000)
    refused(tmp_path / "x.npy", "300x300", max_pixels=1000)
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117)
    )
    (tmp_path / "huge.npy").write_bytes(header + b"\n")
    refused(tmp_path / "huge.npy")


def test_npy_that_would_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "owned"),)

    np.save(tmp_path / "x.npy", np.array([Evil()], object), allow_pickle=True)
    refused(tmp_path / "x.npy")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(5), ["[H, W, C]"]),
        (np.zeros((2, 2, 2, 2)), ["[H, W, C]"]),
        (np.zeros((3, 64, 64), np.uint8), ["channels first", "[H, W, C]"]),
        (np.zeros((0, 4)), []),
        (np.zeros((4, 4), complex), ["complex128"]),
        (np.array([[np.nan, 0]]), ["NaN"]),
        (np.array([[np.inf, 0]], np.float32), ["NaN or infinite"]),
        (np.array([[-0.5, 3]]), ["-0.5", "3", "data.float_range = [0, 1]"]),
        (np.array([[-5, 2047]], np.int16), ["int16", "-5", "2047", "data.float_range"]),
    ],
)
def test_npy_that_is_no_image(tmp_path, array, words):
    np.save(tmp_path / "x.npy", array)
    refused(tmp_path / "x.npy", *words)


def test_float_tiff_out_of_range(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.full((4, 4), 300.0, np.float32))
    refused(tmp_path / "x.tif", "300", "data.float_range")


def test_volume_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((16, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16))
    refused(tmp_path / "x.tif", "16 slices")


def test_wrong_number_of_channels(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 4, 5), np.uint8))
    refused(tmp_path / "x.npy", "5 channels", "3 are wanted", "data.channels", channels=3)


def test_decoders_are_silent(tmp_path, capfd, caplog):
    """Corrupt EXIF, a broken TIFF directory, a palette with transparency: no warning and no line of output."""
    info = PngImagePlugin.PngInfo()
    info.add(b"eXIf", b"MM\0*garbage")
    Image.new("RGB", (4, 4)).save(tmp_path / "exif.png", pnginfo=info)
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((8, 8), np.uint16))
    broken = (tmp_path / "x.tif").read_bytes()
    (tmp_path / "x.tif").write_bytes(broken[:-40])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "exif.png").shape == (4, 4, 3)
        with pytest.raises(ImageError):
            read_image(tmp_path / "x.tif")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_every_suffix_is_lower_case_with_a_dot():
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)
    assert {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy", ".webp"} <= SUFFIXES


def test_decoding_needs_no_torch():
    code = "import sys, translate.data.decode, translate.data.transforms; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
