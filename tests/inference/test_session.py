"""Every runtime gives the same pictures; norms can be measured and told; what cannot be run is named."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from translate.errors import CheckpointError, ModelError
from translate.inference import openvino_session, runtime
from translate.inference.card import PROPERTY, Card, Values
from translate.inference.networks import Deployed, Seeded, save_model, settle
from translate.inference.session import Session, open_session
from translate.inference.torch_session import TorchSession
from translate.inference.trace import trace
from translate.nn import ResNetConfig
from translate.nn.blocks import BatchNorm, Conv2d, InstanceNorm, Tanh

Array = NDArray[np.float32]

BACKENDS = ["onnxruntime", "openvino"]
backends = pytest.mark.parametrize("backend", BACKENDS)
all_backends = pytest.mark.parametrize("backend", [*BACKENDS, "torch"])
EPSILON = (1e-5, 1e-3)
CARD = Card(name="test", network="a2b", recipe="cyclegan", source=Values(channels=3), target=Values(channels=2))


def weights() -> dict[str, Array]:
    random = np.random.default_rng(0).standard_normal
    return {
        "mix": random((4, 3, 1, 1), np.float32),
        "shift": random(4, np.float32) * 5,  # means far from 0
        "scale": random(4, np.float32),
        "bias": random(4, np.float32),
        "end": random((2, 4, 1, 1), np.float32) / 4,
        "ones": np.ones(3, np.float32),
        "zeros": np.zeros(3, np.float32),
    }


def small(path: Path, card: Card | None = CARD, *, half: bool = False, opset: int = 18) -> Path:
    """norm → 1 x 1 convolution → norm with weights → convolution → tanh; `half`: float16 inside."""
    kind = np.float16 if half else np.float32
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["x"], to=TensorProto.FLOAT16 if half else TensorProto.FLOAT),
        node("InstanceNormalization", ["x", "ones", "zeros"], ["normal"]),  # epsilon left at its default
        node("Conv", ["normal", "mix", "shift"], ["mixed"]),
        node("InstanceNormalization", ["mixed", "scale", "bias"], ["scaled"], epsilon=EPSILON[1]),
        node("Conv", ["scaled", "end"], ["ended"]),
        node("Tanh", ["ended"], ["bounded"]),
        node("Cast", ["bounded"], ["output"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [numpy_helper.from_array(value.astype(kind), name) for name, value in weights().items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    if card is not None:
        helper.set_model_props(model, {PROPERTY: card.text()})
    onnx.save(model, path)
    return path


def statistics_of(x: Array) -> Array:
    wide = x.astype(np.float64)
    return np.stack([wide.mean((2, 3)), (wide**2).mean((2, 3))], 1).astype(np.float32)


def expected(image: Array, given: list[Array] | None = None) -> tuple[Array, list[Array]]:
    """`small` in float64, and the statistics of its norms."""
    w, found = {name: value.astype(np.float64) for name, value in weights().items()}, []

    def norm(x: Array, scale: Array, bias: Array) -> Array:
        index = len(found)
        found.append(statistics_of(x))
        mean, squares = (given or found)[index].astype(np.float64).transpose(1, 0, 2)[..., None, None]
        variance = np.maximum(squares - mean**2, 0)
        return (x - mean) / np.sqrt(variance + EPSILON[index]) * scale[:, None, None] + bias[:, None, None]

    x = norm(image.astype(np.float64), w["ones"], w["zeros"])
    x = np.einsum("oi,nihw->nohw", w["mix"][..., 0, 0], x) + w["shift"][:, None, None]
    x = norm(x, w["scale"], w["bias"])
    return np.tanh(np.einsum("oi,nihw->nohw", w["end"][..., 0, 0], x)).astype(np.float32), found


def pictures(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def opened(path: Path, backend: str, **settings: object) -> Session:
    return open_session(path, **{"backend": backend, "precision": "fp32", "threads": 1, **settings})  # type: ignore[arg-type]


def decibels(one: Array, other: Array) -> float:
    return float(10 * np.log10(4 / np.mean((one - other) ** 2)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("small") / "model.onnx")


class Pair:
    """A network as a checkpoint for PyTorch and as a graph, both with its card."""

    def __init__(self, folder: Path, config: ResNetConfig, card: Card) -> None:
        torch.manual_seed(0)
        network = config.build(3, 3).eval()
        self.card, self.deployed = card, Deployed(network, card)
        self.checkpoint, self.onnx = folder / "model.pt", folder / "model.onnx"
        save_model(self.checkpoint, network, config, card)
        settled = settle(network, noise=card.noise)
        graph = trace(Seeded(settled) if card.noise else settled, card, half=False)
        helper.set_model_props(graph, {PROPERTY: card.text()})
        onnx.save(graph, self.onnx)

    def session(self, backend: str, **settings: object) -> Session:
        return opened(self.checkpoint if backend == "torch" else self.onnx, backend, **settings)

    def sessions(self) -> list[Session]:
        return [self.session(backend) for backend in (*BACKENDS, "torch")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A ResNet with dropout, and batch norms that use each picture's own statistics."""
    card = Card(
        name="pair",
        network="a2b",
        recipe="imported",
        source=Values(channels=3),
        target=Values(channels=3),
        multiple=4,
        noise=True,
    )
    return Pair(tmp_path_factory.mktemp("pair"), ResNetConfig(width=4, blocks=1, norm="batch", dropout=0.5), card)


