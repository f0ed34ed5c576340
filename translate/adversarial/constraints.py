"""Limits on the discriminator's weights: set up once, and enforced after each of its updates."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization

from translate.config.spec import Spec

_WEIGHTED = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
    nn.Embedding,
)


class ConstraintBase(Spec):
    """By default there is nothing to do."""

    kind: str
    lipschitz: ClassVar[bool] = False  # whether it bounds the discriminator's slope, which Wasserstein objectives need

    def prepare(self, discriminator: nn.Module) -> None:
        """Once, after the weights are initialised and before the optimiser is built."""

    def enforce(self, discriminator: nn.Module) -> None:
        """After every update of the discriminator."""


class Free(ConstraintBase):
    """No constraint."""

    kind: Literal["free"] = "free"


class WeightClip(ConstraintBase):
    """WGAN: Arjovsky et al. 2017, algorithm 1, line 7: every parameter is clipped to [-limit, limit]."""

    kind: Literal["weight_clip"] = "weight_clip"
    limit: float = Field(default=0.01, gt=0)
    lipschitz: ClassVar[bool] = True

    @torch.no_grad()
    def enforce(self, discriminator: nn.Module) -> None:
        for parameter in discriminator.parameters():
            parameter.clamp_(-self.limit, self.limit)


class SpectralNorm(ConstraintBase):
    """SN-GAN: Miyato et al. 2018, algorithm 1: every weight matrix is divided by its largest singular value.

    The singular vectors are estimated by one power iteration at each forward pass in training mode; they are buffers,
    saved and restored with the weights. State-dict keys gain `parametrizations.weight.original` and its vectors, so
    load a published discriminator before preparing it. Each layer's slope is at most `factor`, as in the authors' code:
    more than 1 lets the discriminator tell apart what is close, as the modes of toy data.
    """

    kind: Literal["spectral_norm"] = "spectral_norm"
    factor: float = Field(default=1.0, gt=0)
    lipschitz: ClassVar[bool] = True

    def prepare(self, discriminator: nn.Module) -> None:
        layers = [layer for layer in discriminator.modules() if isinstance(layer, _WEIGHTED)]
        assert layers, f"{type(discriminator).__name__} has no layer that spectral norm knows"
        for layer in layers:
            spectral_norm(layer)
            if self.factor != 1:
                register_parametrization(layer, "weight", Scaled(self.factor))


class Scaled(nn.Module):
    """A parametrisation: the weight times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


Constraint = Annotated[Free | WeightClip | SpectralNorm, Field(discriminator="kind")]
