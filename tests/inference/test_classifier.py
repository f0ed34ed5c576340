"""A classifier adapted to another domain, as ONNX: logits of any number of images of its own size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from translate.cli import main
from translate.errors import ModelError
from translate.inference.networks import load_networks
from translate.inference.translator import Translator
from translate.training.start import train

CONFIG = """
recipe: {{kind: dann, network: {network}, discriminator: {{width: 4}}}}
data: {{kind: digits, root: {root}, batch_size: 8}}
optimizer: {{kind: adam, lr: 1e-3}}
schedule: {{kind: constant, epochs: 1}}
validation: {{every: 4, count: 10, samples: 2}}
log: {{every: 2}}
ema: 0.5
"""


@pytest.fixture
def run(request: Any, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count, side in (("mnist", 60, 28), ("usps_train", 40, 16), ("usps_test", 12, 16)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        arrays[f"{name}_labels"] = (np.arange(count) % 10).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", **arrays)
    config = tmp_path / "dann.yaml"
    config.write_text(CONFIG.format(root=tmp_path, network=request.param))
    assert train(str(config), (), tmp_path / "run", steps=4).finished
    return tmp_path / "run"


@pytest.mark.parametrize(
    "run", ["{kind: mnist, widths: [3, 4, 5], norm: batch}", "{kind: residual, widths: [4, 6]}"], indirect=True
)
def test_train_export_run(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("val/accuracy" in row and "val/loss" in row for row in rows)
    assert (run / "samples/step-00000004.png").is_file()
    assert "accuracy" in (run / "report.html").read_text()
    assert main(["export", str(run)]) == 0
    path = run / "export" / "classifier.onnx"
    network, card = load_networks(run)["classifier"]
    assert card.outputs == tuple("0123456789")
    assert card.trained_size == (28, 28)
    session = onnxruntime.InferenceSession(str(path))
    images = np.random.default_rng(1).random((5, 1, 28, 28), np.float32) * 2 - 1
    (logits,) = session.run(["output"], {"image": images})
    assert logits.shape == (5, 10)
    np.testing.assert_allclose(logits, network(torch.from_numpy(images)).numpy(), atol=1e-4)
    graph = onnx.load(path)
    assert [d.dim_param or d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim] == ["batch", 1, 28, 28]
    with pytest.raises(ModelError, match=r"names 0, 1, .*, it makes no pictures: run its ONNX file with onnxruntime"):
        Translator.load(path)
