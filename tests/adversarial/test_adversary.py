from contextlib import contextmanager
from itertools import combinations, product

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn
from torch.testing import assert_close

from translate.adversarial import (
    R1,
    AdversarialConfig,
    Adversary,
    Free,
    GradientPenalty,
    Hinge,
    Labels,
    LeastSquares,
    MaximumLikelihood,
    Minimax,
    NonSaturating,
    SpectralNorm,
    Wasserstein,
    WeightClip,
    frozen,
)
from translate.batches import DiscriminatorOutput
from translate.config.clock import Clock, Ramp
from translate.config.spec import explain

OBJECTIVES = [Minimax(), NonSaturating(), MaximumLikelihood(), LeastSquares(), Hinge(), Wasserstein()]
PENALTIES = [
    *(GradientPenalty(sided=sided, at=at) for sided in ("two", "one") for at in ("between", "real", "fake")),
    R1(),
]
START = Clock(step=0, images=0, total=100)


def images(n=2, channels=3):
    return torch.randn(n, channels, 16, 16)


def parameters(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


# -- who gets gradients


@pytest.mark.parametrize("constraint", [Free(), WeightClip(), SpectralNorm()], ids=lambda c: c.kind)
@pytest.mark.parametrize("penalties", [(), *((p,) for p in PENALTIES), *((p, R1()) for p in PENALTIES[:6])])
def test_discriminators_turn(patch, penalties, constraint):
    for objective in OBJECTIVES:
        if objective.needs_lipschitz and constraint == Free() and not any(p.lipschitz for p in penalties):
            continue
        config = AdversarialConfig(
            objective=objective, penalties=penalties, constraint=constraint, instance_noise=0.1, pool_size=2
        )
        adversary = Adversary(patch(norm=nn.InstanceNorm2d), config)
        generator = nn.Conv2d(3, 3, 1)
        real = images().requires_grad_()
        losses = adversary.discriminator_losses(real, generator(images()), START)
        assert list(losses) == ["discriminator", *(p.kind for p in penalties)]
        assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        assert real.grad is None
        assert generator.weight.grad is None
        for name, value in adversary.discriminator.named_parameters():
            assert value.grad is not None, name
            assert value.grad.isfinite().all(), name
        assert any(value.grad.abs().max() > 0 for value in adversary.discriminator.parameters())


@pytest.mark.parametrize("constraint", [Free(), SpectralNorm()], ids=lambda c: c.kind)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_generators_turn(patch, objective, constraint):
    config = AdversarialConfig(
        objective=objective, constraint=constraint, penalties=(GradientPenalty(),), instance_noise=0.1
    )
    adversary = Adversary(patch(), config)
    fake = images().requires_grad_()
    loss = adversary.generator_loss(fake, START)
    assert loss.shape == ()
    loss.backward()
    assert fake.grad.abs().max() > 0
    assert all(value.grad is None for value in adversary.discriminator.parameters())
    assert all(value.requires_grad for value in adversary.discriminator.parameters())


def test_a_turn_each_plays_the_game(patch):
    """The discriminator's update raises the generator's loss, the generator's lowers it."""
    adversary = Adversary(patch(), AdversarialConfig())
    real, fake = images(8), images(8).add(0.5).requires_grad_()
    before = adversary.generator_loss(fake, START)
    (slope,) = torch.autograd.grad(before, fake)
    assert adversary.generator_loss(fake - slope, START) < before
    optimizer = torch.optim.SGD(adversary.discriminator.parameters(), 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        adversary.discriminator_losses(real, fake, START)["discriminator"].backward()
        optimizer.step()
    assert adversary.generator_loss(fake, START) > before
    signals = adversary.signals()
    assert signals["logits_real"] > signals["logits_fake"]


def test_frozen_restores_the_flags_that_it_found(patch):
    network = patch()
    network[0].bias.requires_grad_(False)
    flags = [value.requires_grad for value in network.parameters()]
    with frozen(network):
        assert not any(value.requires_grad for value in network.parameters())
    assert [value.requires_grad for value in network.parameters()] == flags
    with pytest.raises(ZeroDivisionError), frozen(network):
        _ = 1 / 0
    assert [value.requires_grad for value in network.parameters()] == flags


# -- what the losses are


def test_losses_are_the_objectives_halves(patch):
    config = AdversarialConfig(objective=LeastSquares())
    adversary, real, fake = Adversary(patch(), config), images(), images()
    expected = LeastSquares().discriminator(adversary.discriminator(real), adversary.discriminator(fake))
    assert_close(adversary.discriminator_losses(real, fake, START), {"discriminator": expected})
    assert_close(adversary.generator_loss(fake, START), LeastSquares().generator(adversary.discriminator(fake)))


def test_real_and_fake_are_never_in_one_batch(patch):
    """Batch norm would mix their statistics."""
    adversary, real, fake = Adversary(patch(norm=nn.BatchNorm2d), AdversarialConfig()), images(), images() * 3
    alone = NonSaturating().real(adversary.discriminator(real)) + NonSaturating().fake(adversary.discriminator(fake))
    assert_close(adversary.discriminator_losses(real, fake, START)["discriminator"], alone)


def test_lazy_penalties_keep_their_mean_strength(patch):
    every = AdversarialConfig(penalties=(R1(weight=3.0),))
    fourth = AdversarialConfig(penalties=(R1(weight=3.0, every=4),))
    network, real, fake = patch(), images(), images()
    full = Adversary(network, every).discriminator_losses(real, fake, START)["r1"]
    assert full > 0
    lazy = []
    for step in range(8):
        losses = Adversary(network, fourth).discriminator_losses(real, fake, Clock(step=step, images=0, total=8))
        lazy.append(losses.get("r1", torch.zeros(())).detach())
        assert ("r1" in losses) == (step in (0, 4))
    assert_close(torch.stack(lazy).mean(), full.detach())


def test_penalties_see_what_the_discriminator_saw(patch, monkeypatch):
    contexts = []
    monkeypatch.setattr(R1, "__call__", lambda self, context: contexts.append(context) or torch.zeros(()))
    config = AdversarialConfig(penalties=(R1(),), instance_noise=0.5, pool_size=1)
    adversary = Adversary(patch(), config)
    first = torch.full((1, 3, 16, 16), 100.0)
    adversary.discriminator_losses(images(1), first, START)
    pooled = 0
    for number in range(20):
        real, fake = images(1), torch.full((1, 3, 16, 16), 100.0 * (number + 2))
        adversary.discriminator_losses(real, fake, START)
        context = contexts[-1]
        assert 0.3 < (context.real - real).std() < 0.7
        assert_close(context.real_logits, adversary.discriminator(context.real))
        assert_close(context.fake_logits, adversary.discriminator(context.fake))
        pooled += (context.fake - fake).abs().max() > 50
    assert pooled > 0


def test_penalties_are_computed_in_full_precision(patch):
    log = []

    class Low(nn.Module):
        """Computes in bfloat16 unless told otherwise."""

        def __init__(self):
            super().__init__()
            self.inner, self.dtype = patch(), torch.bfloat16

        def forward(self, x):
            log.append(self.dtype)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
                return self.inner(x)

    @contextmanager
    def full_precision(module):
        module.dtype = torch.float32
        yield
        module.dtype = torch.bfloat16

    config = AdversarialConfig(penalties=(GradientPenalty(at="real"), R1()))
    low, real = Low(), images()
    losses = Adversary(low, config, full_precision).discriminator_losses(real, images(), START)
    assert log == [torch.bfloat16] * 2 + [torch.float32] * 2
    expected = Adversary(low.inner, config).discriminator_losses(real, images(), START)
    assert_close(losses["r1"], expected["r1"], rtol=1e-6, atol=0)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


def test_labels_reach_the_discriminator_and_not_the_generator(patch):
    labels = Labels(real=0.8, fake=0.1)
    adversary = Adversary(patch(), AdversarialConfig(objective=LeastSquares(), labels=labels))
    real, fake = images(), images()
    on_real, on_fake = adversary.discriminator(real), adversary.discriminator(fake)
    expected = (on_real - 0.8).square().mean() + (on_fake - 0.1).square().mean()
    assert_close(adversary.discriminator_losses(real, fake, START)["discriminator"], expected)
    assert_close(adversary.generator_loss(fake, START), (on_fake - 1).square().mean())


class Namer(nn.Module):
    """Of three classes, by the first three pixels."""

    def forward(self, images, label):
        first = images.flatten(1)[:, :3]
        return DiscriminatorOutput(first.sum(1), first, first)


def test_classes_are_weighed_at_both_turns():
    label, real, fake = torch.tensor([2, 0]), images(), images()
    names = {
        "real": F.cross_entropy(real.flatten(1)[:, :3], label),
        "fake": F.cross_entropy(fake.flatten(1)[:, :3], label),
    }

    def losses(**weights):
        adversary = Adversary(Namer(), AdversarialConfig(), **weights)
        turns = adversary.discriminator_losses(real, fake, START, label), adversary.generator_losses(fake, START, label)
        return [turn["classes"] for turn in turns]

    assert_close(losses(), [names["real"] + names["fake"], names["fake"]])
    assert_close(
        losses(class_weight=3.0, fake_class_weight=0.5), [3 * (names["real"] + names["fake"] / 2), 3 * names["fake"]]
    )
    assert_close(losses(fake_class_weight=0.0), [names["real"], names["fake"]])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.kind)
def test_labels_flip_with_every_objective(patch, objective):
    config = AdversarialConfig(objective=objective, penalties=(GradientPenalty(),), labels=Labels(flip=0.5))
    adversary, real, fake = Adversary(patch(), config), images(64) + 1, images(64) - 1
    adversary.discriminator[5].bias.data.fill_(0.3)
    on_real, on_fake = adversary.discriminator(real), adversary.discriminator(fake)
    halves = [objective.real(on_real), objective.fake(on_real), objective.real(on_fake), objective.fake(on_fake)]
    losses = [adversary.discriminator_losses(real, fake, START)["discriminator"] for _ in range(50)]
    assert_close(torch.stack(losses).mean(), torch.stack(halves).sum() / 2, rtol=0.02, atol=0.01)
    assert torch.stack(losses).std() > 0


def test_instance_noise_is_in_both_turns_and_anneals_to_nothing(patch):
    config = AdversarialConfig(instance_noise=Ramp(start=1.0, end=0.0, finish=0.5))
    adversary, real, fake = Adversary(patch(), config), images(), images()

    def losses(step):
        clock = Clock(step=step, images=0, total=100)
        terms = adversary.discriminator_losses(real, fake, clock)
        return torch.stack([terms["discriminator"], adversary.generator_loss(fake, clock)]).detach()

    assert (losses(0) != losses(0)).all()
    assert torch.equal(losses(50), losses(99))
    assert_close(losses(50)[1], NonSaturating().generator(adversary.discriminator(fake)))


def test_nothing_optional_costs_random_numbers(patch):
    adversary = Adversary(patch(), AdversarialConfig())
    before = torch.get_rng_state()
    adversary.discriminator_losses(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16), START)
    adversary.generator_loss(torch.zeros(1, 3, 16, 16), START)
    assert torch.equal(torch.get_rng_state(), before)


