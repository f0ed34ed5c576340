"""What the discriminator and the generator minimise, given only the discriminator's logits.

Every loss is a mean over logits of any shape, so the map of a PatchGAN [N, 1, h, w], the logit of a DCGAN [N, 1] and an
energy [N] are the same thing here. Logits lie in (-inf, inf); sigmoid(logit) is the probability of "real". Whatever
their dtype, losses are computed in float32 or wider, and values and gradients are finite for |logit| <= 1e4.

Targets say how real a sample is declared to be, one number a sample, [N]: 1 is real, 0 is fake (see `labels`).

Choosing: `minimax` is the game of the theory, but its generator learns nothing once the discriminator wins;
`non_saturating` has the same fixed point without that flaw; `maximum_likelihood` weighs the best fakes only, so its
gradients vary most. `wasserstein` needs a discriminator with bounded slope (see `penalties` and `constraints`).
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from translate.config.spec import Spec


def wide(tensor: Tensor) -> Tensor:
    """The same values in float32, or in what they are if that is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


class ObjectiveBase(Spec, ABC):
    """A kind says what one logit costs in three situations; the means, targets and precision are common to all."""

    kind: str
    # Targets for which the loss is bounded below; None: only a real sample (1) and a fake one (0) mean something.
    targets: ClassVar[tuple[float, float] | None] = None
    needs_lipschitz: ClassVar[bool] = False  # unbounded below unless something bounds the discriminator's slope

    @abstractmethod
    def as_real(self, logits: Tensor) -> Tensor:
        """The discriminator's loss at each logit, were its sample real."""

    @abstractmethod
    def as_fake(self, logits: Tensor) -> Tensor:
        """The discriminator's loss at each logit, were its sample fake."""

    @abstractmethod
    def as_fooling(self, logits: Tensor) -> Tensor:
        """The generator's loss at each logit of its samples."""

    def toward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The discriminator's loss at each logit whose sample is declared real to the degree `target`."""
        return target * self.as_real(logits) + (1 - target) * self.as_fake(logits)

    def real(self, logits: Tensor, target: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The real half of the discriminator's loss, a scalar; `target` [N] replaces the hard target 1.

        `weight` [N], of mean 1: how much each sample counts.
        """
        logits = wide(logits)
        losses = self.as_real(logits) if target is None else self.toward(logits, _beside(target, logits))
        return (losses if weight is None else losses * _beside(weight, losses)).mean()

    def fake(self, logits: Tensor, target: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
        """The fake half, as `real`; `target` [N] replaces the hard target 0."""
        logits = wide(logits)
        losses = self.as_fake(logits) if target is None else self.toward(logits, _beside(target, logits))
        return (losses if weight is None else losses * _beside(weight, losses)).mean()

    def discriminator(
        self,
        real_logits: Tensor,
        fake_logits: Tensor,
        real_target: Tensor | None = None,
        fake_target: Tensor | None = None,
        weights: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    ) -> Tensor:
        """The sum (not the mean) of both halves; a recipe whose paper halves it does so itself."""
        return self.real(real_logits, real_target, weights[0]) + self.fake(fake_logits, fake_target, weights[1])

    def generator(self, fake_logits: Tensor) -> Tensor:
        """A scalar. The generator always sees hard targets: smoothing is for the discriminator alone."""
        return self.as_fooling(wide(fake_logits)).mean()


def _beside(target: Tensor, logits: Tensor) -> Tensor:
    """[N] -> [N, 1, ...], to broadcast over the logits of each sample."""
    return target.to(logits.dtype).view(-1, *[1] * (logits.dim() - 1))


class Logistic(ObjectiveBase):
    """Binary cross-entropy with logits, for which a soft target in [0, 1] is a mixture of both classes."""

    targets: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    def as_real(self, logits: Tensor) -> Tensor:
        return F.softplus(-logits)  # -log D(x)

    def as_fake(self, logits: Tensor) -> Tensor:
        return F.softplus(logits)  # -log(1 - D(x))


class Minimax(Logistic):
    """The zero-sum game: Goodfellow et al. 2014, eq. 1. The generator minimises E log(1 - D(G(z)))."""

    kind: Literal["minimax"] = "minimax"

    def as_fooling(self, logits: Tensor) -> Tensor:
        return -F.softplus(logits)


class NonSaturating(Logistic):
    """Goodfellow et al. 2014, end of sec. 3: the generator minimises -E log D(G(z)). The pix2pix paper's game."""

    kind: Literal["non_saturating"] = "non_saturating"

    def as_fooling(self, logits: Tensor) -> Tensor:
        return F.softplus(-logits)


class MaximumLikelihood(Logistic):
    """Goodfellow 2016 (tutorial), sec. 3.2.4, without its factor 1/2: the generator minimises -E exp(logit).

    At the optimal discriminator exp(logit) = p_data / p_model, and the expected gradient is that of maximum likelihood.
    The exponential goes on as its tangent beyond `ceiling`, which bounds the gradient by exp(ceiling).
    """

    kind: Literal["maximum_likelihood"] = "maximum_likelihood"
    ceiling: float = Field(default=10.0, gt=0, le=60)

    def as_fooling(self, logits: Tensor) -> Tensor:
        return -logits.clamp(max=self.ceiling).exp() * (1 + F.relu(logits - self.ceiling))


class LeastSquares(ObjectiveBase):
    """LSGAN: Mao et al. 2017, eq. 2 without its factors 1/2, for the coding scheme a, b, c.

    a and b are the values that the discriminator gives to fake and real samples, c the one that the generator wants
    for its own. The defaults are the 0-1 coding of eq. 9; a = -1, b = 1, c = 0 gives the Pearson chi-square divergence
    (eq. 8). A target t stands for the value a + t (b - a): t itself, by default.
    """

    kind: Literal["least_squares"] = "least_squares"
    a: float = 0.0
    b: float = 1.0
    c: float = 1.0
    targets: ClassVar[tuple[float, float] | None] = (float("-inf"), float("inf"))

    @model_validator(mode="after")
    def _generator_aims_at_real(self) -> Self:
        if (self.b - self.a) * (self.c - self.a) <= 0:
            raise ValueError(
                f"the generator's aim c ({self.c:g}) must differ from the value a ({self.a:g}) of fake samples"
                f" and lie on the side of the value b ({self.b:g}) of real ones"
            )
        return self

    def as_real(self, logits: Tensor) -> Tensor:
        return (logits - self.b).square()

    def as_fake(self, logits: Tensor) -> Tensor:
        return (logits - self.a).square()

    def toward(self, logits: Tensor, target: Tensor) -> Tensor:
        return (logits - (self.a + target * (self.b - self.a))).square()

    def as_fooling(self, logits: Tensor) -> Tensor:
        return (logits - self.c).square()


class Hinge(ObjectiveBase):
    """Miyato et al. 2018, eqs. 16-17 (Lim & Ye 2017): only logits inside the margin cost anything."""

    kind: Literal["hinge"] = "hinge"

    def as_real(self, logits: Tensor) -> Tensor:
        return F.relu(1 - logits)

    def as_fake(self, logits: Tensor) -> Tensor:
        return F.relu(1 + logits)

    def as_fooling(self, logits: Tensor) -> Tensor:
        return -logits


class Wasserstein(ObjectiveBase):
    """Arjovsky et al. 2017, eq. 2: minus the loss estimates the earth mover's distance, times the slope allowed."""

    kind: Literal["wasserstein"] = "wasserstein"
    needs_lipschitz: ClassVar[bool] = True

    def as_real(self, logits: Tensor) -> Tensor:
        return -logits

    def as_fake(self, logits: Tensor) -> Tensor:
        return logits

    def as_fooling(self, logits: Tensor) -> Tensor:
        return -logits


class Energy(ObjectiveBase):
    """EBGAN: Zhao et al. 2017, eqs. 1-2. Logits are energies, >= 0, low for what looks real; beyond `margin` a fake
    costs nothing."""

    kind: Literal["energy"] = "energy"
    margin: float = Field(default=10.0, gt=0)

    def as_real(self, logits: Tensor) -> Tensor:
        return logits

    def as_fake(self, logits: Tensor) -> Tensor:
        return F.relu(self.margin - logits)

    def as_fooling(self, logits: Tensor) -> Tensor:
        return logits


Objective = Annotated[
    Minimax | NonSaturating | MaximumLikelihood | LeastSquares | Hinge | Wasserstein | Energy,
    Field(discriminator="kind"),
]
