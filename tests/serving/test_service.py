import csv
import io
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from translate.errors import DataError
from translate.inference.card import Card, Values
from translate.inference.session import Session
from translate.inference.translator import Translator
from translate.serving.app import open_models
from translate.serving.service import Model, Service
from translate.serving.zips import MAX_FILES, translate_zip

Make = Callable[..., Service]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(*paths: Path, max_pixels: int = 1_000_000, seconds: float = 30, models: Any = ()) -> Service:
        folder = tmp_path / "served"
        folder.mkdir()
        models = [*open_models(paths, 1), *models]
        return Service(models, folder, max_pixels=max_pixels, seconds=seconds, lanes=1)

    return make


def sent(service: Service, content: bytes | Path, name: str = "photo.png") -> dict[str, Any]:
    """As Gradio stores an upload."""
    folder = service.folder / "upload"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return {"path": str(path), "orig_name": name}


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG")
    return file.getvalue()


def pixels(path: str | Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_one_picture_for_one_without_noise(make: Make, negative: Path, photo: Path) -> None:
    service = make(negative)
    done = service.variants(sent(service, photo), "negative", 5, 4)
    (result,) = done.results
    assert Path(result.file).name == "photo-translator.png"
    np.testing.assert_array_equal(pixels(result.file), 255 - pixels(photo))
    np.testing.assert_array_equal(pixels(done.source), pixels(photo))
    assert done.spread is None
    assert service.folder in Path(result.file).parents


def test_depth_and_alpha_are_kept_and_the_preview_has_eight_bits(make: Make, sketch: Path) -> None:
    service = make(sketch)
    done = service.variants(sent(service, png(np.full((5, 7), 40_000, np.uint16))), "", 0, 1)
    from imagecodecs import png_decode

    output = png_decode(Path(done.results[0].file).read_bytes())
    assert (output.dtype, output.shape) == (np.uint16, (5, 7, 3))
    assert np.abs(output[0, 0].astype(int) - [40_000, 25_535, 40_000]).max() <= 1
    assert pixels(done.results[0].preview)[0, 0].tolist() == [156, 99, 156]
    clear = np.zeros((5, 7, 4), np.uint8)
    assert pixels(service.translate(sent(service, png(clear)), "", 0)).shape == (5, 7, 4)


def test_variants_of_seeds_and_where_they_differ(make: Make, noisy: Path) -> None:
    service = make(noisy)
    image = np.full((6, 8, 3), 127, np.uint8)  # about 0, whatever it is multiplied with
    image[:, 4:] = 255
    done = service.variants(sent(service, png(image)), "noisy", 2**31 - 1, 3)
    assert [result.seed for result in done.results] == [2**31 - 1, 0, 1]
    right = [int(pixels(result.file)[0, 7, 0]) for result in done.results]
    assert right[1:] == [128, 166]  # 1 times 0 and 0.3
    assert done.largest == pytest.approx(np.std(right), abs=1e-3)
    assert done.spread is not None
    spread = pixels(done.spread).astype(int).sum(axis=2)
    assert spread.shape == (6, 8)
    assert spread[:, 4:].min() > spread[:, :4].max()


def test_a_walk_starts_and_ends_at_its_seeds(make: Make, numbers: Path) -> None:
    service = make(numbers)
    film, frames = service.walk("numbers generator", "high", 3, 4, 4)
    assert len(frames) == 5
    with Image.open(film) as image:
        assert image.n_frames == 8  # type: ignore[attr-defined]  # there and back, neither end twice
    _, back = service.walk("", "high", 4, 3, 4)
    np.testing.assert_array_equal(pixels(frames[-1]), pixels(back[0]))
    alone = service.models["numbers generator"].translator.generate(1, seed=3, label="high")[0]
    np.testing.assert_array_equal(pixels(frames[0]), np.asarray(alone))
    _, low = service.walk("", "low", 3, 4, 2)
    assert pixels(low[0]).mean() < pixels(frames[0]).mean() - 50
    with pytest.raises(DataError, match="unknown label 'hihg' \\(did you mean 'high'\\?\\)"):
        service.walk("", "hihg", 3, 4, 5)
    with pytest.raises(DataError, match="makes pictures from latent numbers alone"):
        service.translate(None, "", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "odd.png: is empty"),
        (b"hello", "odd.png: is not an image"),
        (png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))[:2000], "odd.png: is damaged or truncated"),
        (
            png(np.zeros((1001, 1000), np.uint8)),
            "odd.png: is 1000x1001, more than the 1,000,000 pixels that may be sent",
        ),
    ],
    ids=["empty", "text", "truncated", "large"],
)
def test_a_mistake_is_named_without_a_path(make: Make, negative: Path, content: bytes, message: str) -> None:
    service = make(negative)
    with pytest.raises(DataError) as caught:
        service.translate(sent(service, content, "odd.png"), "", 0)
    assert str(caught.value).startswith(message)
    assert "/" not in str(caught.value).replace(" / ", "")
    assert 'translate_requests_total{endpoint="translate",outcome="refused"} 1' in service.metrics.text(0)


@pytest.mark.parametrize(
    "upload",
    [None, "x", {}, {"path": "/etc/passwd"}, {"path": "http://example.org/x.png"}, {"path": 3}, {"path": "a\0b"}],
)
def test_only_what_was_sent_is_read(make: Make, negative: Path, upload: Any) -> None:
    with pytest.raises(DataError, match=r"^no file was sent$"):
        make(negative).translate(upload, "", 0)


def test_messages_of_models_hold_no_paths(make: Make, negative: Path) -> None:
    service = make(negative)
    path = service.models["negative"].translator.session.path
    assert service.public(f"{path}: onnxruntime failed (in /usr/lib/x y.so); 5 images/s") == (
        "negative: onnxruntime failed (in x y.so); 5 images/s"
    )


