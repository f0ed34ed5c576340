import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from scipy.stats import energy_distance

from translate.batches import Unpaired, UnpairedEnergies
from translate.config.clock import Clock
from translate.config.load import parse
from translate.errors import ConfigError
from translate.recipes import find
from translate.recipes.refiner import (
    centroid,
    centroid_change,
    distance,
    energy_change,
    layer_changes,
    sums,
)

SMALL = {
    "generator": {"width": 8, "blocks": 1},
    "discriminator": {"kind": "shower", "width": 4},
    "discriminator_updates": 2,
    "pool_size": 0,
}


def build(options=None, channels=2, size=(4, 4), energy=False):
    written = {"recipe": {"kind": "refiner"} | SMALL | (options or {}), "data": {"kind": "detector", "root": "x"}}
    run = parse(yaml.safe_dump(written), "x")
    torch.manual_seed(0)
    return find("refiner")(run.recipe, {"a": channels, "b": channels} | ({"energy": 1} if energy else {}), size).train()


def images(count=16, gain=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.empty(count, 2, 4, 4).exponential_(generator=generator)
    return gain * cells * (torch.rand(cells.shape, generator=generator) < 0.5)


def test_conservation_by_hand():
    before = torch.zeros(2, 2, 3, 3)
    before[0, 0, 1, 1], before[1, 1, 0, 2] = 4.0, 2.0  # sums 4 and 2, mean 3
    after = before.clone()
    after[0, 0, 1, 1] = 7.0  # sum +3
    torch.testing.assert_close(energy_change(before, after), torch.tensor((3 / 3) ** 2 / 2))
    torch.testing.assert_close(centroid(before), torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 2.0]]))
    assert centroid_change(before, after) == 0
    after[0, 0, 1, 1], after[0, 1, 2, 1] = 2.0, 2.0  # the centre moves by (½, ½, 0)
    torch.testing.assert_close(centroid_change(before, after), torch.tensor(0.5 / 2))
    assert energy_change(before, after) == 0


def test_layers_are_kept_but_for_a_gain_each():
    before = images()
    gains = torch.tensor([0.9, 1.3])[:, None, None]
    assert layer_changes(before, gains * before) < 1e-10
    sums = before.sum((2, 3))
    after = (
        before * (1 + 0.1 * torch.tensor([1.0, -1.0]).repeat(8))[:, None, None, None]
    )  # in turn, so that κ is about 1
    x, y = sums / sums.sum(1).mean(), after.sum((2, 3)) / sums.sum(1).mean()
    expected = ((y - torch.stack([y[:, c] @ x[:, c] / (x[:, c] @ x[:, c]) for c in (0, 1)]) * x) ** 2).sum(1).mean()
    torch.testing.assert_close(layer_changes(before, after), expected)
    assert 0.002 < expected < 0.05
    assert layer_changes(torch.zeros(2, 2, 3, 3), torch.zeros(2, 2, 3, 3)) == 0


def test_the_sum_of_signed_images_may_be_nothing():
    before = torch.tensor([1.0, -1.0]).view(1, 1, 1, 2)
    assert torch.isfinite(energy_change(before, before * 2))
    assert torch.isfinite(centroid(torch.zeros(1, 1, 2, 2))).all()


def test_losses_are_those_of_the_paper():
    recipe = build(
        {
            "weights": {"l1": 2.0, "energy": 3.0, "centroid": 4.0, "layers": 5.0},
            "generator": {"width": 8, "blocks": 1, "compress": 0.5},
        }
    )
    batch = Unpaired(images(), images(seed=1))
    turns = list(recipe.step(lambda: batch, Clock(0, 0, 1)))
    assert [turn.player for turn in turns] == ["discriminator", "discriminator", "refiner"]
    refined, judge = recipe.refiner(batch.a), recipe.adversary.discriminator
    seen = {name: torch.log1p(x / 0.5) for name, x in (("a", batch.a), ("b", batch.b), ("refined", refined))}
    losses = turns[-1].losses
    torch.testing.assert_close(losses["adversarial"], -judge(seen["refined"]).logits.mean())
    torch.testing.assert_close(losses["l1"], 2 * (seen["refined"] - seen["a"]).abs().mean())
    torch.testing.assert_close(losses["energy"], 3 * energy_change(batch.a, refined))
    torch.testing.assert_close(losses["centroid"], 4 * centroid_change(batch.a, refined))
    torch.testing.assert_close(losses["layers"], 5 * layer_changes(batch.a, refined))
    expected = judge(seen["refined"]).logits.mean() - judge(seen["b"]).logits.mean()
    torch.testing.assert_close(turns[0].losses["discriminator"], expected)
    assert "gradient_penalty" in turns[0].losses


