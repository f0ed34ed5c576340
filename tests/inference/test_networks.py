"""From runs, checkpoints and files to networks with their cards; dropout that follows from a seed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from translate import __version__, checkpoints
from translate.config.load import dump, parse
from translate.errors import CheckpointError, ModelError, TranslateError
from translate.inference.card import Card, Values
from translate.inference.networks import Seeded, load_networks, load_weights, norm_of, save_model, settle
from translate.nn import ResNetConfig, UNetConfig
from translate.nn.blocks import Conv2d, Dropout
from translate.recipes import find
from translate.training.start import train

PIX2PIX = """
recipe:
  kind: pix2pix
  generator: {kind: unet, width: 4, depth: 3}
  discriminator: {kind: patchgan, width: 4, layers: 1, norm: batch}
data: {kind: glyphs, size: 32, batch_size: 4, workers: 0, limit: 8}
schedule: {kind: linear, epochs: 4, decay_from: 1}
validation: {every: 2, count: 4, samples: 1}
ema: 0.9
"""

CYCLEGAN = """
recipe:
  kind: cyclegan
  generator: {kind: resnet, width: 4, blocks: 1}
  discriminator: {kind: patchgan, width: 4, layers: 1}
  constraint: {kind: spectral_norm}
  weights: {identity: 0}
  pool_size: 3
