import pytest
import torch
import yaml

from translate.batches import Conditioned
from translate.config.clock import Clock
from translate.config.load import parse
from translate.errors import ConfigError
from translate.recipes import find
from translate.recipes.shower_gan import score

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


def test_score_by_hand():
    zero = torch.zeros(1, 2)
    # ½ (|X − y| + |X' − y| − |X − X'|): y between the draws, y beyond them, y aside
    for other, truth, expected in (((4, 0), (1, 0), 0), ((4, 0), (6, 0), 2), ((0, 0), (3, 4), 5)):
        drawn = score(zero, torch.tensor([other], dtype=torch.float32), torch.tensor([truth], dtype=torch.float32))
        torch.testing.assert_close(drawn, torch.tensor(float(expected)), atol=2e-6, rtol=0)


@pytest.mark.parametrize("wrong", [(0.2, 1.0), (0.0, 0.7), (0.0, 1.4)])
def test_the_score_is_least_for_the_right_distribution(wrong):
    torch.manual_seed(0)
    one, other, truth = torch.randn(3, 100_000, 1)
    shift, width = wrong
    assert score(one, other, truth) < score(width * one + shift, width * other + shift, truth)


def test_the_score_has_a_gradient_where_draws_agree():
    drawn = torch.ones(3, 2, requires_grad=True)
    score(drawn, drawn, torch.ones(3, 2)).backward()
    assert torch.isfinite(drawn.grad).all()


def test_each_player_moves_by_its_own_losses():
    """What makes the energies of layers hears nothing of the critic, and the rest nothing of the score."""
    recipe, given = build(), batch()
    owned = {name: {p for module in modules for p in module.parameters()} for name, modules in recipe.players().items()}
    assert set.union(*owned.values()) == set(recipe.parameters())
    for turn in recipe.step(lambda: given, Clock(0, 0, 1)):
        recipe.zero_grad()
        sum(turn.losses.values()).backward()
        moved = {p for p in recipe.parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        for player in ("energies", "generator"):
            assert moved & owned[player] == (owned[player] if player == turn.player else set())


def test_the_first_batch_sets_the_scale_of_energies_and_no_later_one():
    recipe, first, later = build(), batch(seed=1), batch(seed=2)
    batches = iter([first, later, later, later])
    for step in range(2):
        list(recipe.step(lambda: next(batches), Clock(step, 0, 2)))
    torch.testing.assert_close(recipe.generator.energies.scale.square(), first.image.sum((1, 2, 3)).mean())


def test_real_and_generated_showers_are_told_apart_by_the_same_conditions():
    recipe = build()
    given = batch()
    told = []
    recipe.adversary.discriminator.register_forward_hook(lambda _, arguments, __: told.append(arguments[1]))
    turns = list(recipe.step(lambda: given, Clock(0, 0, 1)))
    assert [turn.player for turn in turns] == ["energies", "discriminator"] * 2 + ["generator"]
    expected = torch.cat([given.condition, torch.nn.functional.one_hot(given.label, 2)], 1)
    assert all(torch.equal(code, expected) for code in told)
    assert [set(turn.losses) for turn in turns[:2]] == [{"score"}, {"discriminator", "gradient_penalty"}]


def test_energy_and_type_are_learnt():
    recipe = build()
    optimizers = {
        name: torch.optim.Adam([p for module in modules for p in module.parameters()], 3e-3, betas=(0.0, 0.9))
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
        ratio = fake[chosen].sum() / real.image[chosen].sum()
        assert 0.7 < ratio < 1.4, ratio
    assert fake[high].sum((1, 2, 3)).mean() > 1.5 * fake[~high].sum((1, 2, 3)).mean()
    for label in (0, 1):
        widths = [cells[real.label == label].sum((1, 2, 3)).std() for cells in (fake, real.image)]
        assert 0.7 < widths[0] / widths[1] < 1.4, widths


def test_signed_layers_are_no_energy():
    recipe = build({"generator": {"latent": 4, "width": 8, "signed": [1]}})
    given = batch()
    recipe.scale_to(given.image)
    expected = recipe_score(recipe, given)
    given.image[:, 1] = -5
    assert recipe_score(recipe, given) == expected
    energies = recipe.generator.energies(recipe.generator.told(recipe.latent(given.condition), given.label))
    assert (energies[:, 0] > 0).all()
    assert (energies[:, 1] == 0).all()


def recipe_score(recipe, given):
    torch.manual_seed(1)
    return recipe.energy_score(given.image, given.label, given.condition)


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


def test_in_use_small_cells_are_0_and_layers_keep_their_energy():
    recipe = build()
    generator = recipe.generator
    latent, label = recipe.latent(torch.zeros(50, 1)), torch.zeros(50, dtype=torch.long)
    generator.eval()
    with torch.no_grad():
        whole = generator(latent, label)
        least = whole[whole > 0].median().item()
        generator.config = generator.config.model_copy(update={"suppress": least})
        cut = generator(latent, label)
        torch.manual_seed(0)
        trained = generator.train()(latent, label)
    assert (cut[cut > 0] >= least * (1 - 1e-6)).float().mean() > 0.9  # layers of less energy keep their largest cell
    assert 0.2 < (cut > 0).sum() / (whole > 0).sum() < 0.8
    torch.testing.assert_close(cut.sum((2, 3)), whole.sum((2, 3)))
    assert (trained[trained > 0] < least).any()