def small_torch() -> nn.Module:
    """The same network as `small`."""
    first, norm, last = Conv2d(3, 4, 1), BatchNorm(4, eps=EPSILON[1]), Conv2d(4, 2, 1, bias=False)
    w = {name: nn.Parameter(torch.from_numpy(value)) for name, value in weights().items()}
    first.weight, first.bias, norm.weight, norm.bias, last.weight = (
        w[name] for name in ("mix", "shift", "scale", "bias", "end")
    )
    norm.statistics = "image"
    return nn.Sequential(InstanceNorm(), first, norm, last, Tanh()).eval()


def small_session(backend: str, path: Path, half: bool = False) -> Session:
    if backend == "torch":
        return TorchSession(path, Deployed(small_torch(), CARD), "fp32", 1)
    return opened(small(path, half=half), backend)


@backends
def test_pictures_of_any_size(backend: str, model: Path) -> None:
    session = opened(model, backend)
    assert (session.backend, session.card, session.path) == (backend, CARD, model)
    for shape in ((1, 3, 8, 8), (2, 3, 33, 17), (1, 3, 8, 9), (3, 3, 64, 5)):
        image = pictures(*shape)
        output = session.run({"image": image})
        assert output.dtype == np.float32
        np.testing.assert_allclose(output, expected(image)[0], atol=1e-4)


@backends
def test_a_picture_may_lie_in_memory_as_it_likes(backend: str, model: Path) -> None:
    image = pictures(1, 3, 8, 8)
    rows = np.asfortranarray(image)
    frozen = image.copy()
    frozen.flags.writeable = False
    session = opened(model, backend)
    for other in (rows, frozen, np.repeat(image, 2, 3)[..., ::2]):
        np.testing.assert_array_equal(session.run({"image": other}), session.run({"image": image}))


