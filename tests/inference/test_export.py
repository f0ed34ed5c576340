"""Networks as ONNX files: what is in them, that they compute what PyTorch does, and that a wrong one is never written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from translate import __version__
from translate.cli import main
from translate.errors import DataError, ModelError
from translate.inference import verify
from translate.inference.card import PROPERTY, Card, Values
from translate.inference.export import export, export_network
from translate.inference.mapped import without_weights
from translate.inference.networks import Seeded, load_networks, norm_of, settle
from translate.inference.quantise import quantise
from translate.inference.trace import trace
from translate.nn import ResNetConfig, UNetConfig
from translate.nn.blocks import BatchNorm, InstanceNorm
from translate.nn.precision import set_precision

RGB = Values(channels=3)
CONFIGS: dict[str, UNetConfig | ResNetConfig] = {
    "unet3": UNetConfig(width=4, depth=3),
    "unet4": UNetConfig(width=4, depth=4),
    "unet5": UNetConfig(width=4, depth=5),
    "unet6": UNetConfig(width=4, depth=6),  # the shallowest with dropout
    "resnet": ResNetConfig(width=4, blocks=2, dropout=0.5),
    "resize": ResNetConfig(width=4, blocks=1, upsampling="resize"),
}


def build(name: str, norm: str = "instance", **changes: object) -> tuple[nn.Module, Card]:
    """A network whose outputs fill the range, so that a difference from them means something."""
    statistics = {"image": "image", "running": "running"}.get(norm)
    update = {"norm": "batch", "batch_norm_at_test": statistics} if statistics else {"norm": norm}
    config = CONFIGS[name].model_copy(update=update | changes)
    torch.manual_seed(0)
    network = config.build(3, 3)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(2, 3, config.multiple * 2, config.multiple * 2) * 2 - 1)  # moves the running statistics
    values = {"name": "test", "network": "translator", "recipe": "test", "source": RGB, "target": RGB}
    return network.eval(), Card(**values, multiple=config.multiple, norm=norm_of(network))  # type: ignore[arg-type]


def run(path: Path, *inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return torch.from_numpy(session.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))[0])


def nodes(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def images(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(height + width)) * 2 - 1


def same_at_three_sizes(path: Path, network: nn.Module, card: Card, psnr: float | None = None) -> None:
    """Down to a bottleneck of 1 x 1 and of 2 x 2."""
    m, least = card.multiple, max(card.multiple, 8)
    reference = Seeded(settle(network, noise=True)) if card.noise else settle(network, noise=False)
    for count, height, width in ((1, least, least), (2, 2 * m + 8 - 8 % m, 3 * least), (3, 4 * m, 2 * least)):
        inputs = [images(count, height, width)] + [torch.arange(count) * 12345 + 7] * card.noise
        with torch.inference_mode():
            truth = reference(*inputs)
        found = run(path, *inputs)
        assert truth.std() > 0.1
        if psnr is None:
            torch.testing.assert_close(found, truth, rtol=0, atol=1e-4)
        else:
            assert 10 * torch.log10(4 / (found - truth).square().mean()) > psnr


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, Card]:
    """A network in the state that training leaves it in, exported with its noise."""
    network, card = build("resnet", "image", blocks=1)
    network.train().to(memory_format=torch.channels_last)
    set_precision(network, torch.bfloat16)
    path = tmp_path_factory.mktemp("noisy") / "deep" / "noisy.onnx"
    final = export_network(network, card.replace(licence="CC0"), path, noise=True)
    set_precision(network, None)
    return path, network.eval(), final


def test_a_file_says_what_it_is(noisy: tuple[Path, nn.Module, Card]) -> None:
    path, _, card = noisy
    model = onnx.load(path)
    assert Card.parse({entry.key: entry.value for entry in model.metadata_props}[PROPERTY], "test") == card
    assert (card.noise, card.norm, card.precision, card.licence) == (True, "image", "fp32", "CC0")
    assert (card.package, card.opset) == (__version__, 18)
    assert 0 < card.parity["difference"] <= 1e-4
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    values = (*model.graph.input, *model.graph.output)
    shapes = {v.name: [axis.dim_param or axis.dim_value for axis in v.type.tensor_type.shape.dim] for v in values}
    picture = ["batch", 3, "height", "width"]
    assert shapes == {"image": picture, "seed": ["batch"], "output": picture}


def test_noise_follows_from_the_seed_as_in_pytorch(noisy: tuple[Path, nn.Module, Card]) -> None:
    path, network, card = noisy
    same_at_three_sizes(path, network, card)
    same = images(1, 16, 24).expand(3, -1, -1, -1)
    output = run(path, same, torch.tensor([5, 2**31 - 1, 5]))
    assert torch.equal(output[0], output[2])
    assert (output[0] - output[1]).abs().max() > 0.1


def test_a_picture_does_not_depend_on_its_neighbours(noisy: tuple[Path, nn.Module, Card]) -> None:
    path, _, _ = noisy
    pictures, seeds = images(3, 16, 16), torch.tensor([1, 2, 3])
    alone = torch.cat([run(path, pictures[i : i + 1], seeds[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(run(path, pictures, seeds), alone, rtol=0, atol=1e-5)


def test_the_graph_is_plain(noisy: tuple[Path, nn.Module, Card]) -> None:
    """One InstanceNormalization a norm, for tiling; no random or cast-to-bf16 nodes; nothing of this machine's paths."""
    path, network, _ = noisy
    norms = sum(isinstance(layer, BatchNorm | InstanceNorm) for layer in network.modules())
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("InstanceNormalization") == norms == 7
    assert not {"Dropout", "RandomUniform", "RandomUniformLike", "BatchNormalization"} & set(kinds)
    assert onnx.TensorProto.BFLOAT16 not in {weight.data_type for weight in graph.initializer}
    constants = {weight.name: weight for weight in graph.initializer}
    for node in graph.node:
        if node.op_type == "InstanceNormalization":
            assert all(name in constants for name in node.input[1:])
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert path.stat().st_size < 4 * weights + 40_000
    content = path.read_bytes()
    for leak in (str(Path.cwd()), str(Path(torch.__file__).parent), "site-packages", "stack_trace", "class_hierarchy"):
        assert leak.encode() not in content


