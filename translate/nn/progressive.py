"""Networks that grow with the pictures: Karras et al. 2018, sec. 2-4 and appendix A.1 (table 2), and their code.

Stage s has 4·2^s pixels a side. `stage` and `alpha` are attributes that the recipe sets before it calls either network:
a new network stands at its last stage, alpha 1; below 1, the newest layers are being faded in. They are not weights
and not in the state dict. Shapes: N samples, Z numbers of noise, C channels, K classes, R x R pixels at this stage.
"""

import math
from itertools import pairwise
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from translate.batches import DiscriminatorOutput
from translate.config.spec import Spec
from translate.nn.blocks import Conv2d, ConvTranspose2d
from translate.nn.heads import Heads, MinibatchDeviation
from translate.nn.latent import check_classes, doublings, wide

Layer = TypeVar("Layer", bound=Conv2d | ConvTranspose2d | nn.Linear)


class _ProgressiveConfig(Spec):
    """The defaults are the paper's for 1024 x 1024 pictures."""

    width: int = Field(default=512, ge=1)  # channels of the widest layers
    base: int = Field(default=16384, ge=4)  # a feature map of R x R pixels has at most base/R channels

    def channels(self, side: int) -> int:
        return max(1, min(self.base // side, self.width))


class ProgressiveGeneratorConfig(_ProgressiveConfig):
    kind: Literal["progressive"] = "progressive"
    latent: int = Field(default=512, ge=1)
    condition: Literal["none", "concatenate"] = "none"  # concatenate: the label beside z, K numbers 0 or 1

    def build(self, channels: int, size: int, classes: int = 0) -> "ProgressiveGenerator":
        return ProgressiveGenerator(self, channels, size, classes)


class ProgressiveGenerator(nn.Module):
    """z [N, Z], label [N] → [N, C, R, R] float32; in training unbounded, as in the paper, else clipped to [−1, 1]."""

    def __init__(self, config: ProgressiveGeneratorConfig, channels: int, size: int, classes: int) -> None:
        super().__init__()
        check_classes("generator", config.condition, classes)
        self.classes = 0 if config.condition == "none" else classes
        self.stage, self.alpha = doublings("generator", size), 1.0
        widths = [config.channels(4 << stage) for stage in range(self.stage + 1)]
        self.start = nn.Sequential(
            PixelNorm(),
            *_activated(ConvTranspose2d(config.latent + self.classes, widths[0], 4), PixelNorm()),
            *_activated(Conv2d(widths[0], widths[0], 3, padding=1), PixelNorm()),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.UpsamplingNearest2d(scale_factor=2),
                *_activated(Conv2d(before, width, 3, padding=1), PixelNorm()),
                *_activated(Conv2d(width, width, 3, padding=1), PixelNorm()),
            )
            for before, width in pairwise(widths)
        )
        self.to_rgb = nn.ModuleList(equalised(Conv2d(width, channels, 1), gain=1) for width in widths)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        if self.classes:
            assert label is not None
            latent = torch.cat([latent, F.one_hot(label, self.classes).to(latent.dtype)], 1)
        x = before = self.start(latent[:, :, None, None])
        for block in self.blocks[: self.stage]:
            before, x = x, block(x)
        image: Tensor = self.to_rgb[self.stage](x).float()
        if self.stage and self.alpha < 1:  # figure 2 (b)
            old = self.to_rgb[self.stage - 1](before).float()
            image = F.interpolate(old, scale_factor=2.0, mode="nearest").lerp(image, self.alpha)
        return image if self.training else image.clamp(-1, 1)


class ProgressiveDiscriminatorConfig(_ProgressiveConfig):
    kind: Literal["progressive"] = "progressive"
    condition: Literal["none", "auxiliary"] = "none"  # auxiliary: also logits of the classes

    def build(self, channels: int, size: int, classes: int = 0) -> "ProgressiveDiscriminator":
        return ProgressiveDiscriminator(self, channels, size, classes)


class ProgressiveDiscriminator(nn.Module):
    """[N, C, R, R] → logits [N, 1], features [N, D], and with `auxiliary` classes [N, K]."""

    def __init__(self, config: ProgressiveDiscriminatorConfig, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.stage, self.alpha = doublings("discriminator", size), 1.0
        widths, features = [config.channels(4 << stage) for stage in range(self.stage + 1)], config.channels(2)
        self.from_rgb = nn.ModuleList(nn.Sequential(*_activated(Conv2d(channels, width, 1))) for width in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *_activated(Conv2d(width, width, 3, padding=1)),
                *_activated(Conv2d(width, after, 3, padding=1)),
                nn.AvgPool2d(2),
            )
            for after, width in pairwise(widths)
        )
        self.finish = nn.Sequential(
            MinibatchDeviation(),
            *_activated(Conv2d(widths[0] + 1, widths[0], 3, padding=1)),
            *_activated(Conv2d(widths[0], features, 4)),
            nn.Flatten(),
        )
        self.heads = Heads(features, config.condition, classes)
        for layer in self.heads.children():
            assert isinstance(layer, nn.Linear)
            equalised(layer, gain=1)

    def forward(self, images: Tensor, label: Tensor | None = None) -> DiscriminatorOutput:
        x = self.from_rgb[self.stage](images)
        for stage in range(self.stage, 0, -1):
            x = self.blocks[stage - 1](x)
            if stage == self.stage and self.alpha < 1:
                x = self.from_rgb[stage - 1](F.avg_pool2d(images, 2)).lerp(x, self.alpha)
        output: DiscriminatorOutput = self.heads(wide(self.finish(x)), label)
        return output


class PixelNorm(nn.Module):
    """Each pixel's vector of channels to a mean square of 1: eq. in sec. 4.2, [N, C, H, W] → the same."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (wide(x).square().mean(1, keepdim=True) + 1e-8).rsqrt().to(x.dtype)


def equalised(layer: Layer, gain: float = math.sqrt(2)) -> Layer:
    """Weights ŵ ~ N(0, 1), used as c·ŵ with He's constant c = gain/√fan-in: sec. 4.1.

    Adam moves every weight by the same amount whatever its scale, hence each layer at the same relative speed.
    """
    assert layer.bias is not None
    nn.init.normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    fan_in = layer.weight.numel() // layer.bias.numel()  # of the 4 x 4 start too, as in the paper: 16 Z
    register_parametrization(layer, "weight", _Scale(gain / math.sqrt(fan_in)))
    return layer


class _Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.factor


def _activated(layer: Conv2d | ConvTranspose2d, *after: nn.Module) -> list[nn.Module]:
    return [equalised(layer), nn.LeakyReLU(0.2), *after]