@pytest.mark.parametrize(
    ("backend", "half"),
    [("onnxruntime", False), ("openvino", False), ("torch", False), ("onnxruntime", True), ("openvino", True)],
)
def test_norms_are_measured_and_told(backend: str, half: bool, tmp_path: Path) -> None:
    session, tolerance = small_session(backend, tmp_path / "m.onnx", half), 2e-2 if half else 1e-4
    image, other = pictures(2, 3, 16, 12), pictures(2, 3, 40, 8, seed=1) * 3 + 0.5
    output, statistics = session.measure({"image": image})
    truth, true_statistics = expected(image)
    np.testing.assert_allclose(output, truth, atol=tolerance)
    assert [array.shape for array in statistics] == [(2, 2, 3), (2, 2, 4)]
    for found, true in zip(statistics, true_statistics, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, true, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(session.run({"image": image}, statistics), output, atol=tolerance)
    _, foreign = session.measure({"image": other})
    told = session.run({"image": image}, foreign)
    np.testing.assert_allclose(told, expected(image, foreign)[0], atol=tolerance)
    assert abs(told - output).max() > 0.1


@all_backends
def test_a_variance_is_never_negative(backend: str, tmp_path: Path) -> None:
    """Rounding can make E[x²] a little less than mean²."""
    image = pictures(1, 3, 8, 8)
    flat = [np.array([[[1.0] * 3, [0.9999999] * 3]], np.float32), np.array([[[9.0] * 4, [80.9] * 4]], np.float32)]
    output = small_session(backend, tmp_path / "m.onnx").run({"image": image}, flat)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(output, expected(image, flat)[0], atol=1e-3)


def test_every_runtime_gives_the_same_pictures(pair: Pair) -> None:
    first, *others = pair.sessions()
    for shape, seeds in (((1, 3, 32, 32), [7]), ((2, 3, 16, 48), [0, 2**31 - 1])):
        inputs = {"image": pictures(*shape), "seed": np.array(seeds)}
        output, statistics = first.measure(inputs)
        assert len(statistics) == 7
        np.testing.assert_allclose(first.run(inputs, statistics), output, atol=1e-4)
        for other in others:
            np.testing.assert_allclose(other.run(inputs), output, atol=1e-4)
            measured, theirs = other.measure(inputs)
            np.testing.assert_allclose(measured, output, atol=1e-4)
            for one, two in zip(statistics, theirs, strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(other.run(inputs, statistics), output, atol=1e-4)


@all_backends
def test_noise_follows_from_its_seed(backend: str, pair: Pair) -> None:
    session, image = pair.session(backend), pictures(1, 3, 32, 32)
    one, again, other = (session.run({"image": image, "seed": np.array([seed])}) for seed in (5, 5, 6))
    np.testing.assert_array_equal(again, one)
    assert abs(other - one).mean() > 1e-3
    both = session.run({"image": np.repeat(image, 2, 0), "seed": np.array([6, 5])})
    np.testing.assert_allclose(both, np.concatenate([other, one]), atol=1e-5)


@all_backends
def test_eight_threads_at_once(backend: str, pair: Pair) -> None:
    session = pair.session(backend, lanes=2)
    inputs = [{"image": pictures(1, 3, 32, 32 * (1 + i % 3), seed=i), "seed": np.array([i])} for i in range(8)]
    measured = [session.measure(one) for one in inputs]
    plain = [session.run(one) for one in inputs]

    def work(index: int) -> bool:
        index %= 8
        one, (output, statistics) = inputs[index], measured[index]
        again, found = session.measure(one)
        results = [again, session.run(one), session.run(one, statistics)]
        return all(abs(result - output).max() < 1e-4 for result in results) and all(
            np.allclose(a, b, atol=1e-5) for a, b in zip(found, statistics, strict=True)
        )

    fresh = opened(session.path, backend, lanes=2)  # whose variants several threads ask for at once
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))
        for result, output in zip(pool.map(fresh.measure, inputs), plain, strict=True):
            np.testing.assert_allclose(result[0], output, atol=1e-4)


def test_lower_precision_is_close(pair: Pair) -> None:
    inputs = {"image": pictures(1, 3, 64, 64), "seed": np.array([1])}
    exact = opened(pair.onnx, "onnxruntime").run(inputs)
    assert decibels(opened(pair.onnx, "openvino", precision="auto").run(inputs), exact) > 40
    assert decibels(opened(pair.checkpoint, "torch", precision="auto").run(inputs), exact) > 40
    session = opened(pair.checkpoint, "torch", precision="bf16")
    output, statistics = session.measure(inputs)
    assert 40 < decibels(output, exact) < 100
    assert decibels(session.run(inputs, statistics), exact) > 40


