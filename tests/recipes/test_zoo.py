"""One test for all recipes: who moves when, that nothing is forgotten, and that every option of the game can be chosen."""

from typing import Any, cast

import pytest
import torch
import yaml
from torch import Tensor

from translate.batches import Images, Labelled
from translate.config.clock import Clock, Ramp
from translate.config.load import parse
from translate.recipes import Recipe, find
from translate.recipes.base import halved
from translate.recipes.gan import GAN
from translate.training.devices import Placement
from translate.training.graph import HostDecides, RecordingClock, Told
from translate.training.update import Update

SMALL = {
    "pix2pix": {
        "generator": {"kind": "unet", "width": 4, "depth": 3},
        "discriminator": {"kind": "patchgan", "width": 4, "layers": 2, "norm": "batch"},
    },
    "cyclegan": {
        "generator": {"kind": "resnet", "width": 4, "blocks": 1},
        "discriminator": {"kind": "patchgan", "width": 4, "layers": 2},
    },
}
DCGAN = {"generator": {"kind": "dcgan", "latent": 6, "width": 4}, "discriminator": {"kind": "dcgan", "width": 4}}
CLASSES = ("cat", "dog", "bird")
# Recipes that generate from noise: kind, options, whether the data have classes.
GENERATORS: list[tuple[str, dict[str, Any]]] = [
    ("gan", DCGAN),
    ("gan", DCGAN | {"discriminator_updates": 2, "prior": "uniform", "weights": {"mode_seeking": 1}}),
    ("gan", DCGAN | {"augment": {}, "ensemble": [{"capacity": 0.5}, {"noise": 2}], "instance_noise": 0.1}),
    ("gan", DCGAN | {"objective": {"kind": "wasserstein"}, "constraint": {"kind": "weight_clip"}}),
    (
        "gan",
        {
            "generator": {"kind": "residual", "latent": 6, "widths": [4, 4, 4], "condition": "batch_norm"},
            "discriminator": {"kind": "residual", "widths": [4, 4, 4], "condition": "projection"},
            "objective": {"kind": "hinge"},
            "constraint": {"kind": "spectral_norm"},
        },
    ),
    (
        "gan",
        {
            "generator": {"kind": "dcgan", "latent": 6, "width": 4, "condition": "multiply", "attention": 8},
            "discriminator": {"kind": "dcgan", "width": 4, "norm": "none", "condition": "auxiliary"},
            "objective": {"kind": "wasserstein"},
            "penalties": [{"kind": "gradient_penalty"}, {"kind": "drift"}],
        },
    ),
    (
        "gan",
        {
            "generator": {"kind": "dcgan", "latent": 6, "width": 4},
            "discriminator": {"kind": "autoencoder", "width": 4, "layers": 2},
            "objective": {"kind": "energy", "margin": 1.0},
            "weights": {"pulling_away": 0.1},
        },
    ),
    (
        "pggan",
        {
            "generator": {"kind": "progressive", "latent": 6, "width": 4},
            "discriminator": {"kind": "progressive", "width": 4},
            "batch_sizes": [4, 2, 1],
        },
    ),
]
LIPSCHITZ = {"penalties": [{"kind": "gradient_penalty"}]}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *GENERATORS,
    *((kind, {}) for kind in SMALL),
    *(
        (kind, {"objective": {"kind": o}})
        for kind in SMALL
        for o in ("minimax", "non_saturating", "maximum_likelihood", "least_squares", "hinge")
    ),
    *((kind, {"objective": {"kind": "wasserstein"}} | LIPSCHITZ) for kind in SMALL),
    *(
        (kind, {"penalties": [{"kind": "r1"}, {"kind": "gradient_penalty", "sided": "one", "at": "real"}]})
        for kind in SMALL
    ),
    *(
        (kind, {"constraint": {"kind": c}, "objective": {"kind": "wasserstein"}})
        for kind in SMALL
        for c in ("weight_clip", "spectral_norm")
    ),
    *(
        (kind, {"labels": {"real": 0.9, "flip": 0.1}, "instance_noise": {"start": 0.2, "end": 0}, "pool_size": 4})
        for kind in SMALL
    ),
    *((kind, {"discriminator": {"kind": "pixelgan", "width": 4}}) for kind in SMALL),
    (
        "pix2pix",
        {
            "generator": {
                "kind": "resnet",
                "width": 4,
                "blocks": 1,
                "norm": "group",
                "dropout": 0.5,
                "upsampling": "resize",
            }
        },
    ),
    ("pix2pix", {"weights": {"adversarial": 0}}),
    ("pix2pix", {"weights": {"l1": {"start": 100, "end": 10}}}),
    ("cyclegan", {"generator": {"kind": "unet", "width": 4, "depth": 3, "norm": "none"}, "weights": {"identity": 0}}),
]


