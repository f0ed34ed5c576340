"""The residual networks of WGAN-GP and SN-GAN, and BigGAN's conditioning at small size.

Gulrajani et al. 2017, appendix; Miyato et al. 2018, appendix B.4 (tables 3 and 4), and their published code; Brock et
al. 2019, appendix B. Shapes: N samples, Z numbers of noise, C channels, S x S pixels, E numbers of an embedding.
"""

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.errors import ConfigError
from translate.nn.blocks import BatchNorm, Conv2d, Tanh
from translate.nn.heads import Judge, JudgeConfig
from translate.nn.latent import SelfAttention, check_attention, check_classes, doublings, normalise_spectrally, wide

Initialisation = Literal["xavier", "orthogonal"]
Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2)]


class ResidualGeneratorConfig(Spec):
    """The defaults are SN-GAN's for 32 x 32 pictures (table 4); WGAN-GP has 128 channels everywhere.

    `shared_embedding: E` conditions every batch norm on one embedding of the class and on its own share of z.
    """

    kind: Literal["residual"] = "residual"
    latent: int = Field(default=128, ge=1)
    widths: Widths = (256, 256, 256, 256)  # channels at 4 x 4, 8 x 8, … and at full size
    condition: Literal["none", "batch_norm"] = "none"
    shared_embedding: int | None = Field(default=None, ge=1)
    attention: int | None = None  # the side of the feature map that attends to itself
    spectral_norm: bool = False
    initialisation: Initialisation = "xavier"  # orthogonal: BigGAN

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if self.shared_embedding is not None and self.condition == "none":
            raise ValueError("shared_embedding: is of the class; set condition: batch_norm")
        if self.shared_embedding is not None and self.latent % len(self.widths):
            raise ValueError(f"latent: with shared_embedding, a multiple of {len(self.widths)}, the number of widths")
        return self

    def build(self, channels: int, size: int, classes: int = 0) -> "ResidualGenerator":
        return ResidualGenerator(self, channels, size, classes)


