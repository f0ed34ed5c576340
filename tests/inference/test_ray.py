"""`translate batch --ray auto` on a cluster of this machine alone."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.errors import ConfigError, DataError
from translate.inference.batch import Options, run_batch

# Ray sets its own deprecated settings to their defaults.
pytestmark = pytest.mark.filterwarnings("ignore:`use_[a-z0-9_]+` is deprecated:DeprecationWarning")


@pytest.fixture
def pictures(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "in/deep").mkdir(parents=True)
    for index in range(20):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / f"in/deep/{index}.png")
    (tmp_path / "in/bad.png").write_text("no picture")
    np.savez_compressed(tmp_path / "in/stack.npz", x=rng.integers(0, 256, (9, 20, 20, 3), dtype=np.uint8))
    return tmp_path / "in"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processors, started once; the program leaves a cluster that is there already as it is."""
    from translate.inference.ray_batch import _cluster

    ray = pytest.importorskip("ray")
    with _cluster("auto"):
        assert ray.cluster_resources()["CPU"] >= 1
        yield


def rows(folder: Path) -> dict[str, dict]:
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {line["input"]: line for line in lines if "input" in line}


def outputs(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.jsonl")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_ray_does_what_threads_do(tmp_path, pictures, tiny_onnx, cluster, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    common = {"model": Path("tiny.onnx"), "recursive": True, "backend": "onnxruntime", "seed": 5}
    assert run_batch(Options("in", Path("threads"), **common)) == 1
    assert run_batch(Options("in", Path("ray"), workers=2, ray="auto", **common)) == 1
    assert outputs(tmp_path / "ray") == outputs(tmp_path / "threads")
    here, there = rows(tmp_path / "threads"), rows(tmp_path / "ray")
    assert set(here) == set(there)
    for name, row in here.items():
        for key in ("run", "output", "status", "seed", "size", "modified"):
            assert row[key] == there[name][key]
    assert "bad.png: is not an image" in there["bad.png"]["error"]
    assert capfd.readouterr().out.count("done 29, skipped 0, failed 1; ") == 2

    (tmp_path / "ray/deep/7.png").unlink()
    assert run_batch(Options("in", Path("ray"), workers=1, ray="auto", batch_size=4, on_error="fail", **common)) == 1
    said = capfd.readouterr()
    assert said.out.startswith("done 1, skipped 28, failed 1; ")
    assert said.err.splitlines() == [
        f"failed: {tmp_path}/in/bad.png: is not an image, or of a format that is not supported; remove it or save it as PNG, JPEG or TIFF"
    ]


def test_a_disk_that_takes_no_more_stops(tmp_path, pictures, tiny_onnx, cluster):
    """The temporary file is a link to a device that is always full."""
    options = Options(str(pictures / "deep/0.png"), tmp_path / "x.png", tiny_onnx, ray="auto", backend="onnxruntime")
    (tmp_path / f".translate-{hashlib.sha256(b'x.png').hexdigest()[:16]}.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot be written .No space left"):
        run_batch(options)


def test_no_such_cluster(tmp_path, pictures, tiny_onnx, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match="--ray nowhere: no cluster answers there"):
        run_batch(Options(str(pictures), tmp_path / "out", tiny_onnx, ray="nowhere", backend="onnxruntime"))


def test_without_ray(tmp_path, pictures, tiny_onnx, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="the package ray is missing"):
        run_batch(Options(str(pictures), tmp_path / "out", tiny_onnx, ray="auto", backend="onnxruntime"))