def build(kind: str, options: dict[str, Any], channels: int = 3) -> Recipe:
    data = {"pix2pix": "paired", "cyclegan": "unpaired"}.get(kind, "images")
    written = {"recipe": {"kind": kind} | SMALL.get(kind, {}) | options, "data": {"kind": data, "root": "x"}}
    run = parse(yaml.safe_dump(written), "x")
    torch.manual_seed(0)
    method = find(kind)
    if kind in SMALL:
        return method(run.recipe, dict.fromkeys(method.batch_type._fields, channels)).train()
    return method(run.recipe, {"image": channels}, (16, 16), CLASSES if "condition" in str(options) else ()).train()


def batch(recipe: Recipe, count: int = 2, size: int = 32) -> Any:
    if isinstance(recipe, GAN):
        images = torch.rand(count, 3, 16, 16) * 2 - 1
        return Labelled(images, torch.arange(count) % 3) if recipe.classes else Images(images)
    fields = recipe.batch_type._fields  # type: ignore[union-attr]
    return recipe.batch_type(*(torch.rand(count, 3, size, size) * 2 - 1 for _ in fields))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "options"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "-".join(value) or "default"
)
def test_each_player_moves_in_its_own_turn_and_nobody_else(
    kind: str, options: dict[str, Any], dtype: torch.dtype | None
) -> None:
    recipe = build(kind, options)
    place = Placement(torch.device("cpu"), dtype, torch.channels_last if dtype else torch.contiguous_format)
    place.place(recipe)
    players = recipe.players()
    parameters = {name: [p for module in modules for p in module.parameters()] for name, modules in players.items()}
    owned = [id(p) for group in parameters.values() for p in group]
    assert len(owned) == len(set(owned))
    unowned = {id(p) for p in recipe.parameters()} - set(owned)
    assert not unowned or options.get("weights") == {"adversarial": 0}
    optimizer = parse("recipe: {kind: pix2pix}\ndata: {kind: glyphs}", "x").optimizer
    updates = {name: Update(modules, optimizer, place) for name, modules in players.items()}
    images = place.move(batch(recipe))
    before = {name: [p.detach().clone() for p in group] for name, group in parameters.items()}
    seen = set()
    clip = options.get("constraint") == {"kind": "weight_clip"}
    for step in range(2):
        for turn in recipe.step(lambda: images, Clock(step, step * 2, 4)):
            assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in turn.losses.values())
            updates[turn.player](turn)
            seen.add(turn.player)
            for name, group in parameters.items():
                changed = [not torch.equal(p, old) for p, old in zip(group, before[name], strict=True)]
                if name == turn.player:
                    used = [p.grad is not None for p in group]
                    if kind == "pggan":  # whose finer layers wait, and whose coarser ends retire
                        assert changed == used
                        assert 0 < sum(used) < len(used)
                    else:
                        assert all(used), "a parameter that no loss reaches"
                        idle = 4 if "attention" in str(options) and name == "generator" and step == 0 else 0
                        assert sum(changed) >= 0.8 * (len(changed) - idle)  # attention counts from gamma > 0 on
                elif not clip:  # which acts after the discriminator's turn
                    assert not any(changed), (turn.player, name)
                before[name] = [p.detach().clone() for p in group]
    assert seen == set(players)
    if clip:
        assert (
            max(p.abs().max() for name, group in parameters.items() if "discriminator" in name for p in group)
            <= 0.01 + 2e-4
        )


