"""What is begun before the rest is imported: the model's hash, and ONNX Runtime for a single picture."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from translate.errors import ModelError
from translate.inference.ahead import begin
from translate.inference.batch import Options, run_batch
from translate.inference.session import open_session

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (16, 16), (9, 99, 199)).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_picture_finds_its_model_opened(tiny_onnx: Path, picture: Path) -> None:
    ahead = begin(tiny_onnx, str(picture), "onnxruntime", "auto")
    assert ahead.once
    assert ahead.model_hash is not None
    assert ahead.opened is not None
    assert ahead.model_hash.result() == hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()
    session = open_session(tiny_onnx, backend="onnxruntime", once=True, opened=ahead.opened)
    inputs = {"image": IMAGE, "seed": np.zeros(1, np.int64)}
    np.testing.assert_array_equal(
        session.run(inputs), open_session(tiny_onnx, backend="onnxruntime", once=True).run(inputs)
    )


def test_nothing_is_opened_that_is_not_asked_for(tiny_onnx: Path, picture: Path) -> None:
    np.save(picture.with_name("many.npy"), np.zeros((4, 8, 8, 3), np.uint8))
    picture.with_name("large.png").write_bytes(bytes(1 << 20))
    for input in (picture.parent, picture.with_name("many.npy"), picture.with_name("large.png"), "n" * 300, "*.png"):
        ahead = begin(tiny_onnx, str(input), "onnxruntime", "auto")
        assert (ahead.once, ahead.opened) == (False, None)
    assert begin(tiny_onnx, str(picture), "openvino", "auto").opened is None
    assert begin(tiny_onnx.parent, str(picture), "onnxruntime", "auto")[1:] == (None, None)
    assert begin(Path("n" * 300 + ".onnx"), str(picture), "onnxruntime", "auto")[1:] == (None, None)


def test_what_goes_wrong_is_said_as_ever(tiny_onnx: Path, picture: Path) -> None:
    damaged = tiny_onnx.with_name("damaged.onnx")
    damaged.write_bytes(tiny_onnx.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"damaged\.onnx: damaged, or not a model that onnxruntime can run"):
        run_batch(Options(str(picture), picture.with_name("out.png"), damaged, backend="onnxruntime"))
    assert not picture.with_name("out.png").exists()


def test_it_can_begin_before_the_rest_is_there() -> None:
    """Or nothing would be gained."""
    heavy = {"numpy", "PIL", "pydantic", "onnxruntime", "torch", "translate.inference.session"}
    code = "import sys, translate.inference.ahead; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(done.stdout.split())
    code = "import sys, translate.inference.runtime; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PIL" not in done.stdout.split()


def test_pydantic_is_not_waited_for(tiny_onnx: Path, picture: Path) -> None:
    """Its import takes a tenth of a second."""
    arguments = [str(picture), str(picture.with_name("out.png")), "--model", str(tiny_onnx), "--backend", "onnxruntime"]
    code = "import sys; from translate.cli import main; assert main(sys.argv[1:]) == 0; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "batch", *arguments], capture_output=True, text=True, check=True)
    assert picture.with_name("out.png").exists()
    assert {"pydantic", "torch"}.isdisjoint(done.stdout.split())