@pytest.mark.parametrize("limit", [{"saturate": 0.5}, {"saturate": 0.8, "suppress": 0.5}, {"readout_noise": 3.0}])
def test_what_is_kept_is_what_was_there_before_the_electronics(limit):
    recipe = build(
        {
            "weights": {"energy": 1.0, "layers": 1.0, "centroid": 1.0},
            "generator": {"width": 8, "blocks": 1, "compress": 0.5} | limit,
        }
    )
    torch.nn.init.zeros_(recipe.refiner.last.weight)  # R is the identity, and then the electronics
    batch = Unpaired(images(), images(seed=1))
    losses = list(recipe.step(lambda: batch, Clock(0, 0, 1)))[-1].losses
    refined = recipe.refiner(batch.a)
    for name, change in (("energy", energy_change), ("layers", layer_changes), ("centroid", centroid_change)):
        assert losses[name].item() == pytest.approx(0, abs=1e-10)
        assert change(batch.a, refined) > 1e-3
    assert losses["l1"] > 0.05  # images are compared as they are seen


def test_zero_suppression_alone_belongs_to_what_is_kept():
    recipe = build(
        {"weights": {"energy": 1.0}, "generator": {"width": 8, "blocks": 1, "compress": 0.5, "suppress": 0.5}}
    )
    batch = Unpaired(images(), images(seed=1))
    losses = list(recipe.step(lambda: batch, Clock(0, 0, 1)))[-1].losses
    torch.testing.assert_close(losses["energy"], energy_change(batch.a, recipe.refiner(batch.a)))
    assert losses["energy"] > 1e-3


def test_the_critic_is_told_each_energy():
    recipe = build({"generator": {"width": 8, "blocks": 1, "compress": 0.5}}, energy=True)
    batch = UnpairedEnergies(images(), images(seed=1), torch.rand(16, 1), 1 + torch.rand(16, 1))
    asked = []
    recipe.adversary.discriminator.register_forward_pre_hook(lambda _, arguments: asked.append(arguments[0].detach()))
    turns = list(recipe.step(lambda: batch, Clock(0, 0, 1)))
    assert set(turns[-1].losses) == {"adversarial", "l1"}
    data, refined = asked[0], asked[-1]
    torch.testing.assert_close(data[:, :2], torch.log1p(batch.b / 0.5))
    for seen, energy in ((data, batch.energy_b), (refined, batch.energy_a)):
        assert seen.shape == (16, 3, 4, 4)
        torch.testing.assert_close(seen[:, 2], energy[:, :, None].expand(16, 4, 4))
    assert recipe.preview(recipe.deployed(), batch)["refined"].shape == batch.a.shape


def test_responses_by_hand():
    showers = torch.zeros(2, 2, 3, 3)
    showers[0, 0, 1, 1], showers[0, 1, 0, 0], showers[1, 1, 2, 2] = 3.0, 1.0, 5.0
    torch.testing.assert_close(sums(showers, None), torch.tensor([[3.0, 1.0, 4.0], [0.0, 5.0, 5.0]]))
    of = torch.tensor([[0.0], [1.0]])  # 1 and 10 in their unit
    torch.testing.assert_close(sums(showers, of), torch.tensor([[3.0, 1.0, 4.0], [0.0, 0.5, 0.5]]))


def test_the_distance_is_that_of_their_distributions():
    generator = torch.Generator().manual_seed(0)
    made, truth = torch.randn(500, 2, generator=generator) + 1, 3 * torch.randn(400, 2, generator=generator) + 2
    n, m = len(made), len(truth)
    expected = [
        energy_distance(x, y) ** 2
        - np.abs(x[:, None] - x).mean() / (n - 1)  # scipy's pairs are of an event and itself, too
        - np.abs(y[:, None] - y).mean() / (m - 1)
        for x, y in zip(made.T.numpy(), truth.T.numpy(), strict=True)
    ]
    assert min(expected) > 0.5
    assert distance(made, truth).item() == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize(("mean", "expected"), [(1.0, 0.0), (1.5, 0.1), (3.0, 1.0)])
def test_the_distance_of_small_batches_is_that_of_the_distributions_in_the_mean(mean, expected):
    """Of exponentials of the means a and b it is (a − b)² / (a + b)."""
    pairs = torch.empty(20_000, 2, 4, 1).exponential_(generator=torch.Generator().manual_seed(0))
    found = torch.stack([distance(mean * x, y) for x, y in pairs])
    assert found.mean().item() == pytest.approx(expected, abs=3 * found.std().item() / 20_000**0.5)
    assert found.min() < 0