class Slow(Session):
    backend = "slow"

    def _run(self, inputs: Any, statistics: Any) -> Any:
        time.sleep(0.4)
        return inputs["image"]

    _measure = _run


def test_a_request_ends_in_time_and_its_lane_with_the_picture_in_hand(make: Make, photo: Path) -> None:
    values = Values(channels=3)
    card = Card(name="slow", network="translator", recipe="none", source=values, target=values)
    model = Model("slow", Path("slow.onnx"), Translator(Slow(Path("slow.onnx"), card)), "")
    service = make(models=[model], seconds=0.2)
    upload = sent(service, photo)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"longer than the 0\.2 s that a request may take"):
        service.translate(upload, "", 0)
    assert time.monotonic() - start < 0.39
    assert 'outcome="too_slow"} 1' in service.metrics.text(0)
    service.seconds = 30
    assert service.translate(upload, "", 0).is_file()
    archive = zipped({f"{index}.png": photo.read_bytes() for index in range(4)})
    service.seconds = 1
    with pytest.raises(DataError, match="; 2 of 4 were done: send fewer pictures at a time"):
        translate_zip(service, sent(service, archive, "many.zip"), "", 0)


def test_a_zip_comes_back_with_its_folders_and_a_report(make: Make, negative: Path, photo: Path) -> None:
    service = make(negative)
    good = photo.read_bytes()
    jpeg = io.BytesIO()
    Image.new("RGB", (9, 5), "white").save(jpeg, "JPEG")
    files = {
        "a.png": good,
        "a.jpg": jpeg.getvalue(),
        "deep/er/ünï.png": good,
        "deep/notes.txt": b"hello",
        "../up.png": good,
        "/root.png": good,
        "c:\\win.png": good,
        "inner.zip": zipped({"x.png": good}),
        ".DS_Store": b"x",
        "__MACOSX/a.png": b"x",
        "huge.png": png(np.zeros((1001, 1000), np.uint8)),
    }
    seen: list[tuple[tuple[int, int], str]] = []
    path = translate_zip(
        service, sent(service, zipped(files), "trip.zip"), "", 0, lambda done, name: seen.append((done, name))
    )
    assert Path(path).name == "trip-translator.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("report.csv"), encoding="utf-8")))
        assert set(archive.namelist()) == {"a.png", "a_.png", "deep/er/ünï.png", "report.csv"}
        with archive.open("deep/er/ünï.png") as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), 255 - pixels(photo))
    status = {row["input"]: row["status"] for row in rows}
    assert len(rows) == len(files) - 2
    assert [status[name] for name in ("a.png", "a.jpg", "deep/er/ünï.png")] == ["ok"] * 3
    for name in ("../up.png", "/root.png", "c:\\win.png"):
        assert status[name] == "refused: its name leaves the folder"
    assert status["deep/notes.txt"].startswith("notes.txt: is not an image")
    assert status["huge.png"].startswith("huge.png: is 1000x1001, more than")
    assert seen[0] == ((0, 9), "a.png")
    assert not (service.folder.parent / "up.png").exists()


def test_members_that_cannot_be_unpacked_are_named(make: Make, negative: Path, photo: Path) -> None:
    service = make(negative)
    content = bytearray(zipped({"good.png": photo.read_bytes(), "bad.png": photo.read_bytes()}, zipfile.ZIP_STORED))
    content[content.index(b"bad.png") + 40] ^= 0xFF
    with zipfile.ZipFile(translate_zip(service, sent(service, bytes(content), "x.zip"), "", 0)) as archive:
        report = archive.read("report.csv").decode()
    assert "good.png,good.png,ok" in report
    assert "bad.png,,cannot be unpacked (Bad CRC-32" in report
    packed = zipped({"b.png": photo.read_bytes()}, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(translate_zip(service, sent(service, packed, "y.zip"), "", 0)) as archive:
        assert b"b.png,,cannot be unpacked (a method other than deflate)" in archive.read("report.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "x.zip: is no zip, or a damaged one"),
        (zipped({}), "the zip holds 0 files"),
        (zipped({f"{index}.png": b"" for index in range(MAX_FILES + 1)}), "the zip holds 1,001 files"),
        (
            zipped({f"{index}.png": bytes(11 << 20) for index in range(7)}),
            "the zip unpacks to far more than pictures would",
        ),
    ],
    ids=["no zip", "empty", "many", "bomb"],
)
def test_a_zip_that_is_none_or_a_bomb_is_refused(make: Make, negative: Path, content: bytes, message: str) -> None:
    service = make(negative)
    with pytest.raises(DataError, match=message):
        translate_zip(service, sent(service, content, "x.zip"), "", 0)


def test_a_member_that_lies_about_its_size_is_not_unpacked_beyond_it(make: Make, negative: Path) -> None:
    service = make(negative)
    content = bytearray(zipped({"x.png": bytes(50 << 20)}))
    for header, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = content.index(header) + offset
        content[place : place + 4] = (1000).to_bytes(4, "little")
    with zipfile.ZipFile(translate_zip(service, sent(service, bytes(content), "x.zip"), "", 0)) as archive:
        assert b"x.png,,cannot be unpacked (Bad CRC-32" in archive.read("report.csv")


def test_what_requests_left_behind_is_removed_in_time(make: Make, negative: Path, photo: Path) -> None:
    service = make(negative)
    upload = sent(service, photo)
    result = service.translate(upload, "", 0)
    (service.folder / "empty").mkdir()
    service.tidy()
    assert result.exists()
    service.tidy(age=-200)
    assert not result.exists()
    assert [path.name for path in service.folder.iterdir()] == ["upload"]  # of Gradio, not empty