def test_precision_that_cannot_be_had(model: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="onnxruntime has no bf16"):
        opened(model, "onnxruntime", precision="bf16")
    with pytest.raises(ModelError, match=r"holds an fp32.*--precision fp16"):
        opened(model, "onnxruntime", precision="fp16")
    half = small(tmp_path / "half.onnx", CARD.replace(precision="fp16"), half=True)
    image = pictures(1, 3, 8, 8)
    np.testing.assert_allclose(
        opened(half, "onnxruntime", precision="fp16").run({"image": image}), expected(image)[0], atol=2e-2
    )
    with pytest.raises(ModelError, match="torch has no fp16 on a CPU"):
        opened(pair.checkpoint, "torch", precision="fp16")
    openvino = openvino_session.import_openvino()

    class Old(openvino.Core):  # type: ignore[misc,name-defined]
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino_session, "core", Old)
    for precision in ("bf16", "fp16"):
        with pytest.raises(ModelError, match=f"this CPU has no {precision} .*FP32, INT8"):
            opened(model, "openvino", precision=precision)


CLIPPED = [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999]


@backends
def test_damaged_files_are_named(backend: str, model: Path, tmp_path: Path) -> None:
    whole, damaged = model.read_bytes(), tmp_path / "damaged.onnx"
    contents = [whole[: int(len(whole) * share)] for share in CLIPPED]
    contents += [b"\0" * 1000, b"text, and not a model\n" * 40, np.random.default_rng(0).bytes(5000)]
    contents += [b"GIF89a" + whole, b"PK\3\4" + whole]
    for content in contents:
        damaged.write_bytes(content)
        with pytest.raises(ModelError, match=r"damaged\.onnx: "):
            opened(damaged, backend)


@backends
def test_changed_bytes_do_no_harm(backend: str, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random, damaged = np.random.default_rng(0), tmp_path / "damaged.onnx"
    told = []
    for _ in range(60):
        content = bytearray(model.read_bytes())
        content[random.integers(len(content))] ^= 1 << random.integers(8)
        damaged.write_bytes(content)
        try:
            opened(damaged, backend).run({"image": IMAGE})
        except ModelError as error:
            told.append(str(error))
    assert 0 < len(told) < 60
    assert all("damaged.onnx: " in message for message in told)
    assert capfd.readouterr() == ("", "")


@backends
def test_files_of_other_programs_are_named(backend: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"bare\.onnx: not exported by this program.*translate export"):
        opened(small(tmp_path / "bare.onnx", None), backend)
    file = onnx.load(small(tmp_path / "future.onnx"))
    file.graph.node[-2].op_type = "Frobnicate"
    onnx.save(file, tmp_path / "future.onnx")
    with pytest.raises(ModelError, match=r"future\.onnx: damaged, or not a model that.*Frobnicate"):
        opened(tmp_path / "future.onnx", backend)
    helper.set_model_props(file, {PROPERTY: '{"version": 2}'})
    file.graph.node[-2].op_type = "Tanh"
    onnx.save(file, tmp_path / "later.onnx")
    with pytest.raises(ModelError, match=r"(?s)later\.onnx: its metadata cannot be used .*update this program"):
        opened(tmp_path / "later.onnx", backend)


def test_an_opset_of_the_future_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"m\.onnx: damaged, or not a model that onnxruntime can run .*opset"):
        opened(small(tmp_path / "m.onnx", opset=999), "onnxruntime")


