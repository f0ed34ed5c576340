"""`translate batch` from command to files, with networks that are one formula."""

import errno
import hashlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.cli import main
from translate.errors import ConfigError, DataError, ModelError
from translate.inference import batch as engine
from translate.inference import writing
from translate.inference.ahead import file_hash
from translate.inference.batch import Options, run_batch
from translate.inference.card import Card, Values
from translate.inference.session import Session

CARD = Card(
    name="inverter",
    network="a2b",
    recipe="test",
    source=Values(channels=3),
    target=Values(channels=3),
    config_hash="c0ffee",
)


class Fake(Session):
    """The negative; with noise, darker by `seed % 64` levels."""

    backend = "fake"

    def __init__(self, card: Card) -> None:
        super().__init__(Path("fake.onnx"), card)
        self.calls: list[tuple[int, ...]] = []
        self.before: Callable[[], object] = lambda: None

    def _run(self, inputs, statistics):
        self.calls.append(inputs["image"].shape)
        self.before()
        darker = inputs["seed"] % 64 if "seed" in inputs else np.zeros(len(inputs["image"]))
        return -inputs["image"] - (darker * 2 / 255).astype(np.float32).reshape(-1, 1, 1, 1)

    def _measure(self, inputs):
        return self._run(inputs, ()), []


@pytest.fixture
def model(tmp_path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"a network")
    return tmp_path / "model.onnx"


@pytest.fixture
def session(monkeypatch) -> Fake:
    fake = Fake(CARD)

    def opened(path, **options):
        fake.options = options
        return fake

    monkeypatch.setattr("translate.inference.translator.open_session", opened)
    return fake


@pytest.fixture
def run(tmp_path, model, session) -> Callable[..., int]:
    """`run(input="in", output="out", workers=2, **options)`: below `tmp_path`; gives the exit status."""

    def call(input="in", output="out", workers=2, **options):
        return run_batch(Options(str(tmp_path / input), tmp_path / output, model, workers=workers, **options))

    return call


def picture(path: Path, value=0, size=(6, 4), mode="RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


def rows(folder: Path) -> list[dict]:
    """Of the manifest, without the lines on runs."""
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return [line for line in lines if "input" in line]


def statuses(folder: Path) -> dict[str, str]:
    return {row["input"]: row["status"] for row in rows(folder)}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_keeps_its_tree(tmp_path, run, capsys):
    for index, name in enumerate(("x.png", "a/x.png", "a/b/y.bmp", "ß/ü 猫.webp")):
        picture(tmp_path / "in" / name, (10 * index, 0, 0))
    assert run(recursive=True) == 0
    assert files(tmp_path / "out") == ["a/b/y.png", "a/x.png", "manifest.jsonl", "x.png", "ß/ü 猫.webp"]
    with Image.open(tmp_path / "out/a/b/y.png") as image:
        assert image.size == (6, 4)
        assert image.getpixel((0, 0)) == (235, 255, 255)
    assert set(statuses(tmp_path / "out").values()) == {"done"}
    said = capsys.readouterr()
    assert said.out.startswith("done 4, skipped 0, failed 0; ")
    assert said.out.endswith(" images/s\n")
    assert said.err == ""


def test_how_large_a_picture_may_be(run, tmp_path) -> None:
    picture(tmp_path / "in" / "small.png", size=(1000, 1000))
    picture(tmp_path / "in" / "large.png", size=(1001, 1000))
    assert run(max_megapixels=1) == 1
    found = {row["input"]: row for row in rows(tmp_path / "out")}
    assert found["small.png"]["status"] == "done"
    assert "is 1001x1000, more than data.max_pixels = 1,000,000 pixels" in found["large.png"]["error"]
    assert "--max-megapixels" in found["large.png"]["error"]
    assert run(max_megapixels=2) == 0


def test_the_manifest_says_what_became_of_each(tmp_path, run, model):
    path = picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.jpg").write_bytes(b"")
    assert run(format="png") == 1
    header, *_ = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert header["model"] == "inverter"
    assert header["network"] == "a2b"
    assert header["config_hash"] == "c0ffee"
    assert header["model_hash"] == hashlib.sha256(b"a network").hexdigest()
    assert header["settings"]["format"] == "png"
    done, failed = sorted(rows(tmp_path / "out"), key=lambda row: row["input"])
    assert done.pop("seconds") >= 0
    assert done == {
        **{"run": header["run"], "input": "a.png", "output": "a.png", "status": "done", "error": None, "seed": None},
        **{"size": path.stat().st_size, "modified": path.stat().st_mtime_ns},
    }
    assert (failed["input"], failed["output"], failed["status"]) == ("b.jpg", None, "failed")
    assert "b.jpg: is empty (0 bytes)" in failed["error"]


def test_failures_are_listed_at_the_end(tmp_path, run, capsys):
    for index in range(8):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{index}.png").write_text("no picture")
    picture(tmp_path / "in/good.png")
    assert run() == 1
    said = capsys.readouterr()
    assert said.out.startswith("done 1, skipped 0, failed 8; ")
    lines = said.err.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"failed: {tmp_path}/in/") and "not an image" in line for line in lines[:5])
    assert lines[5] == f"failed: 3 more, see {tmp_path}/out/manifest.jsonl"