def test_a_file_runs_where_torch_cannot_be_imported(noisy: tuple[Path, nn.Module, Card]) -> None:
    path, network, _ = noisy
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({str(path)!r}, providers=['CPUExecutionProvider'])\n"
        "feed = {'image': np.linspace(-1, 1, 3 * 64, dtype=np.float32).reshape(1, 3, 8, 8), 'seed': np.array([3])}\n"
        "print(session.run(None, feed)[0].mean())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    image = torch.linspace(-1, 1, 3 * 64).view(1, 3, 8, 8)
    assert float(printed) == pytest.approx(
        Seeded(settle(network, noise=True))(image, torch.tensor([3])).mean().item(), abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *((name, norm) for name in ("unet3", "resnet") for norm in ("instance", "image", "running", "group", "none")),
        *(("unet4", "image"), ("unet4", "none"), ("unet5", "instance"), ("unet5", "group")),
        *(("unet6", "image"), ("unet6", "running"), ("resize", "image"), ("resize", "running")),
    ],
)
def test_every_network_and_norm(name: str, norm: str, tmp_path: Path) -> None:
    """fp32 and fp16, alternately; noise where there is dropout, alternately."""
    number = list(CONFIGS).index(name) + len(norm)
    noise = name in ("unet6", "resnet") and number % 3 > 0
    network, card = build(name, norm)
    path = tmp_path / "x.onnx"
    half = number % 2 > 0
    card = export_network(network, card, path, noise=noise, precision="fp16" if half else "fp32")
    same_at_three_sizes(path, network, card, psnr=40 if half else None)
    kinds = nodes(path)
    norms = sum(isinstance(layer, InstanceNorm | BatchNorm) for layer in network.modules())
    if norm != "group":  # which is an InstanceNormalization between two reshapes
        assert kinds.count("InstanceNormalization") == (norms if norm in ("instance", "image") else 0)
    if not noise:  # whose masks ask for the shape of a convolution's output, which keeps it apart
        assert "BatchNormalization" not in kinds  # part of the convolutions before
    assert [value.name for value in onnx.load(path).graph.input] == ["image", "seed"][: 1 + noise]


class Latent(nn.Module):
    def __init__(self, labels: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 256), nn.ConvTranspose2d(16, 3, 4, 2, 1)
        self.label = nn.Embedding(labels, 8) if labels else None

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        if self.label is not None:
            assert label is not None
            latent = latent + self.label(label)
        return torch.tanh(self.last(self.first(latent).view(-1, 16, 4, 4)))