IMAGE = pictures(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({}, "takes image; given: nothing"),
        ({"image": IMAGE, "seed": np.array([1])}, "takes image; given: image, seed"),
        ({"picture": IMAGE}, "takes image; given: picture"),
        ({"image": IMAGE.astype(np.float64)}, r"image must be float32 \[N, 3, H, W\].*not float64 \[1, 3, 8, 8\]"),
        ({"image": IMAGE[0]}, r"not float32 \[3, 8, 8\]"),
        ({"image": IMAGE[:, :2]}, r"not float32 \[1, 2, 8, 8\]"),
        ({"image": IMAGE[:0]}, r"not float32 \[0, 3, 8, 8\]"),
        ({"image": IMAGE[..., :0]}, r"not float32 \[1, 3, 8, 0\]"),
        ({"image": np.float32(1)}, r"not float32 \[\]"),
    ],
)
def test_inputs_that_the_network_does_not_take(inputs: dict[str, Array], told: str, model: Path) -> None:
    session = opened(model, "onnxruntime")
    for call in (session.run, session.measure):
        with pytest.raises(ModelError, match=rf"model\.onnx: .*{told}"):
            call(inputs)


@pytest.mark.parametrize(
    ("width", "seed", "told"),
    [
        (30, [0], "multiples of 4"),
        (32, [-1], "seed must be int64"),
        (32, [2**31], "from 0 to 2147483647"),
        (32, [0, 1], "one N for all"),
        (32, [0.5], "not float64"),
        (32, [[0]], r"not int64 \[1, 1\]"),
    ],
)
def test_seeds_and_sizes_that_the_network_does_not_take(width: int, seed: list, told: str, pair: Pair) -> None:
    with pytest.raises(ModelError, match=told):
        opened(pair.onnx, "onnxruntime").run({"image": pictures(1, 3, 32, width), "seed": np.array(seed)})


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])  # openvino reflects what is not there
def test_what_a_runtime_cannot_do_is_told(backend: str, pair: Pair) -> None:
    """4 pixels become 1, which has nothing to reflect; the session is as good as before."""
    session = pair.session(backend)
    image, seed = pictures(1, 3, 16, 16), np.array([1])
    before = session.run({"image": image, "seed": seed})
    with pytest.raises(ModelError, match=rf"model\.\w+: {backend} failed \("):
        session.run({"image": image[..., :4, :4], "seed": seed})
    np.testing.assert_array_equal(session.run({"image": image, "seed": seed}), before)


def test_paths_that_are_no_model(tmp_path: Path, model: Path, pair: Pair) -> None:
    for name in ("no.onnx", "no.pt", "x" * 300 + ".onnx", "no\0.onnx"):
        with pytest.raises(ModelError, match=r"a model is an \.onnx file, a checkpoint or a run folder"):
            open_session(tmp_path / name)
    with pytest.raises(CheckpointError, match="not a run folder"):
        open_session(tmp_path)
    with pytest.raises(ModelError, match="torch takes run folders and checkpoints"):
        open_session(model, backend="torch")
    with pytest.raises(ModelError, match=r"onnxruntime takes \.onnx files.*translate export"):
        open_session(pair.checkpoint, backend="onnxruntime")
    with pytest.raises(ModelError, match="is a2b, not b2a"):
        open_session(model, direction="b2a")
    with pytest.raises(ModelError, match=r"unknown direction 'a2c'.*did you mean 'a2b'"):
        open_session(pair.checkpoint, direction="a2c")
    assert open_session(model, direction="a2b").card == CARD


