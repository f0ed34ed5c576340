"""More than 200 damaged or odd files in one folder: each is translated or named, and nothing else stops."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from translate.data.decode import read_image
from translate.inference.batch import Options, run_batch
from translate.inference.card import Card, Values
from translate.inference.session import Session

CARD = Card(name="inverter", network="a2b", recipe="test", source=Values(channels=3), target=Values(channels=3))


class Negative(Session):
    backend = "fake"

    def _run(self, inputs, statistics):
        return -inputs["image"]

    def _measure(self, inputs):
        return -inputs["image"], []


def bomb(path: Path, width: int, height: int) -> None:
    """A PNG header that announces width x height."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def good(folder: Path, rng: np.random.Generator) -> dict[str, tuple[int, int]]:
    """Odd, but pictures. Name → width, height."""
    rgb = Image.fromarray(rng.integers(0, 256, (9, 14, 3), dtype=np.uint8))
    deep = rng.integers(0, 65536, (9, 14, 4), dtype=np.uint16)
    found = {}

    def save(name, image, **options):
        image.save(folder / name, **options)
        found[name] = image.size

    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        save(f"mode {mode.replace(';', '')}.png", Image.new(mode, (14, 9)))
    for mode in ("CMYK", "L"):
        save(f"{mode}.jpg", Image.new(mode, (14, 9)))
        save(f"{mode}.tif", Image.new(mode, (14, 9)))
    save("progressive.jpg", rgb, progressive=True)
    for suffix in ("bmp", "gif", "ppm", "webp", "jp2", "avif", "dib", "apng", "jfif"):
        save(f"plain.{suffix}", rgb, format={"apng": "PNG", "jfif": "JPEG", "dib": "DIB"}.get(suffix))
    save("palette.png", rgb.quantize(8), transparency=1)
    for suffix in ("gif", "webp", "png"):
        save(f"moving.{suffix}", rgb, save_all=True, append_images=[rgb.rotate(180)])
    for size in ((1, 1), (1, 500), (5000, 1), (3, 2)):
        save(f"{size[0]}x{size[1]}.png", Image.new("RGB", size))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"turned {orientation}.jpg", rgb, exif=exif)
        if orientation > 4:
            found[f"turned {orientation}.jpg"] = (9, 14)
    for name in (
        "emoji 😀.png",
        "ünïcödé.png",
        "日本語.png",
        "\u202eright to left.png",
        "tab\tand\nline.png",
        "%s{0}'\"$(x).png",
        "-rf.png",
        "~.png",
        " .png",
        "x" * 251 + ".png",
        "猫" * 83 + ".png",
        os.fsdecode(b"latin-\xe9.png"),
    ):
        save(name, rgb)
    rgb.save(folder / "a png.jpg", format="PNG")
    rgb.save(folder / "a jpeg.png", format="JPEG")
    found |= {"a png.jpg": (14, 9), "a jpeg.png": (14, 9)}
    (folder / "16 bits.png").write_bytes(imagecodecs.png_encode(deep[..., :3].copy()))
    (folder / "16 bits and alpha.png").write_bytes(imagecodecs.png_encode(deep))
    tifffile.imwrite(folder / "16 bits.tif", deep[..., :3], photometric="rgb", compression="zlib")
    tifffile.imwrite(folder / "float.tiff", rng.random((9, 14, 3), np.float32), photometric="rgb")
    tifffile.imwrite(
        folder / "planes.tif", deep[..., :3].transpose(2, 0, 1), photometric="rgb", planarconfig="separate"
    )
    np.save(folder / "truth.npy", np.ones((9, 14), bool))
    np.save(folder / "doubles.npy", rng.random((9, 14, 3)))
    found |= dict.fromkeys(
        ("16 bits.png", "16 bits and alpha.png", "16 bits.tif", "float.tiff", "planes.tif", "truth.npy", "doubles.npy"),
        (14, 9),
    )
    (folder / "link.png").symlink_to(folder / "palette.png")
    found["link.png"] = (14, 9)
    return found


