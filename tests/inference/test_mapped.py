"""Weights that are mapped from the file: the same model, the same answers, and the usual ones where that cannot be."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from translate.inference import runtime
from translate.inference.mapped import aligned, without_weights
from translate.inference.runtime import _mapped, _options, compile_onnx

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.standard_normal((2, 3, 16, 16)).astype(np.float32)


@pytest.fixture
def model() -> onnx.ModelProto:
    """Weights of 55 kB, 6 kB and 12 bytes, the first with a doc_string, a constant of 8 kB in a node, and text at the end."""
    weights = {
        "first": RANDOM.standard_normal((512, 3, 3, 3)).astype(np.float32),
        "second": RANDOM.standard_normal((3, 512, 1, 1)).astype(np.float32),
        "bias": RANDOM.standard_normal(3).astype(np.float32),
    }
    picture = ["N", 3, "H", "W"]
    constant = numpy_helper.from_array(RANDOM.standard_normal((1, 512, 2, 2)).astype(np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "first"], ["hidden"], pads=[1] * 4),
            helper.make_node("Constant", [], ["constant"], value=constant),
            helper.make_node("ReduceMean", ["constant"], ["mean"]),
            helper.make_node("Mul", ["hidden", "mean"], ["scaled"]),
            helper.make_node("Conv", ["scaled", "second", "bias"], ["output"]),
        ],
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, picture)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    graph.initializer[0].doc_string = "the first"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(made, {"translate": "text"})
    return made


@pytest.fixture
def path(model: onnx.ModelProto, tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(aligned(model.SerializeToString()))
    return tmp_path / "model.onnx"


def test_aligning_changes_nothing_but_the_place_of_large_weights(model: onnx.ModelProto, path: Path) -> None:
    content = path.read_bytes()
    for name in ("first", "second"):
        weights = next(weight for weight in model.graph.initializer if weight.name == name).raw_data
        assert content.index(weights) % 64 == 0
    found = onnx.load(path)
    onnx.checker.check_model(found, full_check=True)
    assert found.graph.initializer[0].doc_string == "the first"
    assert found.graph.initializer[1].doc_string.strip() == ""
    found.graph.initializer[1].ClearField("doc_string")
    assert found == model


def test_large_weights_are_left_out(model: onnx.ModelProto, path: Path) -> None:
    rest = without_weights(path)
    assert len(rest) < 10_000  # of which 8,192 are the constant
    assert onnx.load_from_string(rest).graph.initializer[2] == model.graph.initializer[2]
    whole = onnx.load_from_string(rest)
    onnx.external_data_helper.load_external_data_for_model(whole, str(path.parent))
    for weight, same in zip(whole.graph.initializer, model.graph.initializer, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(weight), numpy_helper.to_array(same))


def test_answers_are_the_same(path: Path) -> None:
    link = path.with_name("link")
    link.mkdir()
    (link / "model.onnx").symlink_to(path)
    usual = compile_onnx(path, threads=1, exact=True, once=False)
    for place in (path, link / "model.onnx"):
        session = _mapped(place, _options(1, True))
        assert session is not None
        np.testing.assert_array_equal(session.run(None, {"image": IMAGE})[0], usual.network({"image": IMAGE})[0])
        opened = compile_onnx(place, threads=1, exact=True, once=True)
        np.testing.assert_array_equal(opened.network({"image": IMAGE})[0], usual.network({"image": IMAGE})[0])
        assert opened.metadata == usual.metadata == {"translate": "text"}


def test_other_peoples_files_are_opened_as_they_are(model: onnx.ModelProto, path: Path) -> None:
    expected = compile_onnx(path, threads=1, exact=True, once=True).network({"image": IMAGE})[0]
    shifted = path.with_name("shifted.onnx")
    for name in range(64):  # the name stands before the weights: these begin everywhere
        model.graph.name = "n" * (name + 1)
        shifted.write_bytes(model.SerializeToString())
        kept = len(without_weights(shifted)) > 60_000
        places = [shifted.read_bytes().index(weight.raw_data) % 64 for weight in model.graph.initializer[:1]]
        assert kept == (places != [0])
        found = compile_onnx(shifted, threads=1, exact=True, once=True).network({"image": IMAGE})[0]
        np.testing.assert_array_equal(found, expected)
    beside = path.with_name("beside.onnx")
    onnx.save(model, beside, save_as_external_data=True, location="weights", size_threshold=0)
    found = compile_onnx(beside, threads=1, exact=True, once=True).network({"image": IMAGE})[0]
    np.testing.assert_array_equal(found, expected)


def test_what_is_no_model_is_refused(path: Path) -> None:
    content = path.read_bytes()
    for cut in (1, 3, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"^byte \d+: "):
            without_weights(path)
        assert _mapped(path, _options(1, True)) is None
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match="byte 0: no number of a protobuf"):
        without_weights(path)
    path.write_bytes(b"\x0b\x00")
    with pytest.raises(ValueError, match="byte 0: no field of a protobuf"):
        without_weights(path)
    path.write_bytes(b"\x08\x01" * 10_000_000)
    with pytest.raises(ValueError, match="byte 200000: more fields than a network has"):
        without_weights(path)
    path.write_bytes(b"")
    assert _mapped(path, _options(1, True)) is None


def test_one_picture_alone_takes_the_weights_from_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(runtime, "without_weights", lambda path: (read.append(path), without_weights(path))[1])
    compile_onnx(path, threads=1, exact=True, once=False)  # it may be written over before the session ends
    assert read == []
    compile_onnx(path, threads=1, exact=True, once=True)
    assert read == [path.resolve()]
