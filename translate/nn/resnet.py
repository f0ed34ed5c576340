"""The ResNet generator of CycleGAN: Zhu et al. 2017, appendix 7.2, after Johnson et al. 2016.

State-dict keys are those of the published PyTorch implementation. Shapes: N images, C channels, H x W pixels.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from translate.nn.blocks import Conv2d, Dropout, NormKind, needs_bias, norm, output, upsample
from translate.nn.generator import GeneratorConfig


class ResNetConfig(GeneratorConfig):
    kind: Literal["resnet"] = "resnet"
    width: int = Field(default=64, ge=1)  # channels at full size; 4 x width in the blocks, at a quarter of the size
    blocks: int = Field(default=9, ge=1)  # the paper: 6 for 128 x 128 pictures, 9 for 256 x 256 and larger
    norm: NormKind = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this for the output to have the input's size."""
        return 4

    def build(self, channels_in: int, channels_out: int) -> "ResNet":
        return ResNet(self, channels_in, channels_out)


class ResNet(nn.Module):
    """[N, C_in, H, W] → [N, C_out, H, W], both in [−1, 1]; H and W multiples of 4."""

    def __init__(self, config: ResNetConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.config = config
        w, bias = config.width, needs_bias(config.norm)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            Conv2d(channels_in, w, 7, bias=bias),
            norm(config.norm, w),
            nn.ReLU(),
        ]
        for c in (w, 2 * w):
            layers += [Conv2d(c, 2 * c, 3, 2, 1, bias=bias), norm(config.norm, 2 * c), nn.ReLU()]
        layers += [ResNetBlock(config, 4 * w) for _ in range(config.blocks)]
        for c in (4 * w, 2 * w):
            layers += [upsample(config.upsampling, c, c // 2, 3, bias), norm(config.norm, c // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), Conv2d(w, channels_out, 7), output(config.output)]
        self.model = nn.Sequential(*layers)
        config.finish(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class ResNetBlock(nn.Module):
    """x + F(x), [N, C, H, W] → [N, C, H, W]."""

    def __init__(self, config: ResNetConfig, channels: int) -> None:
        super().__init__()
        bias = needs_bias(config.norm)

        def half() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), Conv2d(channels, channels, 3, bias=bias), norm(config.norm, channels)]

        noise = [Dropout(config.dropout)] if config.dropout else []
        self.conv_block = nn.Sequential(*half(), nn.ReLU(), *noise, *half())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_block(x)
        return x.to(out.dtype) + out