def test_on_error_fail_stops(tmp_path, run, session):
    for index in range(50):
        picture(tmp_path / f"in/{index:02}.png")
    (tmp_path / "in/03.png").write_text("no picture")
    assert run(on_error="fail", workers=1) == 1
    found = statuses(tmp_path / "out")
    assert found["03.png"] == "failed"
    assert len(found) < 10
    assert len(files(tmp_path / "out")) == list(found.values()).count("done") + 1


def test_a_bug_in_one_picture_stops_no_other(tmp_path, run, monkeypatch):
    for name in "abc":
        picture(tmp_path / f"in/{name}.png")

    def encode(pixels, name, *rest):
        if name == "b.png":
            raise ZeroDivisionError("division by zero")
        if name == "c.png":
            raise MemoryError
        return writing.encode(pixels, name, *rest)

    monkeypatch.setattr("translate.inference.worker.encode", encode)
    assert run() == 1
    assert statuses(tmp_path / "out") == {"a.png": "done", "b.png": "failed", "c.png": "failed"}
    errors = {row["input"]: row["error"] for row in rows(tmp_path / "out")}
    assert errors["b.png"] == "ZeroDivisionError: division by zero"
    assert "memory" in errors["c.png"]


# Going on


def test_a_second_run_does_nothing(tmp_path, run, session, capsys):
    for name in ("a", "b", "deep/c"):
        picture(tmp_path / f"in/{name}.png")
    assert run(recursive=True) == 0
    before = (tmp_path / "out/manifest.jsonl").read_bytes()
    assert run(recursive=True) == 0
    assert len(session.calls) == 3
    assert (tmp_path / "out/manifest.jsonl").read_bytes() == before
    assert capsys.readouterr().out.splitlines()[1].startswith("done 0, skipped 3, failed 0; ")


@pytest.mark.parametrize("change", ["input", "output", "model", "settings", "format", "manifest"])
def test_what_has_changed_is_done_again(tmp_path, run, session, model, change):
    for name in "ab":
        picture(tmp_path / f"in/{name}.bmp")
    assert run() == 0
    options = {}
    match change:
        case "input":
            picture(tmp_path / "in/a.bmp", 5, size=(8, 8))
        case "output":
            (tmp_path / "out/a.png").unlink()
        case "model":
            model.write_bytes(b"another network")
        case "settings":
            options = {"side_by_side": True}
        case "format":
            options = {"format": "webp"}
        case "manifest":
            (tmp_path / "out/manifest.jsonl").unlink()
    assert run(**options) == 0
    expected = 3 if change in ("input", "output") else 4
    assert len(session.calls) == expected
    assert run(**options) == 0
    assert len(session.calls) == expected


def test_the_last_settings_are_those_that_count(tmp_path, run, session):
    picture(tmp_path / "in/a.png")
    for side_by_side in (False, True, False):
        assert run(side_by_side=side_by_side) == 0
    assert len(session.calls) == 3
    with Image.open(tmp_path / "out/a.png") as image:
        assert image.size == (6, 4)