def test_a_run_folder_is_its_export_unless_that_is_old(tmp_path: Path, pair: Pair) -> None:
    """CheckpointError: this run has no checkpoint that could be read, so it is known what was chosen."""
    export, checkpoints = tmp_path / "export", tmp_path / "checkpoints"
    export.mkdir()
    checkpoints.mkdir()
    exported = small(export / "a2b.onnx")
    assert open_session(tmp_path).path == exported
    best, last = checkpoints / "best.pt", checkpoints / "last.pt"
    last.touch()
    os.utime(exported, (1000, 1000))
    os.utime(last, (2000, 2000))
    with pytest.raises(CheckpointError, match=r"last\.pt: damaged"):
        open_session(tmp_path)
    best.write_bytes(pair.checkpoint.read_bytes())
    os.utime(best, (1000, 1000))
    assert open_session(tmp_path).path == exported
    assert open_session(tmp_path, direction="a2b", backend="torch", threads=1).path == best
    with pytest.raises(ModelError, match="unknown direction 'b2a'"):
        open_session(tmp_path, direction="b2a")
    other = small(export / "b2a.onnx", CARD.replace(network="b2a"))
    small(export / "b2a-int8.onnx", CARD.replace(network="b2a", precision="int8"))
    with pytest.raises(ModelError, match="has several networks: choose a direction of a2b, b2a"):
        open_session(tmp_path)
    assert open_session(tmp_path, direction="b2a").path == other
    half = small(export / "b2a-fp16.onnx", CARD.replace(network="b2a", precision="fp16"), half=True)
    assert open_session(tmp_path, direction="b2a", precision="fp16", backend="onnxruntime").path == half


def test_a_checkpoint_of_several_networks_needs_a_direction(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"a2b": pair.deployed, "b2a": pair.deployed}
    monkeypatch.setattr("translate.inference.torch_session.load_networks", lambda path: both)
    with pytest.raises(ModelError, match="choose a direction of a2b, b2a"):
        open_session(pair.checkpoint, threads=1)
    assert open_session(pair.checkpoint, direction="b2a", threads=1).backend == "torch"


def test_copies_for_threads_share_their_weights(pair: Pair) -> None:
    session = TorchSession.open(pair.checkpoint, None, "fp32", 1)
    with session._borrowed() as one, session._borrowed() as two:
        assert one is not two
        assert [p.data_ptr() for p in one.parameters()] == [p.data_ptr() for p in two.parameters()]
        assert {id(layer) for layer in one.modules()}.isdisjoint(map(id, two.modules()))


def test_openvino_is_chosen_where_it_is_and_named_where_it_is_not(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_session(model).backend == "openvino"
    monkeypatch.setattr(runtime, "gpu_available", lambda: True)
    with pytest.warns(RuntimeWarning, match="although there is a GPU.*pip install"):
        session = open_session(model, threads=1)
    assert session.backend == "onnxruntime"
    np.testing.assert_allclose(session.run({"image": IMAGE}), expected(IMAGE)[0], atol=1e-4)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModelError, match=r"pip install 'translate\[openvino\]'"):
        open_session(model, backend="openvino")


def test_inputs_and_outputs_can_be_bound(model: Path) -> None:
    """The way to a GPU, with the CPU as the device."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (output,) = runtime.run_bound(session, {"image": IMAGE}, "cpu")
    np.testing.assert_allclose(output, expected(IMAGE)[0], atol=1e-4)


class Driver:
    def __init__(self, started: int, count: int) -> None:
        self.started, self.count = started, count

    def cuInit(self, flags: int) -> int:
        return self.started

    def cuDeviceGetCount(self, count: object) -> int:
        count._obj.value = self.count  # type: ignore[attr-defined]
        return 0


@pytest.mark.parametrize(("driver", "there"), [(Driver(0, 1), True), (Driver(0, 0), False), (Driver(100, 1), False)])
def test_a_gpu_is_what_the_driver_sees(driver: Driver, there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("ctypes.CDLL", lambda name: driver)
    assert runtime.gpu_available() is there


def resident() -> float:
    """Memory in use, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_memory_follows_the_size_in_hand(model: Path) -> None:
    session = opened(model, "onnxruntime")
    session.run({"image": IMAGE})
    before = resident()
    large = pictures(1, 3, 2048, 2048)
    for _ in range(2):
        session.run({"image": large})
    kept = resident() - before
    del large
    session.run({"image": IMAGE})
    assert resident() - before < 40 < kept