def test_enforce_clips(patch):
    config = AdversarialConfig(objective=Wasserstein(), constraint=WeightClip(limit=0.02))
    adversary = Adversary(patch(), config)
    adversary.enforce()
    assert max(value.abs().max() for value in adversary.parameters()) == torch.tensor(0.02)


def test_signals_are_detached_means(patch):
    adversary, real, fake = Adversary(patch(), AdversarialConfig()), images(), images()
    assert adversary.signals() == {}
    adversary.discriminator_losses(real, fake, START)
    expected = {
        "logits_real": adversary.discriminator(real).mean().detach(),
        "logits_fake": adversary.discriminator(fake).mean().detach(),
    }
    assert_close(adversary.signals(), expected)
    assert not any(signal.requires_grad for signal in adversary.signals().values())


def test_state_holds_the_discriminator_and_the_pool(patch):
    config = AdversarialConfig(pool_size=2)
    adversary = Adversary(patch(), config)
    fake = images()
    adversary.discriminator_losses(images(), fake, START)
    other = Adversary(patch(), config)
    other.load_state_dict(adversary.state_dict())
    assert_close(parameters(other), parameters(adversary))
    assert_close(torch.stack(other.pool.stored), fake)


# -- what is refused


def refusal(raw):
    with pytest.raises(ValidationError) as caught:
        AdversarialConfig.model_validate(raw)
    return str(explain(caught.value, AdversarialConfig, raw, "x.yaml"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            {"objective": {"kind": "wasserstein"}},
            "x.yaml: top level: objective 'wasserstein' has no minimum unless the discriminator's slope is bounded"
            " between real and fake images; add penalties: [{kind: gradient_penalty}],"
            " constraint: {kind: spectral_norm} or constraint: {kind: weight_clip}",
        ),
        (
            {"objective": {"kind": "hinge"}, "labels": {"real": 0.9}},
            "x.yaml: top level: labels: objective 'hinge' has no soft labels, only real (1) and fake (0) samples;"
            " use labels.flip, or objective non_saturating or least_squares",
        ),
        (
            {"objective": {"kind": "minimax"}, "labels": {"real": [0.7, 1.2]}},
            "x.yaml: top level: labels.real: [0.7, 1.2] is outside [0, 1], where objective 'minimax' has a minimum;"
            " objective least_squares takes any label",
        ),
        (
            {"labels": {"fake": -0.1}},
            "x.yaml: top level: labels.fake: -0.1 is outside [0, 1], where objective 'non_saturating' has a minimum;"
            " objective least_squares takes any label",
        ),
        (
            {"penalties": [{"kind": "r1"}, {"kind": "r1", "every": 4}]},
            "x.yaml: top level: penalties: 'r1' is there 2 times; once is enough",
        ),
        (
            {"instance_noise": -0.1},
            "x.yaml: instance_noise: a standard deviation is not negative (got -0.1)",
        ),
        (
            {"labels": {"flip": 0.7}},
            "x.yaml: labels.flip: must lie in [0, 0.5]: at 0.5 labels say nothing, beyond it they lie (got 0.7)",
        ),
        (
            {"penalties": [{"kind": "gradient_penalty", "weigth": 1}]},
            "x.yaml: penalties.0: unknown key 'weigth' (did you mean 'weight'?);"
            " known: at, every, kind, sided, target, weight",
        ),
        (
            {"constraint": {"kind": "spectral"}},
            "x.yaml: constraint: unknown kind 'spectral' (did you mean 'spectral_norm'?);"
            " known: free, spectral_norm, weight_clip",
        ),
    ],
)
def test_refusals(raw, message):
    assert refusal(raw) == message


