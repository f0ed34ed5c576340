import json
import math
import os
from pathlib import Path

import pytest

from translate.errors import CheckpointError
from translate.training.journal import POINTS, Journal, curve, environment, read, replace, smooth, thin


def _written(path: Path, steps: int) -> None:
    with Journal(path) as journal:
        for step in range(1, steps + 1):
            journal.write(step, 1, 8 * step, 0.5 * step, {"train/generator/l1": 1 / step})


def test_writes_one_object_a_line_with_every_bit_of_the_values(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _written(path, 3)
    lines = path.read_text().splitlines()
    assert list(json.loads(lines[0])) == ["step", "epoch", "images", "seconds", "train/generator/l1"]
    assert read(path)[2] == {"step": 3, "epoch": 1, "images": 24, "seconds": 1.5, "train/generator/l1": 1 / 3}


def test_a_line_is_in_the_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.write(1, 1, 1, 1.0, {})
    assert len(read(journal.path)) == 1
    journal.close()


def test_non_finite_values_are_null_and_the_json_is_strict(tmp_path: Path) -> None:
    with Journal(tmp_path / "metrics.jsonl") as journal:
        journal.write(1, 1, 1, 1.0, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 2.0})
    row = json.loads(journal.path.read_text(), parse_constant=pytest.fail)
    assert [row[key] for key in "abcd"] == [None, None, None, 2.0]


@pytest.mark.parametrize("damage", [b'{"step": 4, "epo', b"\0\0\0\0\n", b"[1]\n", b'{"epoch": 1}\n', b"\xff\n", b"\n"])
def test_the_reader_passes_over_what_is_no_whole_line(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    _written(path, 3)
    path.write_bytes(path.read_bytes() + damage)
    assert [row["step"] for row in read(path)] == [1, 2, 3]


def test_every_cut_of_the_file_can_be_read_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _written(path, 3)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        kept = whole[:end].count(b"\n")
        assert len(read(path)) == kept
        with Journal.resume(path, 2) as journal:
            journal.write(9, 1, 1, 1.0, {})
        assert [row["step"] for row in read(path)] == [*range(1, min(kept, 2) + 1), 9]


def test_resuming_twice_gives_the_file_of_an_unbroken_run(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _written(path, 10)
    whole = path.read_bytes()
    for step in (7, 4):
        with Journal.resume(path, step) as journal:
            for later in range(step + 1, 11):
                journal.write(later, 1, 8 * later, 0.5 * later, {"train/generator/l1": 1 / later})
        assert path.read_bytes() == whole
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_resume_starts_a_missing_file(tmp_path: Path) -> None:
    Journal.resume(tmp_path / "metrics.jsonl", 5).close()
    assert read(tmp_path / "metrics.jsonl") == []
    assert read(tmp_path / "none.jsonl") == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_message() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(CheckpointError, match="No space left on device"):
        journal.write(1, 1, 1, 1.0, {})
    journal.close()


def test_a_write_that_fails_half_way_leaves_whole_lines(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    signal = pytest.importorskip("signal")
    path = tmp_path / "metrics.jsonl"
    _written(path, 2)
    whole = path.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Journal(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, limits[1]))
        try:
            with pytest.raises(CheckpointError, match="cannot be written"):
                journal.write(3, 1, 1, 1.0, {"train/generator/l1": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert path.read_bytes() == whole


def test_replace_keeps_the_old_file_and_no_draft_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    replace(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="file: cannot be written"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_environment_is_json_and_names_what_matters() -> None:
    about = environment()
    assert json.loads(json.dumps(about)) == about
    keys = {"started", "command", "package", "commit", "python", "torch", "platform", "cpu", "threads", "gpu"}
    assert set(about) == keys
    assert about["cpu"]
    assert about["threads"] >= 1


def test_curve_has_none_for_what_was_not_finite() -> None:
    rows = [{"step": 1, "a": 1}, {"step": 2, "b": 1.0}, {"step": 3, "a": None}, {"step": 4, "a": math.inf}]
    assert curve([*rows, {"step": 5, "a": "text"}], "a") == [(1, 1), (3, None), (4, None)]


def test_smoothing_keeps_a_straight_line_and_passes_over_gaps() -> None:
    line = [(step, 3.0 * step) for step in range(200)]
    assert [value for _, value in smooth(line)][4:-4] == pytest.approx([value for _, value in line][4:-4])
    assert smooth(line)[-1] == (199, pytest.approx(3.0 * (195 + 199) / 2))  # the last value is a mean, too
    flat = [(step, None if step == 70 else 2.0) for step in range(200)]
    assert smooth(flat)[70] == (70, None)
    assert {value for _, value in smooth(flat)} == {2.0, None}


def test_thinning_keeps_spikes_and_order() -> None:
    values = [(step, 1e3 if step == 7777 else -1e3 if step == 4444 else math.sin(step)) for step in range(10_000)]
    thinned = thin(values)
    assert len(thinned) <= POINTS
    assert (7777, 1e3) in thinned
    assert (4444, -1e3) in thinned
    assert thinned == sorted(thinned)
    assert thin(values[:POINTS]) == values[:POINTS]
    assert all(value is None for _, value in thin([(step, None) for step in range(2000)]))
