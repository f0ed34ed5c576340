"""The program as users run it: killed, stopped, started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COUNT = 60


@pytest.fixture
def pictures(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        path = tmp_path / "in" / f"{index % 3}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(path)
    np.save(tmp_path / "in/stack.npy", rng.integers(0, 65536, (8, 40, 40, 3), dtype=np.uint16))
    return tmp_path / "in"


def start(source: Path, out: Path, model: Path) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-m", "translate", "batch", source, out, "--model", model]
    options = ["--recursive", "--workers", "2", "--backend", "onnxruntime", "--format", "png", "--seed", "3"]
    return subprocess.Popen([*map(str, command), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def outputs(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.jsonl")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def count(folder: Path) -> int:
    return sum(path.suffix == ".png" for path in folder.rglob("*"))


def wait_for(process: subprocess.Popen, out: Path, number: int) -> None:
    """Until so many outputs are there."""
    while count(out) < number:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)


def test_kills_change_nothing(tmp_path, pictures, tiny_onnx):
    whole = start(pictures, tmp_path / "whole", tiny_onnx)
    said, errors = whole.communicate(timeout=120)
    assert (whole.returncode, errors) == (0, "")
    assert said.startswith(f"done {COUNT + 8}, skipped 0, failed 0; ")
    for number in (1, 20, 40):
        process = start(pictures, tmp_path / "killed", tiny_onnx)
        wait_for(process, tmp_path / "killed", number)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert count(tmp_path / "killed") < COUNT + 8
    (tmp_path / "killed/0/.translate-0123.part").write_bytes(b"half")
    last = start(pictures, tmp_path / "killed", tiny_onnx)
    said, errors = last.communicate(timeout=120)
    assert (last.returncode, errors) == (0, "")
    assert "skipped 0" not in said
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_with_whole_files(tmp_path, pictures, tiny_onnx, number):
    process = start(pictures, tmp_path / "out", tiny_onnx)
    wait_for(process, tmp_path / "out", 5)
    process.send_signal(number)
    said, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    written = outputs(tmp_path / "out")
    assert said.startswith(f"done {len(written)}, skipped 0, failed 0; ")
    assert 5 <= len(written) < COUNT
    for name in written:
        Image.open(tmp_path / "out" / name).load()


def test_one_picture_needs_little(tmp_path, pictures, tiny_onnx):
    """Torch, h5py, tifffile and the progress bar are not loaded for a JPEG into a PNG."""
    code = (
        "import sys\nfrom translate.cli import main\nassert main(sys.argv[1:]) == 0\n"
        "heavy = ('torch', 'h5py', 'tifffile', 'tqdm', 'ray', 'scipy', 'onnx', 'matplotlib', 'openvino')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    command = ["batch", pictures / "0/0.jpg", tmp_path / "x.png", "--model", tiny_onnx, "--backend", "onnxruntime"]
    environment = {**os.environ, "COLUMNS": "80"}
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], capture_output=True, text=True, check=True, env=environment
    )
    assert result.stdout.splitlines()[-1] == "[]"
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (400, 400)