@pytest.mark.parametrize("penalty", [{"kind": "r1"}, {"kind": "gradient_penalty", "at": "fake"}])
def test_a_penalty_elsewhere_does_not_bound_wasserstein(penalty):
    message = refusal({"objective": {"kind": "wasserstein"}, "penalties": [penalty]})
    assert message.endswith(f"({penalty['kind']}, as set here, acts at real or fake images only)")


@pytest.mark.parametrize("field", ["weight", "every"])
@pytest.mark.parametrize("kind", ["gradient_penalty", "r1"])
def test_a_penalty_of_nothing_is_refused(kind, field):
    assert f"penalties.0.{field}: input should be greater" in refusal({"penalties": [{"kind": kind, field: 0}]})


def test_every_sensible_combination_is_accepted():
    penalties = [one for count in (0, 1, 2) for one in combinations((GradientPenalty(), R1()), count)]
    accepted = 0
    for objective, chosen, constraint in product(OBJECTIVES, penalties, (Free(), WeightClip(), SpectralNorm())):
        bounded = GradientPenalty() in chosen or constraint != Free()
        if objective != Wasserstein() or bounded:
            config = AdversarialConfig(objective=objective, penalties=chosen, constraint=constraint)
            assert AdversarialConfig.model_validate(config.model_dump(mode="json")) == config
            accepted += 1
    assert accepted == 6 * 4 * 3 - 2


def test_recipes_inherit_the_checks():
    class Config(AdversarialConfig):
        objective: LeastSquares | Wasserstein = LeastSquares()
        pool_size: int = 50

    assert Config().pool_size == 50
    assert AdversarialConfig(objective=LeastSquares(), labels=Labels(real=(0.7, 1.2)))
    with pytest.raises(ValidationError, match="has no minimum unless"):
        Config(objective=Wasserstein())
