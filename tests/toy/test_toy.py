"""Figures for teaching: their numbers against closed forms, and that each is drawn."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from translate.adversarial import AdversarialConfig, Hinge
from translate.cli import main
from translate.config.run import Adam
from translate.data.toy import ToySource
from translate.evaluation.modes import count_modes
from translate.toy import clipping, divergences, gradients, modes
from translate.toy.divergences import js, kl, normal, wasserstein
from translate.toy.game import points, train

X = np.linspace(-12, 20, 6401)


@pytest.mark.parametrize("place", [0.0, 0.5, 2.0, 6.0])
def test_divergences_of_displaced_normal_distributions(place: float) -> None:
    """KL = d²/2, W₁ = d; JS lies between the bounds that KL and log 2 give."""
    p, q = normal(X), normal(X, place)
    assert kl(p, q, X) == pytest.approx(place**2 / 2, abs=1e-6)
    assert kl(q, p, X) == pytest.approx(place**2 / 2, abs=1e-6)
    assert wasserstein(p, q, X) == pytest.approx(place, abs=1e-6)
    assert -1e-12 <= js(p, q, X) <= min(kl(p, q, X) / 4, math.log(2)) + 1e-9
    assert js(p, q, X) == pytest.approx(js(q, p, X))


def test_without_overlap_jensen_shannon_is_log_two_however_far() -> None:
    found = [js(normal(X), normal(X, place), X) for place in (12.0, 14.0)]
    assert found == pytest.approx([math.log(2)] * 2, abs=1e-6)
    near, far = (np.where((left <= X) & (left + 1 > X), 1.0, 0.0) for left in (0.0, 5.0))
    assert kl(near, far, X) == math.inf
    assert js(near, far, X) == pytest.approx(math.log(2), rel=1e-6)
    assert wasserstein(near, far, X) == pytest.approx(5)
    half = np.where((X >= 0.5) & (X < 1.5), 1.0, 0.0)
    assert js(near, half, X) == pytest.approx(math.log(2) / 2, rel=1e-6)  # half of each has the other under it


def test_the_saturating_gradient_vanishes_and_no_remedy_lets_it() -> None:
    found = {name: gradients.slopes(config, 250, 0) for name, (_, config) in gradients.CASES.items()}
    assert all(len(values) == 26 for values in found.values())
    assert found["saturating"][-1] < 1e-4 < 1e-2 < found["saturating"][:5].max()
    assert all(values[-1] > 5e-3 for name, values in found.items() if name != "saturating")
    assert found["non-saturating"][-1] > 1
    assert found["Wasserstein + penalty"][-1] == pytest.approx(1, abs=0.2)  # the slope that the penalty asks for


def test_numbers_follow_from_the_seed_and_leave_torchs_own_alone() -> None:
    _, config = gradients.CASES["saturating + noise"]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = gradients.slopes(config, 20, 0)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert (gradients.slopes(config, 20, 0) == first).all()
    assert (gradients.slopes(config, 20, 1) != first).all()


def test_clipped_weights_go_to_the_limits_and_penalised_slopes_to_one() -> None:
    clipped, penalised = (clipping.critic(settings, 150, 0) for settings in (clipping.CLIPPED, clipping.PENALTY))
    found = clipping.weights(clipped).abs()
    assert len(found) == 2 * 128 + 2 * 128**2 + 128
    assert found.max() <= clipping.LIMIT
    assert (found > 0.99 * clipping.LIMIT).float().mean() > 0.3
    free = clipping.weights(penalised).abs()
    assert free.max() > 1.5 * clipping.LIMIT
    places = points(ToySource(clipping.DATA), np.random.default_rng(1), 500) + torch.randn(500, 2, 1, 1)
    assert clipping.slopes(penalised, places).mean() == pytest.approx(1, abs=0.2)
    assert clipping.slopes(clipped, places).mean() > 3


def test_slopes_of_a_critic_that_is_known() -> None:
    game = clipping.critic(clipping.PENALTY, 0, 0)
    game.discriminator = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 1))
    with torch.no_grad():
        game.discriminator[1].weight.copy_(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(clipping.slopes(game, torch.randn(5, 2, 1, 1)), torch.full((5,), 5.0))


def test_training_moves_the_discriminator_alone_and_says_when() -> None:
    game = clipping.critic((AdversarialConfig(objective=Hinge()), Adam()), 0, 0)
    before = [parameter.detach().clone() for parameter in game.parameters()]
    pair = torch.ones(4, 2, 1, 1), -torch.ones(4, 2, 1, 1)
    clocks = train(game, lambda: pair, Adam(lr=1e-2), 3)
    assert next(clocks).step == 0
    assert all(torch.equal(a, b) for a, b in zip(before, game.parameters(), strict=True))  # not yet
    assert [clock.step for clock in clocks] == [1, 2, 3]
    real, fake = (game.judge(images).logits.mean() for images in pair)
    assert real > fake


def test_a_bounded_slope_covers_more_of_the_ring_than_minimax_does() -> None:
    data = ToySource(modes.DATA[0])
    assert data.modes is not None
    covered = {}
    for name in ("minimax", "non-saturating + R1"):
        found = modes.samples(data, modes.STRONG.model_copy(update=modes.CASES[name][1]), 80, 0)
        assert found.shape == (2500, 2)
        covered[name] = count_modes(found, *data.modes).covered
    assert covered["minimax"] < 7 <= covered["non-saturating + R1"]


@pytest.mark.parametrize("name", ["clipping", "divergences", "gradients", "modes"])
def test_each_is_drawn_1200_pixels_wide(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["toy", name, *(["--steps", "2"] if name != "divergences" else [])]) == 0
    assert capsys.readouterr().out == f"{name}.png\n"
    with Image.open(f"{name}.png") as picture:
        assert picture.width == 1200
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--steps", "3"], "divergences: nothing is trained: leave --steps and --seed out"),
        (["-o", str(tmp_path / "x.xyz")], "x.xyz: cannot be written"),
        (["-o", str(tmp_path / "no" / "x.png")], "x.png: cannot be written"),
    ):
        assert main(["toy", "divergences", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert divergences.draw().axes
