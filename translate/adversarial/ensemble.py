"""Several discriminators against one generator: Durugkar et al. 2017, with the mean of their losses.

Of increasing capacity, or under decreasing noise, they also grade the generator: the weakest that still tells its
images from real ones says how far it has come. Their mean logits are logged one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from translate.adversarial.adversary import AdversarialConfig, Adversary
from translate.config.clock import Clock
from translate.config.spec import Spec
from translate.errors import ConfigError

D = TypeVar("D", bound=Spec)


class Ensemble(nn.Module):
    """Plays like an Adversary; `discriminator` are all of its members'."""

    def __init__(self, members: Sequence[Adversary]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def discriminator(self) -> nn.ModuleList:
        return nn.ModuleList(member.discriminator for member in self._all())

    def discriminator_losses(
        self, real: Tensor, fake: Tensor, clock: Clock, label: Tensor | None = None
    ) -> dict[str, Tensor]:
        return _mean([member.discriminator_losses(real, fake, clock, label) for member in self._all()])

    def generator_loss(self, fake: Tensor, clock: Clock) -> Tensor:
        return self.generator_losses(fake, clock)["adversarial"]

    def generator_losses(self, fake: Tensor, clock: Clock, label: Tensor | None = None) -> dict[str, Tensor]:
        return _mean([member.generator_losses(fake, clock, label) for member in self._all()])

    def enforce(self) -> None:
        for member in self._all():
            member.enforce()

    def _all(self) -> list[Adversary]:
        return [member for member in self.members if isinstance(member, Adversary)]


def adversary(
    config: AdversarialConfig,
    discriminator: D,
    build: Callable[[D], nn.Module],
    full_precision: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
    *,
    class_weight: float = 1.0,
    fake_class_weight: float = 1.0,
    repulsion: float = 0.0,
) -> Adversary | Ensemble:
    """The game that `config` describes; `build` makes a network from the discriminator's Spec."""

    def member(capacity: float, noise: float) -> Adversary:
        spec = discriminator if capacity == 1 else _scaled(discriminator, capacity)
        return Adversary(
            build(spec),
            config,
            full_precision,
            class_weight=class_weight,
            fake_class_weight=fake_class_weight,
            repulsion=repulsion,
            noise=noise,
        )

    if not config.ensemble:
        return member(1.0, 1.0)
    return Ensemble([member(one.capacity, one.noise) for one in config.ensemble])


def _scaled(discriminator: D, capacity: float) -> D:
    width = getattr(discriminator, "width", None)
    if width is None:
        raise ConfigError(
            "recipe.ensemble: capacity changes a discriminator's width, which this kind does not have; leave it at 1"
        )
    return discriminator.model_copy(update={"width": max(1, round(width * capacity))})


def _mean(losses: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([terms[name] for terms in losses]).mean() for name in losses[0]}