def test_pix2pix_losses_are_those_of_the_paper() -> None:
    recipe = build("pix2pix", {"generator": {"kind": "unet", "width": 4, "depth": 3, "dropout": 0}})
    images = batch(recipe)
    turns = {turn.player: turn.losses for turn in recipe.step(lambda: images, Clock(0, 0, 1))}
    fake = recipe.deployed()["translator"](images.source)
    judge = recipe.adversary.discriminator
    on_fake = judge(torch.cat([images.source, fake], 1))
    on_real = judge(torch.cat([images.source, images.target], 1))
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(turns["generator"]["l1"], 100 * (fake - images.target).abs().mean())
    torch.testing.assert_close(turns["generator"]["adversarial"], bce(on_fake, torch.ones_like(on_fake)))
    expected = (bce(on_real, torch.ones_like(on_real)) + bce(on_fake, torch.zeros_like(on_fake))) / 2
    torch.testing.assert_close(turns["discriminator"]["discriminator"], expected)


def test_cyclegan_losses_are_those_of_the_paper() -> None:
    recipe = build("cyclegan", {})
    images = batch(recipe)
    turns = {turn.player: turn.losses for turn in recipe.step(lambda: images, Clock(0, 0, 1))}
    (a, b), a2b, b2a = images, recipe.a2b, recipe.b2a
    judge_a, judge_b = recipe.adversary_a.discriminator, recipe.adversary_b.discriminator

    def l1(x: Tensor, y: Tensor) -> Tensor:
        return (x - y).abs().mean()

    losses = turns["generators"]
    torch.testing.assert_close(losses["cycle"], 10 * (l1(b2a(a2b(a)), a) + l1(a2b(b2a(b)), b)))
    torch.testing.assert_close(losses["identity"], 5 * (l1(a2b(b), b) + l1(b2a(a), a)))
    adversarial = (judge_b(a2b(a)) - 1).square().mean() + (judge_a(b2a(b)) - 1).square().mean()
    torch.testing.assert_close(losses["adversarial"], adversarial)
    expected = ((judge_a(a) - 1).square().mean() + judge_a(b2a(b)).square().mean()) / 2
    torch.testing.assert_close(turns["discriminators"]["discriminator_a"], expected)


def test_halving_leaves_penalties_alone() -> None:
    losses = halved({"discriminator": torch.tensor(2.0), "r1": torch.tensor(3.0)}, "_a")
    assert {name: loss.item() for name, loss in losses.items()} == {"discriminator_a": 1.0, "r1_a": 3.0}


def test_batch_size_does_not_change_the_losses() -> None:
    """Every loss is a mean: a batch of the same image twice has the losses of the image."""
    recipe = build("cyclegan", {"pool_size": 0})
    one = batch(recipe, count=1)
    two = type(one)(*(images.repeat(2, 1, 1, 1) for images in one))

    def losses(images: Any) -> list[Tensor]:
        return [loss for turn in recipe.step(lambda: images, Clock(0, 0, 1)) for loss in turn.losses.values()]

    torch.testing.assert_close(losses(one), losses(two))


@pytest.mark.parametrize("kind", SMALL)
def test_what_is_shown_and_compared(kind: str) -> None:
    recipe = build(kind, {})
    images = batch(recipe)
    shown = recipe.preview(recipe.deployed(), images)
    assert all(image.shape == (2, 3, 32, 32) for image in shown.values())
    assert len(shown) == {"pix2pix": 3, "cyclegan": 6}[kind]
    compared = recipe.compare(recipe.deployed(), images)
    assert set(compared) == set(recipe.deployed())


def test_identity_needs_equal_channels() -> None:
    from translate.errors import ConfigError

    recipe_config = build("cyclegan", {}).Config()
    with pytest.raises(ConfigError, match=r"recipe.weights.identity to 0"):
        find("cyclegan")(recipe_config, {"a": 1, "b": 3})


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_the_time_is_asked_for_through_ramps_alone(kind: str, options: dict[str, Any]) -> None:
    """So that a step can be a CUDA graph; but networks that grow, and penalties that are not due at each step."""
    recipe, asked = build(kind, options), Told[Ramp](torch.float32, torch.device("cpu"))
    images = batch(recipe)
    asked.numbers.fill_(0.1)

    def step() -> None:
        for turn in recipe.step(lambda: images, cast("Clock", RecordingClock(asked))):
            assert turn.losses

    if kind == "pggan" or any(penalty.get("every", 1) > 1 for penalty in options.get("penalties", ())):
        with pytest.raises(HostDecides, match=r"it depends on the (fraction|step) of training"):
            step()
    else:
        step()
        assert len(asked.asked) >= str(options).count("'start'")
