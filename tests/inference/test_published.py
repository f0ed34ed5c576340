"""Published weights: what is in the file is found out, parity with the published outputs, and what is refused."""

import copy
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from translate.cli import main
from translate.errors import CheckpointError, ConfigError, ModelError, TranslateError
from translate.inference.networks import load_networks
from translate.inference.published import import_weights
from translate.nn import PatchGANConfig, PixelGANConfig, ResNetConfig, UNetConfig
from translate.nn.blocks import BatchNorm, Dropout, InstanceNorm

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
GENERATORS = {
    "unet_5down_batchnorm": "unet_32",
    "unet_6down_batchnorm_dropout": "unet_64",
    "resnet6_instancenorm": "resnet_6blocks",
    "resnet9_batchnorm_dropout": "resnet_9blocks",
}


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights; the input and the outputs."""
    path = GOLDEN / f"{name}.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    with safe_open(path, "pt") as file:
        data = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    weights = {key.removeprefix("weights."): data.pop(key) for key in list(data) if key.startswith("weights.")}
    return weights, data


def save(path: Path, state: Any, *, old: bool = False) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=not old)
    return path


def legacy(weights: dict[str, Tensor]) -> dict[str, Any]:
    """As saved by the published program of 2018 from several GPUs, in a wrapper of somebody else's."""
    state = {f"module.{key}": value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    if "model.2.weight" not in weights and "model.1.weight" in weights:  # a ResNet with instance norm
        for layer in ("model.2", "model.5", "model.10.conv_block.2", "model.10.conv_block.6"):
            state |= {f"module.{layer}.running_mean": torch.ones(8), f"module.{layer}.running_var": torch.ones(8)}
            state[f"module.{layer}.num_batches_tracked"] = torch.tensor(3)
    return {"epoch": 200, "state_dict": OrderedDict(state), "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4}]}}


@pytest.mark.parametrize("form", ["plain", "legacy", "compiled"])
@pytest.mark.parametrize("name", GENERATORS)
def test_parity_with_the_published_outputs(name: str, form: str, tmp_path: Path) -> None:
    weights, data = golden(name)
    state = {
        "plain": OrderedDict(weights),
        "legacy": legacy(weights),
        "compiled": {f"_orig_mod.module.{key}": value for key, value in weights.items()},
    }[form]
    path = save(tmp_path / "latest_net_G.pth", state, old=form == "legacy")
    for statistics in ("running", "image"):
        card = import_weights(path, tmp_path / "model.pt", architecture=GENERATORS[name], statistics=statistics)
        ((network, found),) = load_networks(tmp_path / "model.pt").values()
        assert found == card
        assert card.source is not None
        assert (card.source.channels, card.target.channels) == tuple(
            data[k].shape[1] for k in ("input", "output_eval_mode")
        )
        assert card.norm == ("image" if "instance" in name else statistics)
        with torch.no_grad():
            torch.testing.assert_close(network(data["input"]), expected(network, data, statistics), atol=1e-5, rtol=0)


@torch.no_grad()
def expected(network: nn.Module, data: dict[str, Tensor], statistics: str) -> Tensor:
    """For running statistics, the golden output. For a picture's own, what training mode makes of one picture, as in the
    published test script; the golden output of training mode is of two pictures together.
    """
    if statistics == "running":
        return data["output_eval_mode"]
    trained = copy.deepcopy(network).train()
    for layer in trained.modules():
        if isinstance(layer, Dropout):
            layer.eval()
    torch.testing.assert_close(trained(data["input"]), data["output_train_mode"], atol=1e-5, rtol=0)
    return torch.cat([trained(picture) for picture in data["input"].split(1)])


@pytest.mark.parametrize("name", GENERATORS)
def test_parity_through_onnx_runtime(name: str, tmp_path: Path) -> None:
    import onnxruntime

    weights, data = golden(name)
    path = save(tmp_path / "latest_net_G.pth", weights)
    for statistics in ("running", "image"):
        import_weights(path, tmp_path / "model.pt", statistics=statistics)
        card = import_weights(path, tmp_path / "model.onnx", statistics=statistics)
        assert card.opset is not None
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        (result,) = session.run(["output"], {"image": data["input"].numpy()})
        truth = expected(load_networks(tmp_path / "model.pt")["translator"].network, data, statistics)
        torch.testing.assert_close(torch.from_numpy(result), truth, atol=1e-4, rtol=0)


CONFIGS = {
    "unet_32": UNetConfig(width=4, depth=5, norm="instance"),
    "unet_64": UNetConfig(width=6, depth=6, norm="batch"),
    "unet_128": UNetConfig(width=4, depth=7, norm="none"),
    "resnet_1blocks": ResNetConfig(width=4, blocks=1, norm="none"),
    "resnet_2blocks": ResNetConfig(width=5, blocks=2, norm="instance", dropout=0.5),
    "resnet_3blocks": ResNetConfig(width=4, blocks=3, norm="batch"),
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_network_is_found_in_keys_and_shapes(architecture: str, tmp_path: Path) -> None:
    config = CONFIGS[architecture].model_copy(update={"dropout_at_test": False, "batch_norm_at_test": "running"})
    original = config.build(2, 5).eval()
    state = original.state_dict()
    if config.norm == "none":  # there the published convolutions, but the last, have no biases
        state = {key: value for key, value in state.items() if key in (list(state)[-1], key.removesuffix(".bias"))}
    path = save(tmp_path / "weights.pth", state)
    import_weights(path, tmp_path / "model.pt", statistics="running", architecture=architecture)
    network, card = load_networks(tmp_path / "model.pt")["translator"]
    assert network.config == config
    assert (card.name, card.multiple) == ("weights", config.multiple)
    kinds = {"batch": ("running", BatchNorm), "instance": ("image", InstanceNorm), "none": ("none", nn.Identity)}
    assert card.norm == kinds[config.norm][0]
    assert any(isinstance(layer, kinds[config.norm][1]) for layer in network.modules())
    dropouts = [sum(isinstance(layer, Dropout) for layer in net.modules()) for net in (network, original)]
    assert dropouts[0] == dropouts[1]
    x = torch.randn(2, 2, max(config.multiple, 16), max(config.multiple, 16))
    with torch.no_grad():
        torch.testing.assert_close(network(x), original(x))


def test_what_the_card_says_comes_from_the_file_and_the_options(tmp_path: Path) -> None:
    (tmp_path / "horse2zebra").mkdir()
    path = save(tmp_path / "horse2zebra" / "latest_net_G_A.pth", UNetConfig(width=4, depth=6).build(3, 1).state_dict())
    output = tmp_path / "deep" / "model.pt"
    assert main(["import", str(path), "-o", str(output), "--noise", "--licence", "CC BY 4.0"]) == 0
    ((name, (network, card)),) = load_networks(output).items()
    assert (name, card.network, card.name, card.recipe) == ("a2b", "a2b", "horse2zebra", "imported")
    assert (card.noise, card.licence, card.norm, card.target.colour) == (True, "CC BY 4.0", "image", "grey")
    x = torch.randn(1, 3, 64, 64)
    assert not torch.equal(network(x), network(x))  # its dropout is on
    assert main(["import", str(path), "-o", str(output), "--name", "zebras"]) == 0  # over the old one
    assert load_networks(output)["a2b"].card.name == "zebras"
    assert [file.name for file in output.parent.iterdir()] == ["model.pt"]


def test_another_architecture_than_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "g.pth", ResNetConfig(width=4, blocks=2).build(3, 3).state_dict())
    assert main(["import", str(path), "-o", str(tmp_path / "m.pt"), "--architecture", "resnet_9blocks"]) == 2
    error = capsys.readouterr().err
    assert "resnet_9blocks" in error
    assert "resnet_2blocks" in error
    assert not (tmp_path / "m.pt").exists()


RESNET = ResNetConfig(width=4, blocks=2).build(3, 3).state_dict()
UNET = UNetConfig(width=4, depth=5).build(3, 3).state_dict()

MISFITS: dict[str, tuple[Any, str]] = {
    "missing": (
        {key: value for key, value in RESNET.items() if key != "model.7.bias"},
        r"g\.pth \(as resnet_2blocks\).*missing: model\.7\.bias",
    ),
    "unexpected": (RESNET | {"model.11.extra": torch.ones(1)}, r"unexpected: model\.11\.extra"),
    "shape": (
        RESNET | {"model.4.weight": torch.ones(8, 5, 3, 3)},
        r"of another shape: model\.4\.weight \[8, 5, 3, 3\] instead of \[8, 4, 3, 3\]",
    ),
    "many": (
        {key: value for key, value in UNET.items() if ".3.model.3." not in key or key.endswith("1.weight")},
        r"missing: .*, .*, .* …",
    ),
    "mixed blocks": (
        {key.replace("11.conv_block.5", "11.conv_block.6"): value for key, value in RESNET.items()},
        r"model\.10\.conv_block\.6\.weight.*model\.10\.conv_block\.5",
    ),
    "last": (
        {key: value for key, value in RESNET.items() if key != "model.19.weight"},
        r"model\.19\.weight is missing",
    ),
    "too deep": (
        UNET | {f"model.model.1.model{'.3.model' * n}.1.weight": torch.ones(1) for n in range(4, 13)},
        r"depth: .*12",
    ),
    "antialiased": (RESNET | {"model.6.filt": torch.ones(4, 1, 3, 3)}, r"model\.6\.filt: antialiased"),
    "patchgan": (PatchGANConfig(width=4).build(6).state_dict(), r"discriminator.*latest_net_G"),
    "pixelgan": (PixelGANConfig(width=4).build(6).state_dict(), "discriminator"),
    "another program's": (nn.Linear(2, 2).state_dict(), r"not a published generator.*weight, bias"),
    "zero-padded": ({"model.0.weight": torch.ones(4, 3, 7, 7)}, "not a published generator"),
    "several": ({"netG_A": RESNET, "netG_B": RESNET}, r"has 2 \(netG_A, netG_B\)"),
    "numbers": ({"epoch": 3}, "has none"),
    "tensor": (torch.ones(3), "holds a Tensor"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named(case: str, tmp_path: Path) -> None:
    state, message = MISFITS[case]
    path = save(tmp_path / "g.pth", state)
    with pytest.raises(TranslateError, match=message):
        import_weights(path, tmp_path / "model.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["g.pth"]


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_a_pickle_that_wants_more_is_refused_and_not_run(old: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "g.pth", {**RESNET, "payload": Payload(tmp_path / "owned")}, old=old)
    with pytest.raises(CheckpointError, match=r"g\.pth: refused.*could run code"):
        import_weights(path, tmp_path / "model.pt")
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps(Payload(tmp_path / "owned")))
    with pytest.raises(CheckpointError, match=r"bare\.pth"):
        import_weights(bare, tmp_path / "model.pt")
    assert not (tmp_path / "owned").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "owned").exists()  # the payload would have worked


def test_a_whole_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "g.pth", ResNetConfig(width=4, blocks=1).build(3, 3))
    with pytest.raises(CheckpointError, match=r"translate\.nn\.resnet\.ResNet.*state_dict"):
        import_weights(path, tmp_path / "model.pt")


def test_damaged_missing_and_wrongly_named_files(tmp_path: Path) -> None:
    path, model = save(tmp_path / "g.pt", RESNET), tmp_path / "model.pt"
    for suffix in ("", ".pth", ".txt"):
        with pytest.raises(ConfigError, match=r"\.onnx"):
            import_weights(path, tmp_path / f"model{suffix}")
    with pytest.raises(ConfigError, match="choose another"):
        import_weights(path, tmp_path / "x" / ".." / "g.pt")
    with pytest.raises(CheckpointError, match="no such"):
        import_weights(tmp_path / "none.pth", model)
    import_weights(path, model)
    with pytest.raises(ModelError, match="of this program already"):
        import_weights(model, tmp_path / "again.pt")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="damaged"):
        import_weights(path, model)
    assert load_networks(model)["translator"].card.name == "g"  # still the whole one


def test_noise_needs_dropout(tmp_path: Path) -> None:
    path = save(tmp_path / "g.pth", RESNET)
    with pytest.raises(ModelError, match="no dropout"):
        import_weights(path, tmp_path / "model.pt", noise=True)
    assert not (tmp_path / "model.pt").exists()