class ResidualGenerator(nn.Module):
    """z [N, Z], label [N] → [N, C, S, S] in [−1, 1]."""

    def __init__(self, config: ResidualGeneratorConfig, channels: int, size: int, classes: int) -> None:
        super().__init__()
        if doublings("generator", size) != len(config.widths) - 1:
            made = 2 << len(config.widths)
            raise ConfigError(f"recipe.generator.widths: these make {made} x {made} pixels; the data have {size}")
        check_attention("generator", config.attention, (8 << level for level in range(len(config.widths) - 1)))
        check_classes("generator", config.condition, classes)
        self.share, self.shared, code = config.latent, None, 0
        if config.shared_embedding is not None:
            self.share = config.latent // len(config.widths)
            self.shared = nn.Embedding(classes, config.shared_embedding)
            code = config.shared_embedding + self.share

        def norm(width: int) -> nn.Module:
            return BatchNorm(width) if config.condition == "none" else ConditionalBatchNorm(width, classes, code)

        self.start = nn.Linear(self.share, 16 * config.widths[0])
        self.blocks = nn.ModuleList(
            GeneratorBlock(*pair, norm(pair[0]), norm(pair[1])) for pair in pairwise(config.widths)
        )
        self.attention = nn.ModuleList(
            SelfAttention(width) if 8 << level == config.attention else nn.Identity()
            for level, width in enumerate(config.widths[1:])
        )
        last = config.widths[-1]
        self.finish = nn.Sequential(BatchNorm(last), nn.ReLU(), Conv2d(last, channels, 3, padding=1), Tanh())
        _initialise(self, config.initialisation)
        if config.spectral_norm:
            normalise_spectrally(self)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        codes = [label] * len(self.blocks)
        if self.shared is not None:
            embedded = self.shared(label)
            latent, *shares = latent.split(self.share, 1)
            codes = [torch.cat([embedded, share], 1) for share in shares]
        x = self.start(latent).unflatten(1, (-1, 4, 4))
        for block, attention, code in zip(self.blocks, self.attention, codes, strict=True):
            x = attention(block(x, code))
        out: Tensor = self.finish(x)
        return out


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias follow from a code, [N, C, H, W] → the same.

    The code is the class, int64 [N] (Dumoulin et al. 2017, eq. 5; de Vries et al. 2017), or, given its length, numbers
    [N, code] on which gain and bias depend linearly (BigGAN).
    """

    def __init__(self, channels: int, classes: int, code: int = 0) -> None:
        super().__init__()
        self.norm = BatchNorm(channels, affine=False)
        self.gain, self.bias = (
            nn.Linear(code, channels, bias=False) if code else nn.Embedding(classes, channels) for _ in range(2)
        )

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        gain, bias = (layer(code).to(x.dtype)[:, :, None, None] for layer in (self.gain, self.bias))
        return torch.addcmul(bias, self.norm(x), 1 + gain)


class GeneratorBlock(nn.Module):
    """Twice the height and width: [N, C, H, W] → [N, C', 2H, 2W]."""

    def __init__(self, channels: int, out: int, norm1: nn.Module, norm2: nn.Module) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm1, Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = norm2, Conv2d(out, out, 3, padding=1)
        self.shortcut = Conv2d(channels, out, 1)

    def forward(self, x: Tensor, code: Tensor | None) -> Tensor:
        h = self.conv1(double(F.relu(_normed(self.norm1, x, code))))
        h = self.conv2(F.relu(_normed(self.norm2, h, code)))
        out: Tensor = h + double(self.shortcut(x))  # as upsampling first, at a quarter of the cost
        return out


def _normed(norm: nn.Module, x: Tensor, code: Tensor | None) -> Tensor:
    out: Tensor = norm(x) if isinstance(norm, BatchNorm) else norm(x, code)
    return out


def double(x: Tensor) -> Tensor:
    """Each pixel four times: [N, C, H, W] → [N, C, 2H, 2W]."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class ResidualDiscriminatorConfig(JudgeConfig):
    """The defaults are SN-GAN's for 32 x 32 pictures (table 4), to be used with `constraint: spectral_norm`.

    WGAN-GP has the same network with `pooling: mean`.
    """

    kind: Literal["residual"] = "residual"
    widths: Widths = (128, 128, 128, 128)  # channels after each block
    down: int = Field(default=2, ge=1)  # of the blocks, how many halve height and width; the first ones
    attention: int | None = None
    pooling: Literal["sum", "mean"] = "sum"
    initialisation: Initialisation = "xavier"

    @model_validator(mode="after")
    def _blocks_suffice(self) -> Self:
        if self.down > len(self.widths):
            raise ValueError(f"down: {self.down} blocks shall halve the picture, and widths has {len(self.widths)}")
        return self

    def build(self, channels: int, size: int, classes: int = 0) -> Judge:
        if size % (1 << self.down):
            raise ConfigError(f"recipe.discriminator.down: {size} pixels a side cannot be halved {self.down} times")
        sides = [size >> min(level, self.down) for level in range(1, len(self.widths) + 1)]
        check_attention("discriminator", self.attention, sides)
        layers: list[nn.Module] = []
        for level, (before, width) in enumerate(pairwise((self.inputs(channels, classes), *self.widths))):
            layers.append(DiscriminatorBlock(before, width, first=level == 0, down=level < self.down))
            if sides[level] == self.attention and self.attention not in sides[:level]:
                layers.append(SelfAttention(width))
        trunk = nn.Sequential(*layers, nn.ReLU(), Pool(self.pooling))
        network = self.judge(trunk, self.widths[-1], 1, classes)
        _initialise(network, self.initialisation)
        return network


class DiscriminatorBlock(nn.Module):
    """[N, C, H, W] → [N, C', H/2, W/2], or [N, C', H, W] if not `down`; `first`: no activation before it."""

    def __init__(self, channels: int, out: int, first: bool, down: bool) -> None:
        super().__init__()
        inner = out if first else channels
        self.start = nn.Identity() if first else nn.ReLU()
        self.conv1, self.conv2 = Conv2d(channels, inner, 3, padding=1), Conv2d(inner, out, 3, padding=1)
        self.shortcut = Conv2d(channels, out, 1) if down or channels != out else nn.Identity()
        self.shrink = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.shrink(self.conv2(F.relu(self.conv1(self.start(x)))))
        out: Tensor = h + self.shortcut(self.shrink(x))  # as pooling last, at a quarter of the cost
        return out


class Pool(nn.Module):
    """Over all pixels, in float32: [N, C, H, W] → [N, C]."""

    def __init__(self, kind: Literal["sum", "mean"]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        return wide(x).sum((2, 3)) if self.kind == "sum" else wide(x).mean((2, 3))


def _initialise(network: nn.Module, kind: Initialisation) -> None:
    """Xavier as the code of SN-GAN, with gain √2 for the blocks' 3 x 3 convolutions; biases 0, conditional gains 1."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            (nn.init.orthogonal_ if kind == "orthogonal" else nn.init.xavier_uniform_)(layer.weight)
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for layer in network.modules():
        if isinstance(layer, GeneratorBlock | DiscriminatorBlock) and kind == "xavier":
            for convolution in (layer.conv1, layer.conv2):
                nn.init.xavier_uniform_(convolution.weight, math.sqrt(2))
        elif isinstance(layer, ConditionalBatchNorm) and isinstance(layer.gain, nn.Embedding):
            nn.init.zeros_(layer.gain.weight)
            nn.init.zeros_(layer.bias.weight)
