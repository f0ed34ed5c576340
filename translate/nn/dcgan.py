"""DCGAN: Radford et al. 2016, sec. 3 and figure 1; the layers of its published implementation.

Its guidelines: strided convolutions instead of pooling; batch norm in both networks, but not at the generator's output
and the discriminator's input; no hidden fully connected layers; ReLU in the generator, tanh at its end; LeakyReLU 0.2
in the discriminator. Shapes: N samples, Z numbers of noise, C channels, S x S pixels with S = 8, 16, 32, ….
"""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.nn.blocks import Conv2d, ConvTranspose2d, NormKind, Tanh, initialise, needs_bias, norm
from translate.nn.heads import Judge, JudgeConfig
from translate.nn.latent import (
    LabelledLatent,
    LatentCondition,
    SelfAttention,
    check_attention,
    doublings,
    normalise_spectrally,
)


def _widths(key: str, width: int, size: int) -> dict[int, int]:
    """Channels of the feature maps by their side, S/2 first: doubled whenever the side is halved, down to 4."""
    return {size >> level: width << level - 1 for level in range(1, doublings(key, size, least=1) + 1)}


class DCGANGeneratorConfig(Spec):
    kind: Literal["dcgan"] = "dcgan"
    latent: int = Field(default=100, ge=1)
    width: int = Field(default=64, ge=1)  # channels at half the pictures' side, doubled at each halving; the paper: 128
    norm: NormKind = "batch"
    condition: LatentCondition = "none"
    attention: int | None = None  # the side of the feature map that attends to itself
    spectral_norm: bool = False

    def build(self, channels: int, size: int, classes: int = 0) -> "DCGANGenerator":
        return DCGANGenerator(self, channels, size, classes)


class DCGANGenerator(nn.Module):
    """z [N, Z], label [N] → [N, C, S, S] in [−1, 1]."""

    def __init__(self, config: DCGANGeneratorConfig, channels: int, size: int, classes: int) -> None:
        super().__init__()
        widths = dict(reversed(_widths("generator", config.width, size).items()))
        check_attention("generator", config.attention, widths)
        self.latent = LabelledLatent(config.condition, config.latent, classes)
        bias, before = needs_bias(config.norm), self.latent.width
        layers: list[nn.Module] = []
        for side, width in widths.items():
            stride, padding = (1, 0) if side == 4 else (2, 1)
            layers.append(ConvTranspose2d(before, width, 4, stride, padding, bias=bias))
            layers += [norm(config.norm, width), nn.ReLU()]
            layers += [SelfAttention(width)] if side == config.attention else []
            before = width
        self.model = nn.Sequential(*layers, ConvTranspose2d(before, channels, 4, 2, 1), Tanh())
        initialise(self)
        if config.spectral_norm:
            normalise_spectrally(self)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        out: Tensor = self.model(self.latent(latent, label)[:, :, None, None])
        return out


class DCGANDiscriminatorConfig(JudgeConfig):
    """With a gradient penalty, choose `norm: none` (Gulrajani et al. 2017, sec. 4)."""

    kind: Literal["dcgan"] = "dcgan"
    width: int = Field(default=64, ge=1)  # as in the generator
    norm: NormKind = "batch"
    attention: int | None = None

    def build(self, channels: int, size: int, classes: int = 0) -> Judge:
        widths = _widths("discriminator", self.width, size)
        check_attention("discriminator", self.attention, widths)
        layers: list[nn.Module] = [Conv2d(self.inputs(channels, classes), self.width, 4, 2, 1), nn.LeakyReLU(0.2)]
        layers += [SelfAttention(self.width)] if size // 2 == self.attention else []
        for (_, before), (side, width) in pairwise(widths.items()):
            layers.append(Conv2d(before, width, 4, 2, 1, bias=needs_bias(self.norm)))
            layers += [norm(self.norm, width), nn.LeakyReLU(0.2)]
            layers += [SelfAttention(width)] if side == self.attention else []
        network = self.judge(nn.Sequential(*layers), widths[4], 16, classes)
        initialise(network)
        return network
