"""DANN and CDAN: who moves when, the losses by hand, and that without adaptation it is plain training."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from translate.batches import Adaptation
from translate.config.clock import Clock, Ramp
from translate.config.load import parse
from translate.errors import ConfigError
from translate.nn.digits import Classifier, DomainBatchNorm
from translate.nn.precision import set_precision
from translate.recipes.dann import DANN, bars, certainty, information
from translate.training.devices import Placement
from translate.training.update import Update

NETWORK = {"kind": "residual", "widths": [4, 8], "norm": "none"}
CLASSES = ("a", "b", "c")
PLACE = Placement(torch.device("cpu"), None, torch.contiguous_format)


def config(**options: Any) -> Any:
    written = {
        "recipe": {"kind": "dann", "network": NETWORK, "discriminator": {"width": 6}} | options,
        "data": {"kind": "digits", "root": "x"},
    }
    return parse(yaml.safe_dump(written), "x")


def build(classes: tuple[str, ...] = CLASSES, **options: Any) -> DANN:
    torch.manual_seed(0)
    return DANN(config(**options).recipe, {"source": 1, "target": 1, "label": 2}, (12, 12), classes).train()


def batch(step: int = 0, count: int = 6) -> Adaptation:
    rng = torch.Generator().manual_seed(step)
    source, target = (torch.rand(count, 1, 12, 12, generator=rng) * 2 - 1 for _ in range(2))
    return Adaptation(source, torch.randint(3, (count,), generator=rng), target)


def updates(recipe: DANN, text: str = "kind: sgd, momentum: 0.9") -> dict[str, Update]:
    run = parse(f"recipe: {{kind: dann}}\ndata: {{kind: digits, root: x}}\noptimizer: {{{text}}}", "x")
    return {name: Update(modules, run.optimizer, PLACE) for name, modules in recipe.players().items()}


def trained(recipe: DANN, steps: int = 8, total: int = 8, optimizer: str = "kind: sgd, momentum: 0.9") -> DANN:
    moves = updates(recipe, optimizer)
    for step in range(steps):
        torch.manual_seed(step)
        for turn in recipe.step(lambda step=step: batch(step), Clock(step, step * 6, total)):
            moves[turn.player](turn)
    return recipe


VARIANTS: list[dict[str, Any]] = [
    {},
    {"condition": "prediction", "entropy_weighting": True},
    {"class_weighting": True, "condition": "prediction"},
    {"class_weighting": True, "updates": "alternating"},
    {"weights": {"adversarial": 0.5, "entropy": 0.1}},
    {"weights": {"adversarial": 0.5, "virtual": 1.0}, "network": NETWORK | {"norm": "batch"}},
    {"objective": {"kind": "least_squares"}, "instance_noise": 0.1, "labels": {"real": 0.9}},
    {"objective": {"kind": "hinge"}, "constraint": {"kind": "spectral_norm"}},
    {"objective": {"kind": "wasserstein"}, "penalties": [{"kind": "gradient_penalty"}]},
    {"updates": "alternating"},
    {
        "updates": "alternating",
        "discriminator_updates": 3,
        "objective": {"kind": "wasserstein"},
        "penalties": [{"kind": "gradient_penalty"}, {"kind": "drift"}],
        "condition": "prediction",
    },
    {
        "updates": "alternating",
        "constraint": {"kind": "weight_clip"},
        "objective": {"kind": "wasserstein"},
        "discriminator": {"width": 32},  # of fewer units all may be active for all, so that their biases cancel out
    },
    {"network": NETWORK | {"norm": "batch"}},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(options) or "default")
def test_each_player_moves_in_its_own_turn_and_all_of_it(options: dict[str, Any]) -> None:
    recipe = build(**({"weights": {"adversarial": 1}} | options))
    players = {name: [p for m in modules for p in m.parameters()] for name, modules in recipe.players().items()}
    assert {id(p) for group in players.values() for p in group} == {id(p) for p in recipe.parameters()}
    assert set(players) == ({"network", "discriminator"} if options.get("updates") else {"network"})
    moves, turns = updates(recipe), []
    before = {name: [p.detach().clone() for p in group] for name, group in players.items()}
    for turn in recipe.step(batch, Clock(4, 24, 8)):
        assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in turn.losses.values())
        moves[turn.player](turn)
        turns.append(turn.player)
        for name, group in players.items():
            changed = [not torch.equal(p, old) for p, old in zip(group, before[name], strict=True)]
            if name == turn.player:
                idle = name == "discriminator" and "wasserstein" in str(options)  # the level of a critic: no gradient
                assert sum(changed) >= 0.8 * (len(changed) - idle)
                assert all(p.grad is not None for p in group), "a parameter that no loss reaches"
            elif options.get("constraint") != {"kind": "weight_clip"}:
                assert not any(changed)
            before[name] = [p.detach().clone() for p in group]
    asked = options.get("discriminator_updates", 1) if options.get("updates") else 0
    assert turns == ["discriminator"] * asked + ["network"]
    assert recipe.draws == max(asked, 1)


def test_losses_are_those_of_the_paper() -> None:
    recipe, images = build(weights={"adversarial": 0.3}), batch()
    (turn,) = recipe.step(lambda: images, Clock(0, 0, 8))
    network, judge = recipe.classifier, recipe.adversary.discriminator
    source, target = network.features(images.source), network.features(images.target)
    label = F.cross_entropy(network.head(source), images.label)
    on_source, on_target = judge(source), judge(target)
    domains = F.binary_cross_entropy_with_logits(on_source, torch.ones_like(on_source))
    domains = domains + F.binary_cross_entropy_with_logits(on_target, torch.zeros_like(on_target))
    torch.testing.assert_close(turn.losses["label"], label)
    torch.testing.assert_close(turn.losses["discriminator"], domains)
    # Eqs. 13-15: features go down L_y − λ L_d, the head down L_y, the discriminator down L_d.
    shared = list(network.features.parameters())
    wanted = torch.autograd.grad(label - 0.3 * domains, shared, retain_graph=True)
    total = sum(turn.losses.values())
    assert isinstance(total, torch.Tensor)
    for ours, theirs in zip(torch.autograd.grad(total, shared, retain_graph=True), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    own = list(judge.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(total, own, retain_graph=True), torch.autograd.grad(domains, own), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_virtual_adversarial_training_by_hand() -> None:
    """Two classes of a linear map have one direction that matters, of either sign, whatever the search begins with."""
    recipe = build(("a", "b"), weights={"adversarial": 0.3, "virtual": 0.5}, virtual_radius=1.5)
    recipe.classifier = Classifier(torch.nn.Flatten(), 144, torch.nn.Linear(144, 2))
    weight = recipe.classifier.head.weight
    step = 1.5 * F.normalize(weight[1] - weight[0], dim=0).detach()
    for number in range(5):
        image = batch(number, 1).target
        with torch.no_grad():
            before = recipe.classifier(image).log_softmax(1)
            shifted = [recipe.classifier(image + sign * step.view(1, 1, 12, 12)).log_softmax(1) for sign in (1, -1)]
        wanted = [(before.exp() * (before - after)).sum() for after in shifted]
        found = recipe.virtual(image)
        assert min(abs(found - one) for one in wanted) < 1e-3 * found
        assert found > 1e-4
        assert torch.autograd.grad(found, weight)[0].abs().sum() > 0


def test_virtual_images_leave_no_trace_in_statistics_and_want_no_bf16() -> None:
    recipe, images = build(weights={"virtual": 1.0}, network=NETWORK | {"norm": "batch"}), batch().target
    before = {name: value.clone() for name, value in recipe.classifier.named_buffers()}
    found = []
    for dtype in (torch.bfloat16, None):
        set_precision(recipe.classifier, dtype)
        torch.manual_seed(1)
        found.append(recipe.virtual(images))
    assert torch.equal(*found)
    assert all(torch.equal(value, before[name]) for name, value in recipe.classifier.named_buffers())
    recipe.view(images, True)
    changed = {name for name, value in recipe.classifier.named_buffers() if not torch.equal(value, before[name])}
    assert any("target_mean" in name for name in changed)


def test_by_turns_the_features_go_the_same_way() -> None:
    images, gradients = batch(), []
    for kind in ("reversal", "alternating"):
        recipe = build(weights={"adversarial": 0.3}, updates=kind)
        turn = list(recipe.step(lambda: images, Clock(0, 0, 8)))[-1]
        total = sum(turn.losses.values())
        assert isinstance(total, torch.Tensor)
        gradients.append(torch.autograd.grad(total, list(recipe.classifier.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("optimizer", ["kind: sgd, momentum: 0.9", "kind: adam, lr: 1e-3"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"condition": "prediction"},
        {"class_weighting": True},
        {"updates": "alternating"},
        {"network": NETWORK | {"norm": "batch"}},
    ],
)
def test_lambda_0_is_training_on_the_source_bit_for_bit(options: dict[str, Any], optimizer: str) -> None:
    """Both against a recipe without adversary and against plain PyTorch; the discriminator trains all the while."""
    nothing = Ramp(start=0, end=1, begin=0.5).model_dump()  # λ is 0 for the four steps taken, out of eight
    adapted = trained(build(weights={"adversarial": nothing}, **options), 4, optimizer=optimizer)
    alone = trained(build(weights={"adversarial": 0}, **options), 4, optimizer=optimizer)
    plain = build(weights={"adversarial": 0}, **options).classifier.train()
    run = parse(f"recipe: {{kind: dann}}\ndata: {{kind: digits, root: x}}\noptimizer: {{{optimizer}}}", "x")
    steps = run.optimizer.build(plain.parameters())
    for step in range(4):
        images = batch(step)
        steps.zero_grad()
        F.cross_entropy(plain(images.source), images.label).backward()
        steps.step()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, alone.classifier.state_dict()[name]), name
        if not name.startswith(("target_", "num_")) and "target_" not in name and "num_batches" not in name:
            assert torch.equal(value, adapted.classifier.state_dict()[name]), name
    fresh = build(weights={"adversarial": nothing}, **options).adversary.discriminator.state_dict()
    moved = adapted.adversary.discriminator.state_dict()
    assert any(not torch.equal(value, moved[name]) for name, value in fresh.items())
    assert not hasattr(alone, "adversary")
    assert alone.players() == {"network": [alone.classifier]}


def test_cdan_sees_the_multilinear_map() -> None:
    """Long et al. 2018, eq. 5, and its entropy weights, eq. 7; predictions get no gradient from the discriminator."""
    recipe, images = build(condition="prediction", entropy_weighting=True, weights={"adversarial": 1}), batch()
    view = recipe.view(images.source, False)
    seen = recipe.judged(view)
    assert seen.shape == (6, 8 * 3)
    p = view.output.softmax(1)
    torch.testing.assert_close(seen[2].view(3, 8), torch.outer(p[2], view.features[2]))
    weights = certainty(view.output)
    entropies = -(p * p.log()).sum(1)
    torch.testing.assert_close(weights / weights[0], (1 + torch.exp(-entropies)) / (1 + torch.exp(-entropies[0])))
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    (turn,) = recipe.step(lambda: images, Clock(0, 0, 8))
    head = [p for name, p in recipe.classifier.named_parameters() if name.startswith("head")]
    assert all(g is None for g in torch.autograd.grad(turn.losses["discriminator"], head, allow_unused=True))
    judge = recipe.adversary.discriminator
    both = [(recipe.view(images.source, False), F.softplus(-1 * judge(seen)))]
    target = recipe.view(images.target, True)
    both.append((target, F.softplus(judge(recipe.judged(target)))))
    expected = sum((certainty(v.output)[:, None] * losses).mean() for v, losses in both)
    torch.testing.assert_close(turn.losses["discriminator"], expected)


@pytest.mark.parametrize("entropy", [False, True])
def test_examples_of_the_source_count_as_their_class_in_the_target(entropy: bool) -> None:
    """Tachet des Combes et al. 2020: the source's part of the discriminator's loss, and nothing else, is weighted."""
    recipe, images = build(class_weighting=True, entropy_weighting=entropy, weights={"adversarial": 1}), batch()
    assert recipe.priors is not None
    recipe.priors.source.copy_(torch.tensor([0.5, 0.3, 0.2]))
    recipe.priors.target.copy_(torch.tensor([0.2, 0.2, 0.6]))
    (turn,) = recipe.step(lambda: images, Clock(0, 0, 8))
    ratio = recipe.priors.target / recipe.priors.source  # as they are after this step
    assert (ratio[0], ratio[2]) == (pytest.approx(0.4, rel=0.1), pytest.approx(3, rel=0.1))
    judge, source, target = (
        recipe.adversary.discriminator,
        recipe.view(images.source, False),
        recipe.view(images.target, True),
    )
    counts = [certainty(view.output) if entropy else torch.ones(6) for view in (source, target)]
    expected = (ratio[images.label] * counts[0] * F.softplus(-judge(source.features))[:, 0]).mean()
    expected = expected + (counts[1] * F.softplus(judge(target.features))[:, 0]).mean()
    torch.testing.assert_close(turn.losses["discriminator"], expected)
    torch.testing.assert_close(turn.losses["label"], F.cross_entropy(source.output, images.label))
    assert not any("priors" in name for name, _ in recipe.classifier.named_buffers())
    assert {"priors.source", "priors.target"} <= set(recipe.state_dict())  # a resumed training has them


def test_information_is_most_where_sure_and_even() -> None:
    sure = torch.eye(3) * 100
    torch.testing.assert_close(information(sure), torch.tensor(3.0).log())
    torch.testing.assert_close(information(sure[:1].expand(5, -1)), torch.tensor(0.0))
    torch.testing.assert_close(information(torch.zeros(4, 3)), torch.tensor(0.0))


def test_numbers_are_estimated_too() -> None:
    recipe = build(classes=(), weights={"adversarial": 1})
    images = batch()._replace(label=torch.rand(6, 2))
    (turn,) = recipe.step(lambda: images, Clock(0, 0, 8))
    estimate = recipe.classifier(images.source)
    assert estimate.shape == (6, 2)
    torch.testing.assert_close(turn.losses["label"], F.mse_loss(estimate, images.label))
    measured = recipe.measure(recipe.deployed(), images)
    torch.testing.assert_close(measured, {"loss": (estimate - images.label).square().mean(1)})
    assert set(recipe.preview(recipe.deployed(), images)) == {"source", "target"}


def test_statistics_are_the_domains_own() -> None:
    recipe = trained(build(network=NETWORK | {"norm": "batch"}, weights={"adversarial": 1}))
    assert recipe.classifier.training
    layers = [layer for layer in recipe.classifier.modules() if isinstance(layer, DomainBatchNorm)]
    assert all(layer.of_target and not torch.equal(layer.target_mean, layer.running_mean) for layer in layers)
    recipe.eval()
    images, networks = batch(9), recipe.deployed()
    source, target = (recipe.ask(networks, images.source, on).output for on in (False, True))
    assert not torch.equal(source, target)
    assert torch.equal(recipe.classifier(images.source), target)  # deployed for the target
    alone = trained(build(network=NETWORK | {"norm": "batch"}, weights={"adversarial": 0})).eval()
    assert torch.equal(*(alone.ask(alone.deployed(), images.source, on).output for on in (False, True)))


def test_what_is_measured_and_shown() -> None:
    recipe, images = build(), batch()
    measured = recipe.measure(recipe.deployed(), images)
    output = recipe.classifier(images.source)
    assert measured["accuracy"].tolist() == (output.argmax(1) == images.label).float().tolist()
    torch.testing.assert_close(measured["loss"].mean(), F.cross_entropy(output, images.label))
    shown = recipe.preview(recipe.deployed(), images)
    assert list(shown) == ["source", "source classes", "target", "target classes"]
    assert all(picture.shape == (6, 1, 12, 12) for picture in shown.values())
    picture = bars(torch.tensor([[0.75, 0.25, 1e-9]]).log(), 4, 6)[0, 0]
    assert ((picture + 1) / 2).sum(0).tolist() == [3, 3, 1, 1, 0, 0]
    assert picture[3, 0] == 1 > picture[0, 0]  # from below


def test_what_cannot_be() -> None:
    for key, value in (("pool_size", 5), ("augment", {}), ("ensemble", [{}])):
        with pytest.raises(ConfigError, match=f"{key}: is for discriminators of images"):
            config(**{key: value})
    with pytest.raises(ConfigError, match="reversal is one update; set updates: alternating"):
        config(discriminator_updates=2)
    for options in (
        {"condition": "prediction"},
        {"class_weighting": True},
        {"weights": {"entropy": 0.1}},
        {"weights": {"virtual": 0.1}},
    ):
        with pytest.raises(ConfigError, match="these data have numbers to be estimated"):
            build(classes=(), **options)
    with pytest.raises(ConfigError, match="the source has 1 channels and the target 3"):
        DANN(config().recipe, {"source": 1, "target": 3}, (12, 12), CLASSES)
