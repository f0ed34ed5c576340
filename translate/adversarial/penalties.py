"""Terms that restrain the discriminator, most by its slope. They return a tensor, which is differentiated once more.

The slope at an image is the gradient of the *sum* of that image's logits: of a patch map it grows with the number of
patches, as in the published implementation (`../shared/golden`); choose the weight accordingly. Since it is taken
image by image, it means nothing in a discriminator with batch norm (Gulrajani et al. 2017, sec. 4).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from translate.adversarial.objectives import wide
from translate.config.spec import Spec


class PenaltyContext(NamedTuple):
    """One meeting of a discriminator with real and fake images [N, C, H, W], as it saw them, detached."""

    discriminator: Callable[[Tensor], Tensor]  # in full precision
    real: Tensor
    fake: Tensor
    real_logits: Tensor  # with the graph to the discriminator's parameters, but not to the images
    fake_logits: Tensor


class PenaltyBase(Spec, ABC):
    """Applied at every `every`-th step and multiplied by `weight * every`: lazy regularisation keeps its mean strength
    at a fraction of the time (Karras et al. 2020, appendix B)."""

    kind: str
    weight: float = Field(default=10.0, gt=0)
    every: int = Field(default=1, ge=1)

    @property
    def lipschitz(self) -> bool:
        """Whether it bounds the slope on the way from real to fake images, which Wasserstein objectives need."""
        return False

    @abstractmethod
    def __call__(self, context: PenaltyContext) -> Tensor:
        """The penalty before its weight: a scalar >= 0, in float32 or wider."""


class GradientPenalty(PenaltyBase):
    """WGAN-GP: Gulrajani et al. 2017, eq. 3, E (|slope| - target)^2, at random points between real and fake images.

    `sided: one` punishes slopes above the target only (their sec. 4; Petzka et al. 2018).
    """

    kind: Literal["gradient_penalty"] = "gradient_penalty"
    sided: Literal["two", "one"] = "two"
    at: Literal["between", "real", "fake"] = "between"
    target: float = Field(default=1.0, ge=0)

    @property
    def lipschitz(self) -> bool:
        return self.at == "between"

    def __call__(self, context: PenaltyContext) -> Tensor:
        places = {"between": _between, "real": _real, "fake": _fake}
        squared = squared_slope(context.discriminator, places[self.at](context))
        excess = (squared + 1e-16).sqrt() - self.target  # the epsilon keeps the derivative at slope 0 finite
        return (F.relu(excess) if self.sided == "one" else excess).square().mean()


class R1(PenaltyBase):
    """Mescheder et al. 2018, eq. 9: 1/2 E |slope at real images|^2; `weight` is their gamma."""

    kind: Literal["r1"] = "r1"

    def __call__(self, context: PenaltyContext) -> Tensor:
        return squared_slope(context.discriminator, context.real).mean() / 2


class Drift(PenaltyBase):
    """Karras et al. 2018, appendix A.1: E logit^2 at real images keeps a critic, which has no zero, from drifting."""

    kind: Literal["drift"] = "drift"
    weight: float = Field(default=1e-3, gt=0)

    def __call__(self, context: PenaltyContext) -> Tensor:
        return wide(context.real_logits).square().mean()


def squared_slope(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """|d(sum of an image's logits) / d image|^2 over its pixels and channels, [N]; differentiable by the parameters."""
    images = wide(images.detach()).requires_grad_()
    (gradient,) = torch.autograd.grad(wide(discriminator(images)).sum(), images, create_graph=True)
    return gradient.square().sum(dim=tuple(range(1, gradient.dim())))


def _between(context: PenaltyContext) -> Tensor:
    """A uniform point on the line between each real image and its fake one."""
    real, fake = wide(context.real), wide(context.fake)
    return real.lerp(fake, torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype))


def _real(context: PenaltyContext) -> Tensor:
    return context.real


def _fake(context: PenaltyContext) -> Tensor:
    return context.fake


Penalty = Annotated[GradientPenalty | R1 | Drift, Field(discriminator="kind")]