def test_sums_bring_each_layer_to_the_data_whatever_the_energies_are():
    """Data of another gain in each layer, of which the spectrum of energies says nothing: energies differ, too."""
    recipe = build(
        {"weights": {"sums": 1.0, "adversarial": 0.0, "l1": 0.0}, "generator": {"width": 8, "mix": 1}}, energy=True
    )
    recipe.refiner.requires_grad_(False)
    map_ = recipe.refiner.mix.weight.requires_grad_()
    optimizer = torch.optim.Adam([map_], 3e-3)
    gains = torch.tensor([0.8, 1.25])[:, None, None]
    for step in range(300):
        of_a, of_b = (torch.rand(16, 1, generator=torch.Generator().manual_seed(s)) for s in (step, 1000 + step))
        a, b = (
            images(seed=step) * 10 ** of_a[..., None, None],
            gains * images(seed=1000 + step) * 10 ** of_b[..., None, None],
        )
        losses = recipe.refiner_losses(UnpairedEnergies(a, b, of_a, of_b), Clock(step, 0, 300))
        optimizer.zero_grad()
        losses["sums"].backward()
        optimizer.step()
    a = images(2000, seed=7)
    torch.testing.assert_close(
        sums(recipe.refiner(a), None).mean(0)[:2] / sums(a, None).mean(0)[:2],
        gains.flatten(),
        rtol=0.05,
        atol=0,
    )


def test_one_event_is_no_distribution():
    recipe = build({"weights": {"sums": 1.0}})
    batch = Unpaired(images(1), images(1, seed=1))
    with pytest.raises(ConfigError, match="compares distributions: set data"):
        list(recipe.step(lambda: batch, Clock(0, 0, 1)))


def test_terms_that_are_off_are_not_there():
    recipe = build({"weights": {"l1": 0.0}})
    batch = Unpaired(images(), images(seed=1))
    assert set(list(recipe.step(lambda: batch, Clock(0, 0, 1)))[-1].losses) == {"adversarial"}


def test_the_critic_is_shown_earlier_refined_images():
    recipe = build({"pool_size": 8})
    batch = Unpaired(images(), images(seed=1))
    list(recipe.step(lambda: batch, Clock(0, 0, 1)))
    assert len(recipe.adversary.pool.stored) == 8


@pytest.mark.parametrize("gain", [0.5, 2.0])
def test_a_trained_critic_moves_the_refiner_towards_the_gain_of_the_data(gain):
    gentle = {"penalties": [{"kind": "gradient_penalty", "weight": 1.0}], "discriminator_updates": 5}
    recipe = build({"generator": {"width": 8, "blocks": 1, "compress": 0.1}, "weights": {"l1": 0.0}} | gentle)
    recipe.refiner.requires_grad_(False)
    optimizer = torch.optim.Adam(recipe.adversary.discriminator.parameters(), 1e-3, betas=(0.0, 0.9))

    def full(seed, gain=1.0):
        return gain * torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(seed)).exp()

    for step in range(30):
        batch = Unpaired(full(step), full(1000 + step, gain))
        for turn in recipe.step(lambda batch=batch: batch, Clock(step, 0, 30)):
            if turn.player == "discriminator":
                recipe.zero_grad()
                sum(turn.losses.values()).backward()
                optimizer.step()
    bias, simulated = recipe.refiner.last.bias.requires_grad_(), full(5000)
    recipe.refiner_losses(Unpaired(simulated, simulated), Clock(0, 0, 1))["adversarial"].backward()
    assert bias.grad.sum().sign() == (1 if gain < 1 else -1)  # downhill is towards the data


def test_shown_and_compared():
    recipe = build()
    batch = Unpaired(images(), images(seed=1))
    shown = recipe.preview(recipe.deployed(), batch)
    torch.testing.assert_close(shown["change"], shown["refined"] - shown["simulation"])
    assert recipe.compare(recipe.deployed(), batch)["refiner"].truth is batch.b
    assert recipe.sides() == {"refiner": ("a", "b")}


def test_patches_of_any_size():
    recipe = build({"discriminator": {"kind": "patchgan", "width": 4, "layers": 1, "norm": "none"}}, size=None)
    batch = Unpaired(torch.rand(2, 2, 8, 12), torch.rand(2, 2, 8, 12))
    assert all(
        torch.isfinite(loss) for turn in recipe.step(lambda: batch, Clock(0, 0, 1)) for loss in turn.losses.values()
    )


def test_a_wasserstein_critic_needs_its_penalty():
    with pytest.raises(ValidationError, match="no minimum unless"):
        find("refiner").Config(penalties=())
