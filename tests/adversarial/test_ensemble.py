import pytest
import torch
from torch import nn
from torch.testing import assert_close

from translate.adversarial import AdversarialConfig, Adversary, Ensemble, adversary
from translate.config.clock import Clock
from translate.config.spec import Spec
from translate.errors import ConfigError

CLOCK = Clock(0, 0, 10)


class Judge(Spec):
    width: int = 4


def build(spec: Judge) -> nn.Module:
    torch.manual_seed(spec.width)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, spec.width), nn.ReLU(), nn.Linear(spec.width, 1))


def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(5, 3, 2, 2, generator=generator) for _ in range(2))
    return real, fake


def test_without_members_it_is_a_plain_adversary() -> None:
    assert type(adversary(AdversarialConfig(), Judge(), build)) is Adversary


def test_losses_are_the_mean_of_the_members() -> None:
    config = AdversarialConfig.model_validate({"ensemble": [{"capacity": 0.5}, {"capacity": 2}]})
    game = adversary(config, Judge(), build)
    assert isinstance(game, Ensemble)
    widths = [member.discriminator[1].out_features for member in game.members]  # type: ignore[union-attr,index]
    assert widths == [2, 8]
    alone = [Adversary(build(Judge(width=width)), AdversarialConfig()) for width in widths]
    real, fake = images()
    expected = torch.stack([one.discriminator_losses(real, fake, CLOCK)["discriminator"] for one in alone]).mean()
    assert_close(game.discriminator_losses(real, fake, CLOCK)["discriminator"], expected)
    expected = torch.stack([one.generator_loss(fake, CLOCK) for one in alone]).mean()
    assert_close(game.generator_loss(fake, CLOCK), expected)


def test_each_member_sees_its_own_noise() -> None:
    config = AdversarialConfig.model_validate({"instance_noise": 1.0, "ensemble": [{"noise": 0}, {"noise": 2}]})
    game = adversary(config, Judge(), build)
    assert isinstance(game, Ensemble)
    zeros = torch.zeros(4000, 3, 2, 2)
    levels = [member.shown(zeros, CLOCK).std().item() for member in game.members]  # type: ignore[operator]
    assert levels[0] == 0
    assert levels[1] == pytest.approx(2, rel=0.05)


def test_all_members_are_trained_and_constrained() -> None:
    config = AdversarialConfig.model_validate(
        {"constraint": {"kind": "weight_clip"}, "ensemble": [{}, {"capacity": 2}]}
    )
    game = adversary(config, Judge(), build)
    assert len(list(game.discriminator.parameters())) == 8
    real, fake = images()
    sum(game.discriminator_losses(real, fake, CLOCK).values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None for parameter in game.discriminator.parameters())
    game.enforce()
    assert max(parameter.abs().max() for parameter in game.discriminator.parameters()) <= 0.01


def test_capacity_needs_a_width() -> None:
    config = AdversarialConfig.model_validate({"ensemble": [{"capacity": 2}]})
    with pytest.raises(ConfigError, match=r"recipe\.ensemble: capacity"):
        adversary(config, Spec(), lambda spec: nn.Identity())
