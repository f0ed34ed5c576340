"""The one adversarial game that every recipe plays."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from translate.adversarial.constraints import Constraint, Free
from translate.adversarial.labels import Labels, NoiseLevel, add_noise, span
from translate.adversarial.objectives import NonSaturating, Objective, wide
from translate.adversarial.penalties import Penalty, PenaltyContext
from translate.adversarial.pool import ImagePool
from translate.config.clock import Clock
from translate.config.spec import Spec


class AdversarialConfig(Spec):
    """What a recipe with a discriminator may set about its game; their Configs inherit these keys and checks."""

    objective: Objective = NonSaturating()
    penalties: tuple[Penalty, ...] = ()
    constraint: Constraint = Free()
    labels: Labels = Labels()
    instance_noise: NoiseLevel = 0.0  # standard deviation, in units of the images ([-1, 1])
    pool_size: int = Field(default=0, ge=0)  # generated images kept to show the discriminator again; 0: none

    @model_validator(mode="after")
    def _one_penalty_of_a_kind(self) -> Self:
        kinds = [penalty.kind for penalty in self.penalties]
        for kind in kinds:
            if kinds.count(kind) > 1:
                raise ValueError(f"penalties: {kind!r} is there {kinds.count(kind)} times; once is enough")
        return self

    @model_validator(mode="after")
    def _slope_is_bounded(self) -> Self:
        bounded = self.constraint.lipschitz or any(penalty.lipschitz for penalty in self.penalties)
        if self.objective.needs_lipschitz and not bounded:
            raise ValueError(
                f"objective {self.objective.kind!r} has no minimum unless the discriminator's slope is bounded between"
                " real and fake images; add penalties: [{kind: gradient_penalty}], constraint: {kind: spectral_norm}"
                " or constraint: {kind: weight_clip}" + self._insufficient()
            )
        return self

    def _insufficient(self) -> str:
        kinds = ", ".join(penalty.kind for penalty in self.penalties)
        return f" ({kinds}, as set here, acts at real or fake images only)" if kinds else ""

    @model_validator(mode="after")
    def _labels_mean_something(self) -> Self:
        kind, allowed = self.objective.kind, self.objective.targets
        if self.labels.soft and allowed is None:
            raise ValueError(
                f"labels: objective {kind!r} has no soft labels, only real (1) and fake (0) samples; use labels.flip,"
                " or objective non_saturating or least_squares"
            )
        for name, label in (("real", self.labels.real), ("fake", self.labels.fake)):
            low, high = span(label)
            if allowed is not None and not allowed[0] <= low <= high <= allowed[1]:
                raise ValueError(
                    f"labels.{name}: {low if low == high else [low, high]} is outside [{allowed[0]:g}, {allowed[1]:g}],"
                    f" where objective {kind!r} has a minimum; objective least_squares takes any label"
                )
        return self


class Adversary(nn.Module):
    """A discriminator, the objective it plays and what restrains it.

    In `discriminator_losses` only the discriminator gets gradients, in `generator_loss` only the images do.
    `discriminator` maps images [N, C, H, W] to logits [N, ...]; pix2pix stacks its condition on the channels.
    `full_precision(discriminator)` is a context in which the discriminator computes in float32: penalties, which are
    differentiated twice, are computed there.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        config: AdversarialConfig,
        full_precision: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__()
        self.config = config
        self.discriminator = discriminator
        self.pool = ImagePool(config.pool_size)
        self._full_precision = full_precision
        self._seen: dict[str, Tensor] = {}
        config.constraint.prepare(discriminator)

    def discriminator_losses(self, real: Tensor, fake: Tensor, clock: Clock) -> dict[str, Tensor]:
        """What the discriminator minimises the sum of: `discriminator`, and a term for each penalty due at this step.

        `real` and `fake` [N, C, H, W] are detached. Two forward passes, as in the papers: batch statistics of real and
        fake images never mix. Penalties see the images that the discriminator saw: pooled, with noise.
        """
        config = self.config
        real = add_noise(real.detach(), config.instance_noise, clock)
        fake = add_noise(self.pool(fake), config.instance_noise, clock)
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        self._seen = {"real": real_logits.detach(), "fake": fake_logits.detach()}
        losses = {
            "discriminator": config.objective.discriminator(
                real_logits,
                fake_logits,
                config.labels.for_real(len(real_logits), clock, real_logits.device),
                config.labels.for_fake(len(fake_logits), clock, fake_logits.device),
            )
        }
        due = [penalty for penalty in config.penalties if clock.step % penalty.every == 0]
        if due:
            context = PenaltyContext(self.discriminator, real, fake, real_logits, fake_logits)
            with self._full_precision(self.discriminator):
                for penalty in due:
                    losses[penalty.kind] = penalty.weight * penalty.every * penalty(context)
        return losses

    def generator_loss(self, fake: Tensor, clock: Clock) -> Tensor:
        """What the maker of `fake` [N, C, H, W] minimises; no gradient is collected for the discriminator."""
        with frozen(self.discriminator):
            logits = self.discriminator(add_noise(fake, self.config.instance_noise, clock))
        return self.config.objective.generator(logits)

    def enforce(self) -> None:
        """To be called after every update of the discriminator."""
        self.config.constraint.enforce(self.discriminator)

    def signals(self) -> dict[str, Tensor]:
        """The mean logits at the last discriminator's turn, `logits_real` and `logits_fake`, not yet waited for."""
        return {f"logits_{name}": wide(logits).mean() for name, logits in self._seen.items()}


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Gradients pass through `module`, but none are collected for its parameters. Restores the flags that it found."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