def bad(folder: Path, rng: np.random.Generator) -> set[str]:
    """No pictures; the names of those files."""
    before = set(folder.iterdir())
    noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        Image.fromarray(noise).save(folder / f"whole.{suffix}")
        data = (folder / f"whole.{suffix}").read_bytes()
        (folder / f"whole.{suffix}").unlink()
        for share in range(0, 95, 5):
            (folder / f"cut at {share:02}.{suffix}").write_bytes(data[: len(data) * share // 100])
    for suffix in ("png", "jpg", "webp", "tif", "npy", "npz", "h5"):
        (folder / f"empty.{suffix}").touch()
        (folder / f"zeros.{suffix}").write_bytes(bytes(1000))
        (folder / f"text.{suffix}").write_text("<html>404 not found</html>")
        (folder / f"pipe.{suffix}").unlink(missing_ok=True)
        os.mkfifo(folder / f"pipe.{suffix}")
        (folder / f"loop.{suffix}").symlink_to(folder / f"loop.{suffix}")
        (folder / f"broken.{suffix}").symlink_to(folder / f"gone.{suffix}")
    for side in (15_000, 60_000, 2**31 - 1):
        bomb(folder / f"bomb {side}.png", side, side)
    arrays = {
        **{
            "nan": np.full((4, 4), np.nan),
            "infinite": np.full((4, 4, 3), np.inf, np.float32),
            "beyond": np.full((4, 4), 7.0),
        },
        **{
            "negative": np.full((4, 4), -3, np.int16),
            "complex": np.zeros((4, 4), complex),
            "text array": np.array([["a"]]),
        },
        **{
            "line": np.zeros(9),
            "nothing": np.zeros((0, 4)),
            "channels first": np.zeros((3, 64, 64), np.uint8),
            "five": np.zeros((4, 4, 5), np.uint8),
        },
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "labels.npz", labels=np.arange(5))
    with h5py.File(folder / "labels.h5", "w") as file:
        file["labels"] = np.arange(5)
    tifffile.imwrite(folder / "volume.tif", np.zeros((16, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16))
    (folder / "postscript.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    return {path.name for path in set(folder.iterdir()) - before}


@pytest.fixture
def odd(tmp_path) -> tuple[Path, dict[str, tuple[int, int]], set[str]]:
    """A folder, what is good in it and what is not; besides, things that are no inputs."""
    folder, rng = tmp_path / "in", np.random.default_rng(0)
    folder.mkdir()
    pictures, others = good(folder, rng), bad(folder, rng)
    (folder / "folder.png").mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "._mac.png").write_bytes(b"\0\5\x16\7")
    return folder, pictures, others


@pytest.fixture
def run(tmp_path, odd, monkeypatch) -> Callable[..., list[dict]]:
    """Translates them to `tmp_path / "out"`; gives the manifest."""
    (tmp_path / "model.onnx").touch()
    monkeypatch.setattr("translate.inference.translator.open_session", lambda path, **options: Negative(path, CARD))

    def call(**options):
        assert (
            run_batch(
                Options(str(odd[0]), tmp_path / "out", tmp_path / "model.onnx", recursive=True, workers=2, **options)
            )
            == 1
        )
        lines = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines[1:]]

    return call


def test_each_is_translated_or_named(tmp_path, odd, run):
    _, pictures, others = odd
    assert len(pictures) + len(others) >= 200
    rows = run()
    assert sorted(row["input"] for row in rows) == sorted([*pictures, *others])
    assert {row["input"] for row in rows if row["status"] == "done"} == set(pictures)
    errors = {row["input"]: row["error"] for row in rows if row["status"] == "failed"}
    assert set(errors) == others
    for name, error in errors.items():
        assert name in error or error.startswith("the picture: has 5 channels")
    assert not [error for error in errors.values() if error.startswith(("AssertionError", "TypeError", "ValueError"))]
    outputs = {row["output"]: pictures[row["input"]] for row in rows if row["output"]}
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert written == {*outputs, "manifest.jsonl"}
    for name, (width, height) in outputs.items():
        assert read_image(tmp_path / "out" / name).shape[:2] == (height, width)


def test_depth_and_transparency_survive(tmp_path, odd, run):
    run()
    for name in ("16 bits.png", "16 bits and alpha.png"):
        before, after = (imagecodecs.png_decode((folder / name).read_bytes()) for folder in (odd[0], tmp_path / "out"))
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        if before.shape[2] == 3:
            np.testing.assert_allclose(after, 65535.0 - before, atol=1)
        else:
            np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert tifffile.imread(tmp_path / "out/float.tiff").dtype == np.float32


@pytest.mark.parametrize("options", [{"format": "jpeg", "batch_size": 4}, {"format": "tiff", "side_by_side": True}])
def test_nor_does_it_matter_how(odd, run, options):
    _, pictures, others = odd
    found = {row["input"]: row["status"] for row in run(**options)}
    assert set(found) == {*pictures, *others}
    assert {name for name, status in found.items() if status == "done"} == set(pictures)


def test_a_name_may_have_no_room_for_a_longer_suffix(odd, run):
    failed = {row["input"]: row["error"] for row in run(format="webp") if row["status"] == "failed"}
    assert set(failed) - odd[2] == {"x" * 251 + ".png"}
    assert "File name too long" in failed["x" * 251 + ".png"]
