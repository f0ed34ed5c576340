"""Discriminators that judge patches: Isola et al. 2017, sec. 3.2.2 and appendix 6.1.2; Zhu et al. 2017, appendix 7.2.

State-dict keys are those of the published PyTorch implementation. Shapes: N images, C channels, H x W pixels.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.nn.blocks import Conv2d, NormKind, initialise, needs_bias, norm


class PatchGANConfig(Spec):
    kind: Literal["patchgan"] = "patchgan"
    width: int = Field(default=64, ge=1)
    layers: int = Field(default=3, ge=1, le=8)  # strided layers; 3 sees 70 x 70 pixels
    norm: NormKind = "instance"

    def build(self, channels: int) -> "PatchGAN":
        return PatchGAN(self, channels)


class PixelGANConfig(Spec):
    """Judges every pixel by itself: the 1 x 1 discriminator of Isola et al. 2017, sec. 4.4."""

    kind: Literal["pixelgan"] = "pixelgan"
    width: int = Field(default=64, ge=1)
    norm: NormKind = "instance"

    def build(self, channels: int) -> "PixelGAN":
        return PixelGAN(self, channels)


class PatchGAN(nn.Module):
    """[N, C, H, W] → logits [N, 1, H/8 − 2, W/8 − 2] (with 3 layers), float32."""

    def __init__(self, config: PatchGANConfig, channels: int) -> None:
        super().__init__()
        widths = [config.width * min(2**level, 8) for level in range(config.layers + 1)]
        layers: list[nn.Module] = [Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, config.layers + 1):
            stride = 2 if level < config.layers else 1
            layers += [
                Conv2d(widths[level - 1], widths[level], 4, stride, 1, bias=needs_bias(config.norm)),
                norm(config.norm, widths[level]),
                nn.LeakyReLU(0.2),
            ]
        layers.append(Conv2d(widths[-1], 1, 4, 1, 1))
        self.model = nn.Sequential(*layers)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits.float()


class PixelGAN(nn.Module):
    """[N, C, H, W] → logits [N, 1, H, W], float32."""

    def __init__(self, config: PixelGANConfig, channels: int) -> None:
        super().__init__()
        w, bias = config.width, needs_bias(config.norm)
        self.net = nn.Sequential(
            Conv2d(channels, w, 1),
            nn.LeakyReLU(0.2),
            Conv2d(w, 2 * w, 1, bias=bias),
            norm(config.norm, 2 * w),
            nn.LeakyReLU(0.2),
            Conv2d(2 * w, 1, 1, bias=bias),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.float()
