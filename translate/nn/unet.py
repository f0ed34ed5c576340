"""The U-Net generator of pix2pix: Isola et al. 2017, sec. 3.1.1 and appendix 6.1.1.

State-dict keys are those of the published PyTorch implementation. Shapes: N images, C channels, H x W pixels.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from translate.errors import ConfigError
from translate.nn.blocks import Conv2d, Dropout, NormKind, needs_bias, norm, output, upsample
from translate.nn.generator import GeneratorConfig


class UNetConfig(GeneratorConfig):
    kind: Literal["unet"] = "unet"
    width: int = Field(default=64, ge=1)  # channels after the first halving; doubled three times, then constant
    depth: int = Field(default=8, ge=2, le=12)  # 8 takes 256 x 256 down to 1 x 1
    norm: NormKind = "batch"
    dropout: float = Field(default=0.5, ge=0, lt=1)  # in the intermediate decoder blocks of 8 x width channels

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this."""
        return 1 << self.depth

    def build(self, channels_in: int, channels_out: int) -> "UNet":
        return UNet(self, channels_in, channels_out)


class UNet(nn.Module):
    """[N, C_in, H, W] → [N, C_out, H, W], both in [−1, 1]; H and W multiples of 2^depth."""

    def __init__(self, config: UNetConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * min(2**level, 8) for level in range(config.depth)]
        block: UNetBlock | None = None
        for level in reversed(range(1, config.depth)):  # from the bottleneck outwards
            middle = widths[level - 1] == widths[level] and level < config.depth - 1
            block = UNetBlock(config, widths[level - 1], widths[level], block, dropout=middle)
        assert block is not None
        self.model = UNetBlock(config, channels_in, widths[0], block, channels_out=channels_out)
        config.finish(self)

    def forward(self, x: Tensor) -> Tensor:
        multiple = self.config.multiple
        if x.shape[2] % multiple or x.shape[3] % multiple:
            raise ConfigError(
                f"a U-Net of depth {self.config.depth} takes heights and widths that are multiples of {multiple}, not "
                f"{x.shape[2]} x {x.shape[3]}: change data.crop_size or recipe.generator.depth"
            )
        out: Tensor = self.model(x)
        return out


class UNetBlock(nn.Module):
    """Down, what is inside, up; and beside it the skip: [N, C, H, W] → [N, 2C, H, W], in the order [skip, up].

    Given `channels_out` it is the outermost block: no skip, ends in `config.output`.
    """

    def __init__(
        self,
        config: UNetConfig,
        outer: int,
        inner: int,
        inside: "UNetBlock | None",
        dropout: bool = False,
        channels_out: int | None = None,
    ) -> None:
        super().__init__()
        bias = needs_bias(config.norm)
        below = inner if inside is None else 2 * inner
        self.skip = channels_out is None
        if channels_out is not None:
            assert inside is not None
            self.model = nn.Sequential(
                Conv2d(outer, inner, 4, 2, 1, bias=bias),
                inside,
                nn.ReLU(),
                upsample(config.upsampling, below, channels_out, 4, bias=True),
                output(config.output),
            )
            return
        down = [nn.LeakyReLU(0.2), Conv2d(outer, inner, 4, 2, 1, bias=bias)]
        middle = [] if inside is None else [norm(config.norm, inner), inside]
        up = [nn.ReLU(), upsample(config.upsampling, below, outer, 4, bias), norm(config.norm, outer)]
        noise = [Dropout(config.dropout)] if dropout and config.dropout else []
        self.model = nn.Sequential(*down, *middle, *up, *noise)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return torch.cat([x, out], 1) if self.skip else out