@pytest.mark.parametrize("labels", [pytest.param((), marks=pytest.mark.slow), ("cat", "dog", "owl")])
def test_generators_from_noise_export_too(
    labels: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = Latent(len(labels)).eval()
    card = Card(name="x", network="generator", recipe="gan", source=None, target=RGB, latent=8, labels=labels)
    export_network(network, card, tmp_path / "x.onnx")
    assert capfd.readouterr() == ("", "")
    inputs = [torch.randn(5, 8), torch.tensor([0, 1, 2, 1, 0])][: 1 + bool(labels)]
    torch.testing.assert_close(run(tmp_path / "x.onnx", *inputs), network(*inputs).detach(), rtol=0, atol=1e-5)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


SMALL = Card(name="small", network="a2b", recipe="test", source=RGB, target=RGB)


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    return trace(Small().eval(), SMALL, half=False)


def test_a_failing_check_leaves_no_file_and_keeps_the_old_one(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("translate.inference.export.trace", lambda *_, half: graph)  # another network's
    path = tmp_path / "x.onnx"
    path.write_bytes(b"old")
    with pytest.raises(
        ModelError, match=r"small, a2b: in fp32 .* differs from PyTorch: by \d.*, and 0.0001 is allowed"
    ):
        export_network(Small(), SMALL, path)
    with pytest.raises(ModelError, match=r"in fp16 .* PSNR \d.*dB, and 40 dB are needed; export it in fp32"):
        export_network(Small(), SMALL, path, precision="fp16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.onnx"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("compute", "fault"),
    [
        ("mean = ReduceMean(image, axes)  output = Sub(image, mean)", "depends on the other pictures of a batch"),
        ("output = Concat<axis=0>(image, image)", r"has the shape \[4, 3, 64, 64\] where PyTorch has \[2, 3, 64, 64\]"),
    ],
)
def test_no_picture_may_have_to_do_with_its_neighbours(compute: str, fault: str) -> None:
    class Crowd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0, keepdim=True)

    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> crowd (float[n,3,h,w] image) => (float[m,3,h,w] output) '
        f"{{ axes = Constant<value_ints=[0]>()  {compute} }}"
    )
    with pytest.raises(ModelError, match=fault):
        verify.verify(model.SerializeToString(), Crowd(), SMALL)


def without_seed(noisy: Path) -> bytes:
    """What is left where an optimiser takes the noise away: the mask is 1, whatever the seed."""
    model = onnx.load(noisy)
    for node in model.graph.node:
        if node.op_type == "GreaterOrEqual":
            node.op_type = "Equal"
            node.input[1] = node.input[0]
    return bytes(model.SerializeToString())


def test_lost_noise_is_found(noisy: tuple[Path, nn.Module, Card]) -> None:
    path, network, card = noisy

    class Still(nn.Module):
        def forward(self, image: Tensor, seed: Tensor) -> Tensor:
            return still(image)

    still = settle(network, noise=False)
    for layer in still.modules():
        if isinstance(layer, nn.Dropout):
            layer.register_forward_hook(lambda layer, inputs, output: output * 2)
    with pytest.raises(ModelError, match="the same picture for different seeds: its noise is lost"):
        verify.verify(without_seed(path), Still(), card)


def test_what_cannot_be_had_is_said_with_a_remedy(
    graph: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="no dropout that could be the noise: leave --noise away"):
        export_network(Small(), SMALL, tmp_path / "x.onnx", noise=True)
    with pytest.raises(ModelError, match="int8 needs pictures"):
        export_network(Small(), SMALL, tmp_path / "x.onnx", precision="int8")
    with pytest.raises(ModelError, match="has no inner convolution for int8"):
        quantise(graph, SMALL, [])
    monkeypatch.setattr("translate.inference.export.trace", lambda *_, half: graph)
    monkeypatch.setattr("translate.inference.export.verify", lambda *_: {})
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"file/x.onnx: cannot be written \(.+\): free some space"):
        export_network(Small(), SMALL, tmp_path / "file" / "x.onnx")


