"""Tiny ONNX models whose pictures can be told in advance. None of these tests needs torch."""

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from translate.inference.card import PROPERTY, Card, Values
from translate.serving.app import Options, Running, running

RGB, GREY = Values(channels=3, bits=8), Values(channels=1, bits=8)
IMAGE = ("image", TensorProto.FLOAT, ["N", "C", "H", "W"])
SEED = ("seed", TensorProto.INT64, ["N"])


def save(
    path: Path, card: Card, inputs: Sequence[tuple[str, int, list[Any]]], nodes: list[Any], **constants: Any
) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", "D", "H", "W"])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {PROPERTY: card.text()})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def negative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """255 - x."""
    card = Card(name="negative", network="translator", recipe="pix2pix", source=RGB, target=RGB, multiple=4, step=1200)
    path = tmp_path_factory.mktemp("models") / "negative.onnx"
    return save(path, card, [IMAGE], [helper.make_node("Neg", ["image"], ["output"])])


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of seed s the fraction of 0.3 s times x, in [-1, 1]: seed 0 is grey all over."""
    card = Card(name="noisy", network="translator", recipe="pix2pix", source=RGB, target=RGB, noise=True)
    nodes = [
        helper.make_node("Cast", ["seed"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "step"], ["product"]),
        helper.make_node("Mod", ["product", "one"], ["part"], fmod=1),
        helper.make_node("Reshape", ["part", "shape"], ["factor"]),
        helper.make_node("Mul", ["image", "factor"], ["output"]),
    ]
    constants = {"step": np.float32(0.3), "one": np.float32(1), "shape": [-1, 1, 1, 1]}
    return save(tmp_path_factory.mktemp("models") / "noisy.onnx", card, [IMAGE, SEED], nodes, **constants)


@pytest.fixture(scope="session")
def sketch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey x into (x, -x, x)."""
    card = Card(name="sketch", network="translator", recipe="pix2pix", source=GREY, target=RGB, trained_size=(64, 64))
    nodes = [
        helper.make_node("Neg", ["image"], ["less"]),
        helper.make_node("Concat", ["image", "less", "image"], ["output"], axis=1),
    ]
    return save(tmp_path_factory.mktemp("models") / "sketch.onnx", card, [IMAGE], nodes)


@pytest.fixture(scope="session")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two latent numbers and one of two classes into 8 x 8 pixels."""
    card = Card(
        name="numbers", network="generator", recipe="gan", source=None, target=RGB, latent=2, labels=("low", "high")
    )
    nodes = [
        helper.make_node("MatMul", ["latent", "weights"], ["flat"]),
        helper.make_node("Gather", ["levels", "label"], ["level"]),
        helper.make_node("Add", ["flat", "level"], ["sum"]),
        helper.make_node("Reshape", ["sum", "shape"], ["output"]),
    ]
    weights = np.random.default_rng(0).normal(0, 0.2, (2, 192)).astype(np.float32)
    inputs = [("latent", TensorProto.FLOAT, ["N", 2]), ("label", TensorProto.INT64, ["N"])]
    levels = np.array([[-0.5], [0.5]], np.float32)
    return save(
        tmp_path_factory.mktemp("models") / "numbers.onnx",
        card,
        inputs,
        nodes,
        weights=weights,
        levels=levels,
        shape=[-1, 3, 8, 8],
    )


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two exported networks and a grid of samples."""
    folder = tmp_path_factory.mktemp("runs") / "h2z"
    for network, operation in (("a2b", "Neg"), ("b2a", "Identity")):
        card = Card(name="h2z", network=network, recipe="cyclegan", source=RGB, target=RGB)
        save(folder / "export" / f"{network}.onnx", card, [IMAGE], [helper.make_node(operation, ["image"], ["output"])])
    (folder / "samples").mkdir()
    for step, colour in ((100, "red"), (2000, "green")):
        Image.new("RGB", (40, 20), colour).save(folder / "samples" / f"step-{step:08d}.png")
    return folder


@pytest.fixture(scope="module")
def server(negative: Path, noisy: Path, run: Path, photo: Path) -> Iterator[Running]:
    options = Options(
        (negative, noisy, run), port=free_port(), examples=photo.parent, max_upload_mb=1, max_megapixels=1
    )
    with running(options) as server:
        yield server


@pytest.fixture
def free() -> int:
    return free_port()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 x 32 pixels with something to see."""
    ramp = np.linspace(0, 255, 48, dtype=np.uint8)[None].repeat(32, axis=0)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(np.stack([ramp, ramp[::-1, ::-1], np.full_like(ramp, 90)], axis=2)).save(path)
    return path