def test_failed_inputs_are_tried_again(tmp_path, run):
    picture(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_text("no picture")
    assert run() == 1
    picture(tmp_path / "in/b.png")
    assert run() == 0
    assert statuses(tmp_path / "out") == {"a.png": "done", "b.png": "done"}


def test_skip_existing_leaves_any_file(tmp_path, run, session):
    for name in "ab":
        picture(tmp_path / f"in/{name}.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    assert run(skip_existing=True) == 0
    assert (tmp_path / "out/a.png").read_text() == "mine"
    assert statuses(tmp_path / "out") == {"a.png": "skipped", "b.png": "done"}
    assert run() == 0
    assert (tmp_path / "out/a.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_killed_run_left_is_mended(tmp_path, run, session):
    for name in "abc":
        picture(tmp_path / f"in/{name}.png")
    assert run() == 0
    manifest = tmp_path / "out/manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    left = tmp_path / "out/deep/.translate-0123456789abcdef.part"
    left.parent.mkdir()
    left.write_text("half")
    assert run() == 0
    assert len(session.calls) == 4
    assert not left.exists()
    assert sum(line.startswith("{") and line.endswith("}") for line in manifest.read_text().splitlines()) == 5
    assert run() == 0
    assert len(session.calls) == 4


def test_two_runs_do_not_share_a_folder(tmp_path, run, session):
    picture(tmp_path / "in/a.png")
    tried = []

    def again():
        if not tried:
            tried.append(None)
            with pytest.raises(DataError, match="another run is writing there"):
                run()

    session.before = again
    assert run() == 0
    assert tried


def test_warnings_are_as_they_were(tmp_path, run):
    for index in range(30):
        picture(tmp_path / f"in/{index}.png")
    before = list(warnings.filters)
    assert run(workers=8) == 0
    assert warnings.filters == before


# Seeds


def test_each_picture_has_a_seed_of_its_own(tmp_path, run, session):
    session.card = CARD.replace(noise=True)
    for name in "abcd":
        picture(tmp_path / f"in/{name}.png")

    def outputs(folder):
        return {name: np.asarray(Image.open(tmp_path / folder / f"{name}.png"))[0, 0, 0] for name in "abcd"}

    assert run(output="one", workers=1, seed=7) == 0
    assert run(output="two", workers=3, batch_size=2, seed=7) == 0
    assert run(output="three", seed=8) == 0
    assert outputs("one") == outputs("two") != outputs("three")
    seeds = {row["input"]: row["seed"] for row in rows(tmp_path / "one")}
    assert seeds == {row["input"]: row["seed"] for row in rows(tmp_path / "two")}
    assert len(set(seeds.values())) == 4
    assert {name: 255 - seeds[f"{name}.png"] % 64 for name in "abcd"} == outputs("one")
    assert run(output="one", seed=8) == 0
    assert outputs("one") == outputs("three")


# How it is run


def test_cores_are_shared_out(tmp_path, run, session, monkeypatch):
    monkeypatch.setattr(engine, "cores", lambda: 8)
    for index in range(20):
        picture(tmp_path / f"in/{index}.png")
    picture(tmp_path / "few/0.png")
    assert run(workers=None) == 0
    assert session.options["lanes"] == 8
    assert run(workers=3) == 0
    assert session.options["lanes"] == 3
    assert run("few", "out-few", workers=None) == 0
    assert session.options["lanes"] == 1


def test_few_pictures_are_in_hand_at_a_time(tmp_path, run, session, monkeypatch):
    for index in range(60):
        picture(tmp_path / f"in/{index}.png")
    ahead, counts = 0, []
    give, take = engine._left, engine._take

    def given(*arguments):
        nonlocal ahead
        for item in give(*arguments):
            ahead += 1
            counts.append(ahead)
            yield item

    def taken(future, progress):
        nonlocal ahead
        ahead -= len(future.result())
        take(future, progress)

    monkeypatch.setattr(engine, "_left", given)
    monkeypatch.setattr(engine, "_take", taken)
    assert run(workers=2, batch_size=3) == 0
    assert len(statuses(tmp_path / "out")) == 60
    assert max(counts) == 2 * 2 * 3


def test_pictures_are_decoded_while_others_are_translated(tmp_path, run, session):
    """Two threads are in the network at once, or this never ends."""
    for index in range(8):
        picture(tmp_path / f"in/{index}.png")
    together = threading.Barrier(2, timeout=20)
    session.before = together.wait
    assert run(workers=2) == 0
    assert len(session.calls) == 8


def test_batches_of_one_size(tmp_path, run, session):
    for index in range(4):
        picture(tmp_path / f"in/{index}.png", size=(32, 32))
        picture(tmp_path / f"in/{index}-large.png", size=(48, 32))
    (tmp_path / "in/bad.png").write_text("no picture")
    np.save(tmp_path / "in/float.npy", np.zeros((32, 32, 3), np.float32))
    assert run(workers=1, batch_size=16) == 1
    assert sorted(session.calls) == [(1, 3, 32, 32), (4, 3, 32, 32), (4, 3, 32, 48)]
    assert list(statuses(tmp_path / "out").values()).count("done") == 9


def test_one_bad_picture_of_a_batch_is_found(tmp_path, run, session):
    for index in range(4):
        picture(tmp_path / f"in/{index}.png")
    np.save(tmp_path / "in/five.npy", np.zeros((8, 8, 5), np.uint8))
    assert run(workers=1, batch_size=8) == 1
    assert [name for name, status in statuses(tmp_path / "out").items() if status == "failed"] == ["five.npy"]


def interrupted(number):
    """From a thread of the batch: back when the main one has noticed, however long a busy machine lets it wait."""
    os.kill(os.getpid(), number)
    latest = time.monotonic() + 60
    while signal.getsignal(number) is not signal.default_int_handler:
        assert time.monotonic() < latest
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_whole_files(tmp_path, run, session, number, capsys):
    for index in range(200):
        picture(tmp_path / f"in/{index}.png")
    before = signal.getsignal(number)

    def interrupt():
        if len(session.calls) == 10:
            interrupted(number)

    session.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(number) == before
    written = [name for name in files(tmp_path / "out") if name != "manifest.jsonl"]
    assert 8 <= len(written) < 20
    assert set(statuses(tmp_path / "out")) == set(written)
    for name in written:
        Image.open(tmp_path / "out" / name).load()
    assert capsys.readouterr().out.startswith(f"done {len(written)}, ")
    session.before = lambda: None
    assert run() == 0
    assert len(files(tmp_path / "out")) == 201


def test_a_large_picture_ends_with_the_tile_in_hand(tmp_path, run, session):
    picture(tmp_path / "in/large.png", size=(640, 640))

    def interrupt():
        if len(session.calls) == 3:
            interrupted(signal.SIGINT)

    session.before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(tile=64)
    assert len(session.calls) < 6
    assert files(tmp_path / "out") in ([], ["manifest.jsonl"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops(tmp_path, run, monkeypatch, code):
    for index in range(50):
        picture(tmp_path / f"in/{index:02}.png")
    original = Path.write_bytes

    def full(self, data):
        if len(files(tmp_path / "out")) > 5:
            original(self, data[:10])
            raise OSError(code, os.strerror(code))
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=f"out: cannot be written .{os.strerror(code)}"):
        run()
    written = [name for name in files(tmp_path / "out") if name != "manifest.jsonl"]
    assert 5 <= len(written) < 10
    for name in written:
        Image.open(tmp_path / "out" / name).load()


def test_an_output_that_cannot_be_written_is_one_failure(tmp_path, run):
    for name in "ab":
        picture(tmp_path / f"in/{name}.png")
    (tmp_path / "out/a.png").mkdir(parents=True)
    assert run() == 1
    assert statuses(tmp_path / "out") == {"a.png": "failed", "b.png": "done"}
    assert files(tmp_path / "out") == ["b.png", "manifest.jsonl"]


# One file


def test_a_single_file(tmp_path, run, session, capsys):
    picture(tmp_path / "a.jpg", (10, 20, 30))
    assert run("a.jpg", "b.png") == 0
    assert files(tmp_path) == ["a.jpg", "b.png", "model.onnx"]
    assert session.options["lanes"] == 1
    with Image.open(tmp_path / "b.png") as image:
        assert image.format == "PNG"
        assert np.abs(np.asarray(image)[0, 0].astype(int) - [245, 235, 225]).max() <= 3
    assert run("a.jpg", "deep/er/c.webp") == 0
    assert run("a.jpg", "b.png", skip_existing=True) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("done 0, skipped 1")
    assert run("a.jpg", "folder") == 0
    assert files(tmp_path / "folder") == ["a.jpg", "manifest.jsonl"]


def test_a_single_file_that_fails(tmp_path, run, capsys):
    (tmp_path / "a.png").write_text("no picture")
    assert run("a.png", "b.png") == 1
    assert (
        capsys.readouterr().err
        == f"failed: {tmp_path}/a.png: is not an image, or of a format that is not supported; remove it or save it as PNG, JPEG or TIFF\n"
    )
    assert files(tmp_path) == ["a.png", "model.onnx"]


# Refused before anything is written


def refused(tmp_path, run, error, *words, **options):
    before = files(tmp_path)
    with pytest.raises(error) as caught:
        run(**options)
    for word in words:
        assert word in str(caught.value)
    assert files(tmp_path) == before


def test_nothing_to_do(tmp_path, run):
    (tmp_path / "in").mkdir()
    refused(tmp_path, run, DataError, "in: no pictures found; it is empty")
    refused(tmp_path, run, DataError, "gone", "no such file or folder", input="gone")
    picture(tmp_path / "in/deep/a.png")
    refused(tmp_path, run, DataError, "--recursive")
    refused(tmp_path, run, DataError, "no pictures found", input="in/*.png")
    assert run(recursive=True) == 0


def test_places_that_are_not_possible(tmp_path, run):
    picture(tmp_path / "in/a.png")
    refused(tmp_path, run, ConfigError, "is the folder of the inputs", output="in")
    refused(tmp_path, run, ConfigError, "is the folder of the inputs", input="in/*.png", output="in")
    refused(tmp_path, run, ConfigError, "is the input", input="in/a.png", output="in/a.png")
    refused(tmp_path, run, ConfigError, "--format jpeg", "b.png", input="in/a.png", output="b.png", format="jpeg")
    refused(tmp_path, run, ConfigError, "is a file", output="in/a.png")
    np.save(tmp_path / "s.npy", np.zeros((2, 4, 4, 3), np.uint8))
    refused(tmp_path, run, ConfigError, "several pictures", input="s.npy", output="s.png")


def test_a_broken_model(tmp_path, run, monkeypatch):
    picture(tmp_path / "in/a.png")

    def broken(path, **options):
        raise ModelError(f"{path}: is no model")

    monkeypatch.setattr("translate.inference.translator.open_session", broken)
    refused(tmp_path, run, ModelError, "model.onnx: is no model")


def test_a_model_that_takes_no_pictures(tmp_path, run, session):
    picture(tmp_path / "in/a.png")
    session.card = CARD.replace(source=None, latent=8)
    refused(tmp_path, run, ModelError, "takes none")


def test_a_folder_that_cannot_be_written(tmp_path, run):
    picture(tmp_path / "in/a.png")
    (tmp_path / "file").touch()
    refused(tmp_path, run, DataError, "cannot be written", output="file/out")


def test_the_command_line(tmp_path, model, session, capsys):
    picture(tmp_path / "in/a.png")
    command = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--model", str(model)]
    assert main(command) == 0
    (tmp_path / "in/b.png").write_text("no picture")
    assert main([*command, "--on-error", "fail", "--tile", "64", "--format", "webp"]) == 1
    assert main([*command[:1], str(tmp_path / "gone"), *command[2:]]) == 2
    assert "error: " in capsys.readouterr().err


def test_a_bar_on_a_terminal(tmp_path, run, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for index in range(3):
        picture(tmp_path / f"in/{index}.png")
    np.save(tmp_path / "in/stack.npy", np.zeros((4, 4, 4, 3), np.uint8))
    assert run() == 0
    said = capsys.readouterr()
    assert "7/7" in said.err
    assert "images/s" in said.err
    assert "left" in said.err


# Models of other kinds


def test_a_checkpoint_runs_through_torch(tmp_path):
    import torch

    from translate.inference.networks import save_model
    from translate.inference.translator import Translator
    from translate.nn import ResNetConfig

    torch.manual_seed(0)
    config = ResNetConfig(width=4, blocks=1)
    save_model(
        tmp_path / "model.pt",
        config.build(3, 3),
        config,
        CARD.replace(multiple=config.multiple, norm="image"),
    )
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)).save(tmp_path / f"in/{index}.png")
    assert (
        run_batch(Options(str(tmp_path / "in"), tmp_path / "out", tmp_path / "model.pt", workers=3, precision="fp32"))
        == 0
    )
    translator = Translator.load(tmp_path / "model.pt", precision="fp32")
    for path in (tmp_path / "in").iterdir():
        expected, found = (np.asarray(Image.open(file)).astype(int) for file in (path, tmp_path / "out" / path.name))
        expected = translator.pixels(expected.astype(np.uint8)).astype(int)
        assert np.abs(found - expected).max() <= 1


def test_the_hash_of_a_run_is_that_of_its_checkpoint(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("last", "best"):
        (tmp_path / f"checkpoints/{name}.pt").write_text(name)
        assert file_hash(tmp_path) == hashlib.sha256(name.encode()).hexdigest()