OPEN = """
import sys, threading
sys.modules["torch"] = None
from pathlib import Path
import numpy as np
from translate.inference.session import open_session
before = {"onnxruntime", "openvino", "onnx"} & set(sys.modules)
image = np.zeros((1, 3, 8, 8), np.float32)
for backend in ("onnxruntime", "openvino"):
    session = open_session(Path(sys.argv[1]), backend=backend)
    session.run({"image": image})
    assert "onnx" not in sys.modules
_, statistics = session.measure({"image": image})
session.run({"image": image}, statistics)
heavy = {"torchvision", "albumentations", "scipy", "openvino_telemetry", "openvino.tools.ovc"}
print(before, heavy & set(sys.modules))
"""


def test_nothing_heavy_nothing_printed_nobody_told(model: Path, tmp_path: Path) -> None:
    """OpenVINO's tools report their import to a server; a folder in the home directory tells that they did."""
    command = [sys.executable, "-W", "error", "-c", OPEN, str(model)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert (result.stderr, result.stdout) == ("", "set() set()\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kernel", "extra"), [(4, 0), (3, 1)])
def test_upsampling_by_convolutions_is_the_same_sum(kernel: int, extra: int) -> None:
    openvino = openvino_session.import_openvino()
    from openvino import opset13 as ops

    rng = np.random.default_rng(0)
    image = ops.parameter([-1, 3, -1, -1], np.float32)
    weights = ops.constant(rng.standard_normal((3, 5, kernel, kernel)).astype(np.float32))
    doubled = ops.convolution_backprop_data(
        image, weights, [2, 2], pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1], output_padding=[extra, extra]
    )
    plain = ops.convolution_backprop_data(image, weights, [1, 1], pads_begin=[1, 1], pads_end=[1, 1])
    model = openvino.Model([doubled, plain], [image])
    x = rng.standard_normal((2, 3, 5, 8)).astype(np.float32)

    def computed() -> list[np.ndarray]:
        compiled = openvino_session.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return list(compiled([x]).values())

    before = computed()
    openvino_session.upsample_by_convolutions(model)
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert (kinds.count("ConvolutionBackpropData"), kinds.count("DepthToSpace")) == (1, 1)
    assert before[0].shape == (2, 5, 10, 16)
    for a, b in zip(before, computed(), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_opened_for_once_it_does_the_same(model: Path) -> None:
    image = pictures(1, 3, 16, 16)
    for backend in BACKENDS:
        once, often = (open_session(model, backend=backend, precision="fp32", once=flag) for flag in (True, False))
        np.testing.assert_allclose(once.run({"image": image}), often.run({"image": image}), atol=1e-5)


ELSEWHERE = """
import gc, signal, subprocess, sys, threading
from pathlib import Path
from translate.inference.session import open_session
sessions = [open_session(Path(sys.argv[1]), backend="openvino")]
def drop():
    sessions.clear()
    gc.collect()
thread = threading.Thread(target=drop)
thread.start()
thread.join()
signal.signal(signal.SIGCHLD, lambda *_: None)  # as torch's DataLoader does
subprocess.run([sys.executable, "-c", ""], check=True)
print("alive")
"""


def test_a_session_that_another_thread_drops_leaves_signals_alone(model: Path) -> None:
    """OpenVINO's CPU plugin gives its thread a stack for signals, and frees it with the last core, wherever that is."""
    result = subprocess.run([sys.executable, "-c", ELSEWHERE, str(model)], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "alive\n")


SIZES = """
import os, sys
from pathlib import Path
import numpy as np
from translate.inference.session import open_session
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
session = open_session(Path(sys.argv[1]), backend="openvino", precision="fp32", threads=1)
for i in range(700):
    session.run({"image": np.zeros((1, 3, 16 + 4 * (i % 16), 16 + 4 * (i // 16)), np.float32)})
    if i == 300:
        few = resident()
print(resident() - few)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_many_sizes_do_not_fill_the_memory(model: Path) -> None:
    """Left to itself OpenVINO takes 114 MB for these 400 sizes, and 1 to 2 MB for each size of a real network."""
    command = [sys.executable, "-c", SIZES, str(model)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 50
