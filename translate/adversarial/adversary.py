"""The one adversarial game that every recipe plays."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from translate.adversarial.augment import DiffAugment
from translate.adversarial.constraints import Constraint, Free
from translate.adversarial.diversity import pulling_away
from translate.adversarial.labels import Labels, NoiseLevel, add_noise, span
from translate.adversarial.objectives import NonSaturating, Objective, wide
from translate.adversarial.penalties import Penalty, PenaltyContext
from translate.adversarial.pool import ImagePool
from translate.batches import DiscriminatorOutput
from translate.config.clock import Clock
from translate.config.spec import Spec


class Member(Spec):
    """One discriminator of an ensemble."""

    capacity: float = Field(default=1.0, gt=0)  # times the width of `discriminator`
    noise: float = Field(default=1.0, ge=0)  # times `instance_noise`


class AdversarialConfig(Spec):
    """What a recipe with a discriminator may set about its game; their Configs inherit these keys and checks."""

    objective: Objective = NonSaturating()
    penalties: tuple[Penalty, ...] = ()
    constraint: Constraint = Free()
    labels: Labels = Labels()
    instance_noise: NoiseLevel = 0.0  # standard deviation, in units of the images ([-1, 1])
    pool_size: int = Field(default=0, ge=0)  # generated images kept to show the discriminator again; 0: none
    augment: DiffAugment | None = None
    ensemble: tuple[Member, ...] = ()  # several discriminators; their losses are averaged

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
    def _energies_are_not_negative(self) -> Self:
        judge = getattr(getattr(self, "discriminator", None), "kind", "autoencoder")
        if self.objective.kind == "energy" and judge != "autoencoder":
            raise ValueError(
                f"objective 'energy' needs a discriminator that gives energies, not logits: {judge!r} does not;"
                " use discriminator: {kind: autoencoder} in a recipe that has it, or objective least_squares"
            )
        return self

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
    `discriminator` maps images [N, C, H, W], and their label [N] where one is given, to logits [N, ...] or to a
    DiscriminatorOutput; pix2pix stacks its condition on the channels. A label also asks a discriminator that names
    classes to name the right ones: AC-GAN, Odena et al. 2017, eqs. 2-3, times `class_weight`, and those of fakes at its
    own turn times `fake_class_weight`, too. `repulsion` is the weight of EBGAN's pulling-away term; `noise` a factor on
    `instance_noise`.
    `full_precision(discriminator)` is a context in which the discriminator computes in float32: penalties, which are
    differentiated twice, are computed there.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        config: AdversarialConfig,
        full_precision: Callable[[nn.Module], AbstractContextManager[object]] = nullcontext,
        *,
        class_weight: float = 1.0,
        fake_class_weight: float = 1.0,
        repulsion: float = 0.0,
        noise: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.class_weight, self.fake_class_weight = class_weight, fake_class_weight
        self.repulsion, self.noise = repulsion, noise
        self.discriminator = discriminator
        self.pool = ImagePool(config.pool_size)
        self._full_precision = full_precision
        self._seen: dict[str, Tensor] = {}
        self.watched = False  # whether `kept` is filled, for whoever examines a step after it
        self.kept: dict[str, Tensor] = {}  # `real`, `fake`, `label`; `gradient` to the fakes, `factor` of the loss
        config.constraint.prepare(discriminator)

    def discriminator_losses(
        self,
        real: Tensor,
        fake: Tensor,
        clock: Clock,
        label: Tensor | None = None,
        *,
        weights: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
        through: bool = False,
    ) -> dict[str, Tensor]:
        """What the discriminator minimises the sum of: `discriminator`, `classes` where it names them, and a term for
        each penalty due at this step.

        `real` and `fake` [N, C, H, W], both of the classes `label` [N], are detached, unless `through`: then gradients
        pass on to whatever made them. Two forward passes, as in the papers: batch statistics of real and fake images
        never mix. Penalties see what the discriminator saw. `weights` [N] each: how much each real and fake counts.
        """
        config = self.config
        if self.watched:
            self.kept |= {"real": real.detach(), "fake": fake.detach()} | ({} if label is None else {"label": label})
        real = self.shown(real if through else real.detach(), clock)
        fake = self.shown(fake if through else self.pool(fake), clock)
        on_real, on_fake = self.judge(real, label), self.judge(fake, label)
        self._seen = {"real": on_real.logits.detach(), "fake": on_fake.logits.detach()}
        losses = {
            "discriminator": config.objective.discriminator(
                on_real.logits,
                on_fake.logits,
                config.labels.for_real(len(real), clock, real.device),
                config.labels.for_fake(len(fake), clock, fake.device),
                weights,
            )
        }
        if label is not None and on_real.classes is not None and on_fake.classes is not None:
            losses["classes"] = self.class_weight * (
                F.cross_entropy(wide(on_real.classes), label)
                + self.fake_class_weight * F.cross_entropy(wide(on_fake.classes), label)
            )
        due = [penalty for penalty in config.penalties if penalty.every == 1 or clock.step % penalty.every == 0]
        if due:
            context = PenaltyContext(
                lambda images: self.judge(images, label).logits,
                real.detach(),
                fake.detach(),
                on_real.logits,
                on_fake.logits,
            )
            with self._full_precision(self.discriminator):
                for penalty in due:
                    losses[penalty.kind] = penalty.weight * penalty.every * penalty(context)
        return losses

    def generator_loss(self, fake: Tensor, clock: Clock) -> Tensor:
        """What the maker of `fake` [N, C, H, W] minimises; no gradient is collected for the discriminator."""
        return self.generator_losses(fake, clock)["adversarial"]

    def generator_losses(self, fake: Tensor, clock: Clock, label: Tensor | None = None) -> dict[str, Tensor]:
        """As `generator_loss`: `adversarial`, with `classes` and `pulling_away` where the game has them."""
        shown = self.shown(fake, clock).view_as(fake)  # a tensor of its own: other losses use `fake`, too
        with frozen(self.discriminator):
            output = self.judge(shown, label)
        losses = {"adversarial": self.config.objective.generator(output.logits)}
        if self.watched and shown.requires_grad:
            shown.register_hook(lambda gradient: self.kept.update(gradient=gradient))
            losses["adversarial"].register_hook(lambda factor: self.kept.update(factor=factor))
        if label is not None and output.classes is not None:
            losses["classes"] = self.class_weight * F.cross_entropy(wide(output.classes), label)
        if self.repulsion:
            assert output.features is not None
            losses["pulling_away"] = self.repulsion * pulling_away(output.features)
        return losses

    def judge(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        output = self.discriminator(images) if label is None else self.discriminator(images, label)
        return output if isinstance(output, DiscriminatorOutput) else DiscriminatorOutput(output)

    def shown(self, images: Tensor, clock: Clock) -> Tensor:
        """What the discriminator gets to see of images: augmented, with noise."""
        images = images if self.config.augment is None else self.config.augment(images)
        return add_noise(images, self.config.instance_noise, clock, self.noise)

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
