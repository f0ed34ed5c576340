import pytest
import torch
import yaml
from pydantic import ValidationError

from translate.batches import Unpaired, UnpairedEnergies
from translate.config.clock import Clock
from translate.config.load import parse
from translate.recipes import find
from translate.recipes.refiner import centroid, centroid_change, energy_change, layer_changes

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
    recipe.refiner_losses(simulated, recipe.refiner(simulated), None, Clock(0, 0, 1))["adversarial"].backward()
    assert bias.grad.sum().sign() == (1 if gain < 1 else -1)  # downhill is towards the data


def settled(recipe, batches, seen=None):
    """What is noted, and the gains, with `batches` in turn as the training data."""
    turn = iter(batches * 100)

    def draw():
        batch = next(turn)
        if seen is not None:
            seen.append(len(batch.a))
        return batch

    with torch.no_grad():
        noted = recipe.settle(recipe.deployed(), draw, Clock(9, 0, 9, 2 * len(batches[0].a)))
    return noted, recipe.refiner.gain.flatten()


def test_calibration_brings_the_mean_response_of_layers_to_that_of_the_data():
    """Of events of other energies: 1/10 of the energy there, with gains of 0.8 and 1.5."""
    recipe, seen = build({"calibrate": True}, energy=True), []
    torch.nn.init.zeros_(recipe.refiner.last.weight)  # R is the identity
    gains, cells = torch.tensor([0.8, 1.5])[:, None, None], images()
    data = UnpairedEnergies(cells, 0.1 * gains * cells, torch.full((16, 1), 2.0), torch.full((16, 1), 1.0))
    noted, found = settled(recipe, [data], seen)
    torch.testing.assert_close(found, gains.flatten())
    torch.testing.assert_close(recipe.refiner(cells), gains * cells)
    assert noted == pytest.approx({"gain/0": 0.8, "gain/1": 1.5})
    assert seen == 3 * 2 * [16]  # an epoch three times


def test_calibration_answers_to_the_electronics():
    """One cell of eight is at the end of its range with the right gain and without it: the ratio of means says 1.166."""
    recipe = build({"calibrate": True, "generator": {"width": 8, "blocks": 1, "saturate": 3.6}})
    torch.nn.init.zeros_(recipe.refiner.last.weight)
    cells = torch.full((16, 2, 4, 4), 2.5)
    cells[:, :, 0, :2] = 4.0
    _, found = settled(recipe, [Unpaired(cells, (1.2 * cells).clamp_max(3.6))])
    torch.testing.assert_close(found, torch.full((2,), 1.2), rtol=1e-3, atol=0)


def test_what_has_no_energy_keeps_its_gain():
    recipe = build({"calibrate": True})
    torch.nn.init.zeros_(recipe.refiner.last.weight)
    cells, data = images(), images(gain=2.0)
    cells[:, 0], data[:, 1] = 0.0, 0.0
    _, found = settled(recipe, [Unpaired(cells, data)])
    torch.testing.assert_close(found, torch.ones(2))


def test_what_is_kept_is_kept_before_gains():
    recipe = build({"calibrate": True, "generator": {"width": 8, "blocks": 1, "saturate": 1e6}})
    torch.nn.init.zeros_(recipe.refiner.last.weight)
    recipe.refiner.gain.fill_(2.0)
    cells = images()
    torch.testing.assert_close(recipe.refiner(cells, read_out=False), cells)
    torch.testing.assert_close(recipe.refiner(cells), 2 * cells)


def test_without_calibration_there_are_no_gains():
    recipe = build()
    assert recipe.settle(recipe.deployed(), lambda: None, Clock(9, 0, 9)) == {}
    assert not [name for name in recipe.state_dict() if "gain" in name]


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