data: {kind: unpaired, root: somewhere, load_size: 40, crop_size: 32, background: [0, 10, 20], float_range: [0, 5]}
"""

Write = Callable[..., Path]


def state_of(text: str, **channels: int) -> dict[str, Any]:
    """What a checkpoint of such a run holds, with random weights."""
    run = parse(text, "test")
    recipe = find(run.recipe.kind)(run.recipe, channels)
    for parameter in recipe.parameters():
        nn.init.normal_(parameter, 0, 0.1)
    return {
        "config": run.model_dump(mode="json"),
        "channels": channels,
        "clock": {"step": 7, "images": 7, "seconds": 1.0},
        "recipe": recipe.state_dict(),
        "average": {},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(PIX2PIX)
    train(str(folder / "tiny.yaml"), out=folder / "glyphs-run", steps=3)
    return folder / "glyphs-run"


def test_a_trained_run_gives_its_averaged_networks(trained: Path) -> None:
    ((name, (network, card)),) = load_networks(trained / "checkpoints" / "last.pt").items()
    state = checkpoints.load(trained / "checkpoints" / "last.pt")
    stored = state["average"]["translator"]
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, stored[f"module.{key}"])
    raw = state["recipe"]["generator.model.model.0.weight"]
    assert not torch.equal(network.state_dict()["model.model.0.weight"], raw)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    validation = [row for row in rows if "val/psnr" in row][-1]
    config = json.dumps(state["config"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert card == Card(
        name="glyphs-run",
        network=name,
        recipe="pix2pix",
        source=Values(channels=3),
        target=Values(channels=3),
        multiple=8,
        trained_size=(32, 32),
        norm="image",
        step=3,
        metrics={key: value for key, value in validation.items() if key.startswith("val/")},
        config_hash=hashlib.sha256(config.encode()).hexdigest(),
        package=__version__,
    )
    assert name == "translator"


def test_the_best_checkpoint_of_a_run_with_its_own_metrics(tmp_path: Path) -> None:
    run, state = tmp_path / "run", state_of(PIX2PIX, source=3, target=3)
    checkpoints.save(run / "checkpoints" / "last.pt", state)
    (run / "config.yaml").write_text(dump(parse(PIX2PIX, "test")))
    assert load_networks(run)["translator"].card.metrics == {}  # no journal
    lines = [
        '{"step": 5, "val/psnr": 20.0, "val/ssim": null}',
        '{"step": 6, "train/l1": 1}',
        '{"step": 9, "val/psnr": 30}',
    ]
    (run / "metrics.jsonl").write_text("\n".join(["[1]", *lines, '{"step": 7, "val/p']))
    card = load_networks(run)["translator"].card
    assert (card.name, card.step, card.metrics) == ("run", 7, {"val/psnr": 20.0})
    checkpoints.save(run / "checkpoints" / "best.pt", state | {"clock": {"step": 4, "images": 4, "seconds": 1.0}})
    card = load_networks(run)["translator"].card
    assert (card.step, card.metrics) == (4, {})


def test_a_checkpoint_by_itself_and_both_directions(tmp_path: Path) -> None:
    state = state_of(CYCLEGAN, a=3, b=1)
    checkpoints.save(tmp_path / "mine.pt", state)
    networks = load_networks(tmp_path / "mine.pt")
    assert list(networks) == ["a2b", "b2a"]
    for (name, (network, card)), (source, target) in zip(networks.items(), [(3, 1), (1, 3)], strict=True):
        assert card.source is not None
        assert (card.name, card.network, card.source.channels, card.target.channels) == ("mine", name, source, target)
        assert (card.trained_size, card.preprocess, card.multiple) == ((32, 32), "resize_and_crop", 4)
        assert (card.background, card.float_range) == ((0, 10, 20), (0.0, 5.0))
        assert (card.norm, card.noise, card.metrics) == ("image", False, {})
        original = ResNetConfig(width=4, blocks=1).build(source, target).eval()
        original.load_state_dict({k[4:]: v for k, v in state["recipe"].items() if k.startswith(f"{name}.")})
        x = torch.randn(2, source, 16, 16)
        torch.testing.assert_close(network(x), original(x))


def test_weights_come_out_as_float32_in_the_usual_layout(tmp_path: Path) -> None:
    state = state_of(PIX2PIX, source=3, target=3)
    name = "generator.model.model.0.weight"
    state["recipe"][name] = state["recipe"][name].to(torch.bfloat16, memory_format=torch.channels_last)
    checkpoints.save(tmp_path / "x.pt", state)
    weight = load_networks(tmp_path / "x.pt")["translator"].network.state_dict()["model.model.0.weight"]
    assert weight.dtype == torch.float32
    assert weight.is_contiguous()


Change = Callable[[dict[str, Any]], Any]
KEY = "generator.model.model.3.bias"

WRONG: dict[str, tuple[Change, str]] = {
    "missing": (lambda s: s["recipe"].pop(KEY), r"x\.pt: .*missing: model\.model\.3\.bias"),
    "unexpected": (lambda s: s["recipe"].update({"generator.extra": torch.ones(1)}), "unexpected: extra"),
    "shape": (lambda s: s["recipe"].update({KEY: torch.ones(4)}), r"model\.model\.3\.bias \[4\] instead of \[3\]"),
    "no tensor": (lambda s: s["recipe"].update({KEY: "x"}), r"model\.model\.3\.bias str instead of"),
    "other channels": (lambda s: s.update(channels={"a": 3, "b": 3}), "cannot be built.*source"),
    "a key of later": (
        lambda s: s["config"].update(later=1),
        r"x\.pt: config: top level: unknown key 'later'.*another",
    ),
    "another recipe": (lambda s: s["config"]["recipe"].update(kind="pix3pix"), "unknown recipe 'pix3pix'"),
    "no config": (lambda s: s.pop("config"), "not a whole checkpoint: 'config' is missing"),
    "no average": (lambda s: s.pop("average"), "'average' is missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_checkpoint_is_named(case: str, tmp_path: Path) -> None:
    state = state_of(PIX2PIX, source=3, target=3)
    change, message = WRONG[case]
    change(state)
    checkpoints.save(tmp_path / "x.pt", state)
    with pytest.raises(CheckpointError, match=message):
        load_networks(tmp_path / "x.pt")


def test_folders_and_files_that_hold_no_networks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_networks(tmp_path / "none")
    with pytest.raises(CheckpointError, match="not a run folder"):
        load_networks(tmp_path)
    (tmp_path / "config.yaml").write_text(PIX2PIX)
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_networks(tmp_path)
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load_networks(tmp_path / "other.pt")


def model_card(**changes: Any) -> Card:
    return Card(name="n", network="translator", recipe="imported", source=Values(channels=2), target=Values(channels=1))


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    config = UNetConfig(width=4, depth=3, norm="group", dropout_at_test=False)
    network = config.build(2, 1).eval()
    save_model(tmp_path / "model.pt", network, config, model_card())
    loaded, card = load_networks(tmp_path / "model.pt")["translator"]
    assert card == model_card()
    x = torch.randn(2, 2, 16, 8)
    torch.testing.assert_close(loaded(x), network(x))


def test_a_spoilt_model_is_refused(tmp_path: Path) -> None:
    path, config = tmp_path / "model.pt", UNetConfig(width=4, depth=3)
    save_model(path, config.build(2, 1), config, model_card())
    state = checkpoints.load(path)
    changes: list[tuple[dict[str, Any], type[TranslateError], str]] = [
        ({"generator": {"kind": "unet", "depth": 99}}, CheckpointError, r"model\.pt: generator: .*12"),
        ({"generator": {"kind": "unet", "depth": 4, "width": 4}}, CheckpointError, "do not fit"),
        ({"weights": {}}, CheckpointError, "missing: model"),
        ({"card": "{}"}, ModelError, r"model\.pt: its metadata"),
    ]
    for change, kind, message in changes:
        checkpoints.save(path, state | change)
        with pytest.raises(kind, match=message):
            load_networks(path)
    checkpoints.save(path, {key: value for key, value in state.items() if key != "weights"})
    with pytest.raises(CheckpointError, match="'weights' is missing"):
        load_networks(path)


def test_only_the_first_misfits_are_told() -> None:
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    with pytest.raises(CheckpointError, match=r"^here: .*\(missing: 0\.weight, 0\.bias, 1\.weight …; unexpected: x\)$"):
        load_weights(network, {"x": torch.ones(1)}, "here")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ResNetConfig(width=4, blocks=1), "image"),
        (ResNetConfig(width=4, blocks=1, norm="batch"), "image"),
        (ResNetConfig(width=4, blocks=1, norm="batch", batch_norm_at_test="running"), "running"),
        (ResNetConfig(width=4, blocks=1, norm="group"), "group"),
        (ResNetConfig(width=4, blocks=1, norm="none"), "none"),
    ],
)
def test_whose_statistics_the_norms_use(config: ResNetConfig, expected: str) -> None:
    assert norm_of(config.build(3, 3)) == expected


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.convolution, self.second = Dropout(0.5), Conv2d(1, 4, 1), Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.convolution(self.first(x)))
        return out


def test_settle_makes_a_copy_with_dropout_on_or_off() -> None:
    network = UNetConfig(width=4, depth=7).build(3, 3)  # two dropout layers
    before = [(layer.training, layer.at_test, layer.layer) for layer in network.modules() if isinstance(layer, Dropout)]
    x = torch.randn(1, 3, 128, 128)
    still, noisy = settle(network, noise=False), settle(network, noise=True)
    with torch.no_grad():
        assert torch.equal(still(x), still(x))
        assert not torch.equal(noisy(x), noisy(x))
    for settled, on in ((still, False), (noisy, True)):
        layers = [layer for layer in settled.modules() if isinstance(layer, Dropout)]
        assert [(layer.training, layer.at_test, layer.layer) for layer in layers] == [(False, on, 0), (False, on, 1)]
    assert before == [
        (layer.training, layer.at_test, layer.layer) for layer in network.modules() if isinstance(layer, Dropout)
    ]
    assert next(network.parameters()).requires_grad
    assert next(still.parameters()).data_ptr() != next(network.parameters()).data_ptr()


def test_noise_follows_from_the_seed_of_each_picture() -> None:
    network = settle(Noisy(), noise=True)
    seeded = Seeded(network)
    x = torch.ones(1, 1, 16, 16).expand(3, -1, -1, -1)
    one, two, three = seeded(x, torch.tensor([5, 6, 5]))
    assert torch.equal(one, three)
    assert not torch.equal(one, two)
    assert torch.equal(seeded(x[:1], torch.tensor([6]))[0], two)  # whatever its neighbours are
    assert ((one == 0).float().mean() - 0.3).abs() < 0.1  # the second layer's share of zeros
    layers = [layer for layer in network.modules() if isinstance(layer, Dropout)]
    assert [layer.seed for layer in layers] == [None, None]
    with pytest.raises(RuntimeError):
        seeded(torch.ones(1, 2, 4, 4), torch.tensor([1]))
    assert [layer.seed for layer in layers] == [None, None]


def test_a_seeded_network_can_be_traced() -> None:
    seeded = Seeded(settle(Noisy(), noise=True))
    x, seed = torch.randn(2, 1, 8, 12), torch.tensor([1, 2])
    dynamic = torch.export.Dim.DYNAMIC
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic}, {0: dynamic})
    program = torch.export.export(seeded, (x, seed), dynamic_shapes=shapes).module()
    other, seeds = torch.randn(3, 1, 9, 5), torch.tensor([2**31 - 1, 0, 7])
    torch.testing.assert_close(program(other, seeds), seeded(other, seeds))
    assert not torch.equal(program(other, seeds), program(other, seeds + 1))
