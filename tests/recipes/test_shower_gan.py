import pytest
import torch
import yaml

from translate.batches import Conditioned
from translate.config.clock import Clock
from translate.config.load import parse
from translate.errors import ConfigError
from translate.recipes import find
from translate.recipes.shower_gan import moments_apart

SMALL = {"generator": {"latent": 4, "width": 8}, "discriminator": {"width": 4}, "discriminator_updates": 2}
CLASSES = ("electron", "pion")


def build(options=None, size=(4, 4), channels=2):
    written = {"recipe": {"kind": "shower_gan"} | SMALL | (options or {}), "data": {"kind": "detector", "root": "x"}}
    run = parse(yaml.safe_dump(written), "x")
    torch.manual_seed(0)
    return find("shower_gan")(run.recipe, {"image": channels}, size, CLASSES).train()


def batch(count=32, seed=0):
    """Cells of a tenth of exp(condition), more of them in the second class."""
    generator = torch.Generator().manual_seed(seed)
    condition = torch.rand(count, 1, generator=generator) * 2 - 1
    label = torch.randint(2, (count,), generator=generator)
    cells = torch.empty(count, 2, 4, 4).exponential_(generator=generator)
    kept = torch.rand(cells.shape, generator=generator) < (0.2 + 0.4 * label.view(-1, 1, 1, 1))
    return Conditioned(0.1 * condition.exp().view(-1, 1, 1, 1) * cells * kept, label, condition)


def test_moments_by_hand():
    condition = torch.tensor([[1.0], [-1.0]])
    real = torch.tensor([2.0, 2.0])
    assert moments_apart(real, real, condition) == 0
    # relative to 2: mean +½, mean times condition ½, deviation ½
    torch.testing.assert_close(moments_apart(torch.tensor([4.0, 2.0]), real, condition), torch.tensor(1.5))
    # the mean is right, the slope and the deviation are not: ½ + ½
    torch.testing.assert_close(moments_apart(torch.tensor([3.0, 1.0]), real, condition), torch.tensor(1.0))


def test_real_and_generated_showers_are_told_apart_by_the_same_conditions():
    recipe = build()
    given = batch()
    told = []
    recipe.adversary.discriminator.register_forward_hook(lambda _, arguments, __: told.append(arguments[1]))
    turns = list(recipe.step(lambda: given, Clock(0, 0, 1)))
    assert [turn.player for turn in turns] == ["discriminator", "discriminator", "generator"]
    expected = torch.cat([given.condition, torch.nn.functional.one_hot(given.label, 2)], 1)
    assert all(torch.equal(code, expected) for code in told)
    assert set(turns[-1].losses) == {"adversarial", "energy"}
    assert set(turns[0].losses) == {"discriminator", "gradient_penalty"}


def test_energy_and_type_are_learnt():
    recipe = build({"weights": {"energy": 10.0}})
    optimizers = {
        name: torch.optim.Adam(modules[0].parameters(), 3e-3, betas=(0.0, 0.9))
        for name, modules in recipe.players().items()
    }
    draws = iter(range(10_000))
    for step in range(150):
        for turn in recipe.step(lambda: batch(seed=next(draws)), Clock(step, 0, 150)):
            recipe.zero_grad()
            sum(turn.losses.values()).backward()
            optimizers[turn.player].step()
    recipe.eval()
    real = batch(2000, seed=50_000)
    with torch.no_grad():
        fake = recipe.generator(recipe.latent(real.condition), real.label)
    high = real.condition[:, 0] > 0
    for chosen in (high, ~high, real.label == 0, real.label == 1):
        ratio = recipe.deposited(fake)[chosen].mean() / recipe.deposited(real.image)[chosen].mean()
        assert 0.7 < ratio < 1.4, ratio
    assert recipe.deposited(fake)[high].mean() > 1.5 * recipe.deposited(fake)[~high].mean()


def test_signed_layers_are_no_energy():
    recipe = build({"generator": {"latent": 4, "width": 8, "signed": [1]}})
    showers = torch.ones(1, 2, 4, 4)
    showers[:, 1] = -5
    assert recipe.deposited(showers) == 16


def test_what_is_deployed():
    recipe, given = build(), batch(4)
    assert recipe.latents() == 5
    assert recipe.labels() == CLASSES
    shown = recipe.preview(recipe.deployed(), given)
    assert len(shown) == 5
    assert all(image.shape == (4, 2, 4, 4) for image in shown.values())


def test_mistakes():
    with pytest.raises(ConfigError, match=r"data\.crop"):
        build(size=None)
    with pytest.raises(ConfigError, match=r"recipe\.pool_size"):
        build({"pool_size": 4})
