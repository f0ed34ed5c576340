"""A model file in no time: what it computes is one formula."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from translate.inference.card import PROPERTY, Card, Values


@pytest.fixture
def tiny_onnx(tmp_path) -> Path:
    """RGB to RGB: some smoothing, and darker by `seed % 64` levels of 8 bits. With noise."""
    values = Values(channels=3)
    card = Card(
        name="tiny", network="a2b", recipe="test", source=values, target=values, noise=True, config_hash="c0ffee"
    )
    kernel = np.zeros((3, 3, 5, 5), np.float32)
    kernel[range(3), range(3)] = 1 / 25
    constants = {
        "kernel": kernel,
        "modulus": np.int64(64),
        "level": np.float32(2 / 255),
        "shape": np.array([-1, 1, 1, 1]),
    }
    steps = [
        helper.make_node("Conv", ["image", "kernel"], ["smooth"], pads=[2] * 4),
        helper.make_node("Mod", ["seed", "modulus"], ["part"]),
        helper.make_node("Cast", ["part"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["levels", "level"], ["darker"]),
        helper.make_node("Reshape", ["darker", "shape"], ["each"]),
        helper.make_node("Sub", ["smooth", "each"], ["output"]),
    ]
    picture = ["N", 3, "H", "W"]
    graph = helper.make_graph(
        steps,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, picture),
            helper.make_tensor_value_info("seed", TensorProto.INT64, ["N"]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {PROPERTY: card.text()})
    onnx.save(model, tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"