RUN = """
recipe:
  kind: pix2pix
  generator: {kind: unet, width: 4, depth: 3, norm: instance}
  discriminator: {kind: patchgan, width: 4, layers: 1, norm: batch}
data: {kind: paired, root: ROOT, preprocess: none, workers: 0}
schedule: {kind: linear, epochs: 1, decay_from: 1}
validation: {count: 2, samples: 1}
export: {licence: CC-BY}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps through the command line, exported at its end."""
    folder = tmp_path_factory.mktemp("run")
    for split in ("train", "test"):
        (folder / "data" / split).mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 256, (3, 6, 3), np.uint8)
            Image.fromarray(pixels).resize((64, 32)).save(folder / "data" / split / f"{number}.png")
    (folder / "tiny.yaml").write_text(RUN.replace("ROOT", str(folder / "data")))
    assert main(["train", "--config", str(folder / "tiny.yaml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_training_ends_with_an_export(trained: Path) -> None:
    (path,) = (trained / "export").iterdir()
    assert path.name == "translator.onnx"
    network, card = load_networks(trained)["translator"]
    stored = json.loads(onnx.load(path).metadata_props[0].value)
    assert (stored["licence"], stored["config_hash"], stored["step"]) == ("CC-BY", card.config_hash, 4)
    torch.testing.assert_close(run(path, images(2, 8, 16)), network(images(2, 8, 16)), rtol=0, atol=1e-4)


def test_noise_that_cannot_be_exported_is_refused_before_the_training(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = str(trained / "config.yaml"), tmp_path / "run"
    assert main(["train", "--config", config, "--set", "export.noise=true", "--out", str(out)]) == 2
    assert "export.noise: these networks have no dropout that could be the noise" in capsys.readouterr().err
    assert not out.exists()


def test_int8_is_fitted_to_pictures_of_the_run(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = trained / "export" / "translator.onnx"
    monkeypatch.setattr("translate.inference.export.trace", lambda *_, half: onnx.load(whole))  # its graph, sooner
    (path,) = export(trained, precision="int8")
    assert capfd.readouterr() == ("", "")
    assert path == trained / "export" / "translator-int8.onnx"
    parity = json.loads(onnx.load(path).metadata_props[0].value)["parity"]
    assert 35 <= parity["psnr"] < 80
    kinds = nodes(path)
    assert kinds.count("QuantizeLinear") > 2
    assert kinds.count("InstanceNormalization") == nodes(whole).count("InstanceNormalization")
    path.unlink()
    monkeypatch.setitem(verify.DECIBELS, "int8", parity["psnr"] + 0.1)
    with pytest.raises(ModelError, match=r"in int8 .* dB are needed; export it in fp32 or fp16"):
        export(trained, precision="int8")
    assert not path.exists()
    monkeypatch.setattr("translate.inference.quantise.find_data", _gone)
    with pytest.raises(ModelError, match=r"run: int8 is fitted to pictures .*put them back, or choose fp16 or fp32"):
        export(trained, precision="int8")


def _gone(kind: str) -> type:
    raise DataError("data.root: it is not there")


def test_one_file_needs_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    networks = {name: (Small(), SMALL) for name in ("a2b", "b2a")}
    monkeypatch.setattr("translate.inference.export.load_networks", lambda source: networks)
    monkeypatch.setattr(
        "translate.inference.export.export_network", lambda n, card, path, **settings: written.append(path)
    )
    with pytest.raises(ModelError, match=r"one file, but run\.pt has a2b, b2a: choose a --direction"):
        export(Path("run.pt"), tmp_path / "x.onnx")
    with pytest.raises(
        ModelError, match=r"--direction: unknown network 'a2c' \(did you mean 'a2b'\?\); known: a2b, b2a"
    ):
        export(Path("run.pt"), direction="a2c")
    assert export(Path("run.pt"), tmp_path / "x.onnx", direction="b2a") == [tmp_path / "x.onnx"]
    assert export(Path("here/run.pt"), precision="fp16") == [Path(f"here/export/{name}-fp16.onnx") for name in networks]
    assert export(tmp_path, noise=True) == [tmp_path / "export" / f"{name}.onnx" for name in networks]
    assert len(written) == 5


def test_the_guide_runs_a_file_without_this_program(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes((trained / "export" / "translator.onnx").read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save("in.png")
    guide = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    code = guide.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) == 6
    exec(code, {})
    network, _ = load_networks(trained)["translator"]
    truth = network(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1)
    expected = ((truth[0].permute(1, 2, 0) + 1) * 127.5).round().numpy()
    assert np.abs(np.asarray(Image.open("out.png")).astype(int) - expected).max() <= 1


def test_large_weights_can_be_mapped_from_the_file(tmp_path: Path) -> None:
    network, card = build("resnet", width=16)
    export_network(network, card, tmp_path / "model.onnx")
    weights = [weight.raw_data for weight in onnx.load(tmp_path / "model.onnx").graph.initializer]
    assert sum(map(len, weights)) > 100_000
    assert len(without_weights(tmp_path / "model.onnx")) < 50_000
