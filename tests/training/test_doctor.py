"""Each alarm fires where it should and is silent where it should; watching changes nothing; what is measured is right."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

from translate import checkpoints
from translate.adversarial import (
    AdversarialConfig,
    Adversary,
    Energy,
    GradientPenalty,
    Hinge,
    LeastSquares,
    Minimax,
    Wasserstein,
)
from translate.config.clock import Clock
from translate.config.load import parse
from translate.training.alarms import ALARMS, LINES, OVER, WARM_UP, Rules, has
from translate.training.doctor import spread, verdict
from translate.training.journal import read
from translate.training.loop import Trainer
from translate.training.start import _build, placement, train

Signal = Callable[[int], dict[str, float]]

MINIMAL = {  # the smallest config of each recipe
    "pix2pix": {"recipe": {"kind": "pix2pix"}, "data": {"kind": "paired", "root": "x"}},
    "cyclegan": {"recipe": {"kind": "cyclegan"}, "data": {"kind": "unpaired", "root": "x"}},
    "gan": {"recipe": {"kind": "gan"}, "data": {"kind": "dataset", "name": "mnist", "root": "x"}},
    "pggan": {"recipe": {"kind": "pggan"}, "data": {"kind": "dataset", "name": "mnist", "root": "x"}},
}


def resolved(recipe: str) -> dict[str, Any]:
    return parse(yaml.safe_dump(MINIMAL[recipe]), "x").model_dump(mode="json")


def told(
    signal: Signal, lines: int = 40, patience: int = LINES, every: int = 50, recipe: str = "gan"
) -> list[tuple[int, str, str]]:
    """(line, key, text) of what is told of a signal, a function of the number of the line."""
    rules = Rules(resolved(recipe))
    return [
        (line, key, text)
        for line in range(1, lines + 1)
        for key, text in rules.judge(line * every, signal(line), patience).items()
    ]


def game(real: float, fake: float, received: float) -> dict[str, float]:
    return {"received/d": received, "real/d": real, "fake/d": fake}


FIRES: dict[str, Signal] = {
    "discriminator_won/d": lambda line: game(0.999, 0.001, 0.1 if line < 4 else 1e-3),
    "collapsed/generator": lambda line: {"diversity/generator": 0.6 / line**2},
    "oscillates/d": lambda line: {"fake/d": 0.5 + 0.3 * math.sin(line)},
    "explodes/gradient/g": lambda line: {"gradient/g": 2.0 if line < 9 else 900.0},
    "explodes/gradient/d": lambda line: {"gradient/d": 2.0 if line < 9 else math.inf},
    "explodes/weights/g": lambda line: {"weights/g": 10 * 1.3**line},
    "slope_not_held/d": lambda line: {"slope/d": 3.0},
    "inverted/a2b": lambda line: {"correlation/a2b": -0.9, "wanted/a2b": 0.1},
    "copied/a2b": lambda line: {"change/a2b": 0.01},
    "memorised/generator": lambda line: {"nearest/generator": 0.1},
}
SILENT: dict[str, Signal] = {
    "sure, but the generator still learns": lambda line: game(0.999, 0.001, 0.1),
    "nothing received, but the discriminator is not sure": lambda line: game(0.6, 0.4, 0.1 if line < 4 else 1e-3),
    "diverse": lambda line: {"diversity/generator": 0.5},
    "drifting verdicts": lambda line: {"fake/d": 0.05 + 0.9 * line / 40},
    "noisy verdicts": lambda line: {"fake/d": 0.4 + 0.12 * (-1) ** line},
    "a single spike": lambda line: {"gradient/g": 900.0 if line in (9, 20, 21) else 2.0},
    "gradients of varying size": lambda line: {"gradient/g": 2.0 * 30 ** math.sin(line)},
    "weights that grow slowly": lambda line: {"weights/g": 10 * 1.05**line},
    "a slope near its aim": lambda line: {"slope/d": 1.3},
    "an inversion that the targets have, too": lambda line: {"correlation/a2b": -0.9, "wanted/a2b": -0.8},
    "colours kept": lambda line: {"correlation/a2b": 0.9, "wanted/a2b": 0.1},
    "changed": lambda line: {"change/a2b": 0.3},
    "new pictures": lambda line: {"nearest/generator": 0.95},
    "nothing measured": lambda line: {},
}


@pytest.mark.parametrize("key", FIRES)
def test_fires_once(key: str) -> None:
    ((line, found, text),) = told(FIRES[key], recipe="cyclegan" if key.endswith("a2b") else "gan")
    assert found == f"alarm/{key}"
    assert line >= LINES
    means, keys = ALARMS[key.split("/")[0]]
    measured, _, rest = text.partition(f". {means}. Try ")
    assert any(character.isdigit() for character in measured) or "inf" in measured
    assert rest
    assert set(rest.split("; ")) <= set(keys.split("; "))


@pytest.mark.parametrize("name", SILENT)
def test_silent(name: str) -> None:
    assert told(SILENT[name]) == []


def test_every_alarm_is_tested() -> None:
    assert {key.split("/")[0] for key in FIRES} == set(ALARMS)


def test_once_until_it_is_gone_and_then_again() -> None:
    ill = {*range(10, 20), 22, *range(30, 40)}  # 22: a relapse of one line
    lines = [(line, text == OVER) for line, _, text in told(lambda line: {"slope/d": 3.0 if line in ill else 1.0})]
    assert lines == [(13, False), (26, True), (33, False)]


def test_nothing_at_the_start() -> None:
    found = told(lambda line: {"slope/d": 3.0}, lines=WARM_UP + 20, every=1)
    assert [line for line, _, _ in found] == [WARM_UP + LINES - 1]


def test_keys_of_the_advice_exist_in_the_runs_that_they_are_given_to() -> None:
    configs = {recipe: resolved(recipe) for recipe in MINIMAL}
    for kind, (_, keys) in ALARMS.items():
        for key in keys.split("; "):
            assert any(has(config, key.split()[0]) for config in configs.values()), (kind, key)
        translators, generators = ("pix2pix", "cyclegan"), ("gan", "pggan")
        for recipe in {"inverted": translators, "copied": translators, "memorised": generators}.get(kind, MINIMAL):
            assert sum(has(configs[recipe], key.split()[0]) for key in keys.split("; ")) >= 2, (kind, recipe)
    rules = Rules(configs["pix2pix"])
    (text,) = (text for step in (100, 200) for text in rules.judge(step, {"diversity/translator": 0.0}, 2).values())
    assert "recipe.weights.l1 (larger)" in text
    assert "mode_seeking" not in text


@pytest.mark.parametrize(
    ("objective", "fake", "real"),
    [(Minimax(), -20.0, 20.0), (LeastSquares(a=-1, b=1, c=0), -1.0, 1.0), (Hinge(), -2.0, 2.0), (Energy(), 11.0, 0.0)],
)
def test_verdicts_go_from_0_to_1_whatever_the_objective(objective: Any, fake: float, real: float) -> None:
    assert verdict(objective, fake) == pytest.approx(0, abs=1e-6)
    assert verdict(objective, (fake + real) / 2) == pytest.approx(0.5, abs=0.1)
    assert verdict(objective, real) == pytest.approx(1, abs=1e-6)
    assert verdict(Minimax(), 1.0) == pytest.approx(1 / (1 + math.exp(-1)))


def test_spread_by_hand() -> None:
    images = torch.tensor([0.0, 3.0, 3.0])[:, None, None, None].expand(3, 2, 4, 4)
    assert spread(images).item() == pytest.approx(2.0)  # of three pairs, two are 3 apart
    assert spread(torch.ones(4, 1, 2, 2)).item() == 0


class Linear(nn.Module):
    """The logit of an image is (weight · image): its slope is |weight|, everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((12,), slope / math.sqrt(12)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


def watched(slope: float, **options: Any) -> tuple[Adversary, Tensor]:
    """After a step in which everything was kept, and the fakes."""
    config = AdversarialConfig(objective=Wasserstein(), penalties=(GradientPenalty(target=0.5),), **options)
    adversary, fake = Adversary(Linear(slope), config), torch.randn(5, 3, 2, 2, requires_grad=True)
    adversary.watched = True
    adversary.discriminator_losses(torch.randn(5, 3, 2, 2), fake, Clock(0, 0, 1))
    (7 * adversary.generator_loss(fake, Clock(0, 0, 1)) + fake.sum()).backward()
    return adversary, fake


def test_what_the_generator_receives_is_the_slope_whatever_the_weight_and_the_batch() -> None:
    adversary, _ = watched(0.25)
    received = adversary.kept["gradient"].flatten(1).norm(dim=1).sum() / adversary.kept["factor"]
    assert received.item() == pytest.approx(0.25)
    adversary.kept.clear()
    adversary.watched = False
    adversary.discriminator_losses(torch.randn(5, 3, 2, 2), torch.randn(5, 3, 2, 2), Clock(0, 0, 1))
    assert adversary.kept == {}


TOY = """
recipe:
  kind: gan
  generator: {kind: mlp, latent: 2, width: 16, layers: 2}
  discriminator: {kind: mlp, width: 32, layers: 2}
data: {kind: toy, name: ring, batch_size: 32}
optimizer: {kind: adam, lr: 2e-3}
schedule: {kind: constant, epochs: 1}
validation: {every: 1000, samples: 2}
log: {every: 10}
"""
CONV = """
recipe:
  kind: gan
  generator: {kind: dcgan, latent: 4, width: 4}
  discriminator: {kind: dcgan, width: 4}
  penalties: [{kind: gradient_penalty}]
  constraint: {kind: spectral_norm}
  instance_noise: 0.1
data: {kind: dataset, name: folder, root: ROOT, size: 16, batch_size: 4}
schedule: {kind: constant, epochs: 100}
validation: {every: 6, samples: 2}
log: {every: 2}
"""


@pytest.fixture
def conv(tmp_path: Path) -> str:
    """A config on a folder of coloured noise: 30 training and 20 test pictures."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 20)):
        folder = tmp_path / "pictures" / part / "noise"
        folder.mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(folder / f"{index:02}.png")
    path = tmp_path / "conv.yaml"
    path.write_text(CONV.replace("ROOT", str(tmp_path / "pictures")))
    return str(path)


def build(config: str, *overrides: str) -> Iterator[Trainer]:
    run = parse(Path(config).read_text(), config, overrides)
    with placement(run) as place:
        yield _build(run, Path("nowhere"), place)


def examined(trainer: Trainer, networks: Mapping[str, nn.Module]) -> dict[str, float | str]:
    """What two validations after the warm-up find."""
    found: dict[str, float | str] = {}
    for step in (WARM_UP, WARM_UP + 1):
        found |= trainer.doctor.at_validation(step, networks, lambda text: None)
    return found


class Noisy(nn.Module):
    """Pictures of a list, one for each z."""

    def __init__(self, pictures: Tensor) -> None:
        super().__init__()
        self.pictures = pictures

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        chosen = self.pictures[torch.randint(len(self.pictures), (len(latent),))]
        return chosen + 0.05 * torch.randn_like(chosen)


def test_memorised_pictures_are_found_and_new_ones_are_not_called_so(conv: str) -> None:
    (trainer,) = build(conv)
    pictures = torch.stack([trainer.source.train.sample(i, np.random.default_rng(0))[0] for i in range(30)])
    found = examined(trainer, {"generator": Noisy(pictures.flip(3))})
    assert float(found["train/doctor/nearest/generator"]) < 0.2
    assert "as far from training images" in str(found["alarm/memorised/generator"])
    (trainer,) = build(conv)
    new = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (30, 3, 16, 16))).float()
    found = examined(trainer, {"generator": Noisy(new)})
    assert found.keys() == {"train/doctor/nearest/generator"}
    assert found["train/doctor/nearest/generator"] == pytest.approx(1, abs=0.2)


class Act(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, images: Tensor) -> Tensor:
        return self.act(images)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda x: x, {"copied"}),
        (lambda x: -x, {"inverted"}),
        (lambda x: x[:1].expand_as(x) * 0 + torch.linspace(-1, 1, x.shape[3]), {"collapsed"}),
        (lambda x: x.flip(3), set()),
    ],
)
def test_translators_that_copy_invert_or_ignore(
    act: Callable[[Tensor], Tensor], expected: set[str], tiny: Callable[..., str]
) -> None:
    (trainer,) = build(tiny("cyclegan", ("samples: 2", "samples: 5")))
    found = examined(trainer, {"a2b": Act(act), "b2a": Act(lambda x: x.flip(2))})
    assert {key for key in found if key.startswith("alarm/")} == {f"alarm/{kind}/a2b" for kind in expected}
    assert found["train/doctor/change/b2a"] > 0.05  # type: ignore[operator]


def test_a_single_picture_and_other_channels_are_no_reason_to_alarm_or_fail(tiny: Callable[..., str]) -> None:
    (trainer,) = build(tiny("cyclegan", ("samples: 2", "samples: 1")))
    grey = Act(lambda x: x.mean(1, keepdim=True))
    assert examined(trainer, {"a2b": grey, "b2a": grey}) == {}


def test_the_slope_is_measured_against_what_the_penalty_aims_at(conv: str) -> None:
    (trainer,) = build(conv)
    doctor = trainer.doctor
    for slope, expected in ((0.5, 1.0), (2.0, 4.0)):
        doctor.adversaries = {"adversary": watched(slope)[0]}
        found: dict[str, float | str] = {}
        for step in range(WARM_UP, WARM_UP + 2 * LINES, 2):
            doctor.adversaries["adversary"].kept |= watched(slope)[0].kept
            found |= doctor.at_line(step, {}, lambda text: None)
        assert found["train/doctor/slope/adversary"] == pytest.approx(expected)
        assert ("alarm/slope_not_held/adversary" in found) == (expected > 2)


def alarms(run: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in read(run / "metrics.jsonl"):
        for key in row:
            if key.startswith("alarm/"):
                found.setdefault(key, []).append(row["step"])
    return found


def test_a_discriminator_that_wins_is_told_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The minimax game on disjoint supports, with a generator that is too slow: Arjovsky & Bottou 2017, sec. 2."""
    config, run = tmp_path / "toy.yaml", tmp_path / "run"
    config.write_text(TOY)
    settings = ["recipe.objective={kind: minimax}", "players={generator: {rate: 0.01}, discriminator: {rate: 4}}"]
    train(str(config), settings, run, steps=240)
    (step,) = alarms(run)["alarm/discriminator_won/adversary"]
    (row,) = (row for row in read(run / "metrics.jsonl") if "alarm/discriminator_won/adversary" in row)
    assert step >= WARM_UP
    assert row["train/doctor/real/adversary"] > 0.95
    assert row["train/doctor/fake/adversary"] < 0.05
    text = row["alarm/discriminator_won/adversary"]
    assert text in capsys.readouterr().err
    page = (run / "report.html").read_text()
    assert "discriminator_won adversary" in page
    assert "recipe.instance_noise (0.1)" in page


def test_a_healthy_game_is_left_in_peace(tmp_path: Path) -> None:
    config, run = tmp_path / "toy.yaml", tmp_path / "run"
    config.write_text(TOY)
    train(str(config), (), run, steps=240)
    rows = read(run / "metrics.jsonl")
    assert alarms(run) == {}
    assert {
        *("train/doctor/weights/generator", "train/doctor/gradient/discriminator", "train/doctor/received/adversary"),
        *("train/doctor/real/adversary", "train/doctor/fake/adversary", "train/doctor/diversity/generator"),
    } <= set(rows[0])
    assert "<h2>Alarms" not in (run / "report.html").read_text()


@pytest.mark.parametrize("objective", ["wasserstein", "non_saturating"])
def test_watching_changes_no_number(objective: str, conv: str, tmp_path: Path) -> None:
    """Spectral and batch norm have buffers that every call in training mode would change; noise is drawn at random."""
    states, rows = [], []
    for flag in ("true", "false"):
        run = tmp_path / flag
        train(conv, [f"doctor={flag}", f"recipe.objective={{kind: {objective}}}"], run, steps=14)
        states.append(checkpoints.load(run / "checkpoints" / "last.pt"))
        rows.append(
            {
                (row["step"], key): row[key]
                for row in read(run / "metrics.jsonl")
                for key in row
                if key != "seconds" and not key.startswith("train/doctor/")
            }
        )
    assert rows[0] == rows[1]
    assert states[0]["doctor"]
    assert states[1]["doctor"] == {}
    for key, value in states[0]["recipe"].items():
        assert not isinstance(value, Tensor) or torch.equal(value, states[1]["recipe"][key]), key


def test_resumed_it_says_what_it_would_have_said_and_older_checkpoints_load(conv: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(conv, (), whole, steps=12)
    train(conv, (), parts, steps=7)
    train(None, resume=parts, steps=12)
    states = [checkpoints.load(run / "checkpoints" / "last.pt") for run in (whole, parts)]
    assert states[0]["doctor"] == states[1]["doctor"]
    numbers = [
        {(row["step"], key): row[key] for row in read(run / "metrics.jsonl") for key in row if "/doctor/" in key}
        for run in (whole, parts)
    ]
    assert numbers[0] == numbers[1]
    assert (6, "train/doctor/nearest/generator") in numbers[0]
    last = parts / "checkpoints" / "last.pt"
    checkpoints.save(
        last, {key: value for key, value in states[1].items() if key not in ("doctor", "format", "version")}
    )
    train(None, resume=parts, steps=14)
    assert checkpoints.load(last)["doctor"]


def test_off_is_off(conv: str) -> None:
    (trainer,) = build(conv, "doctor=false")
    trainer.doctor.watch(2)
    assert not trainer.doctor.adversaries["adversary"].watched
    assert trainer.doctor.at_line(2, {}, lambda text: None) == examined(trainer, {}) == {}
