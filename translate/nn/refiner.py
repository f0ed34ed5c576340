"""The refiner, which changes a simulated image a little and never its size: Shrivastava et al. 2017, sec. 2 and 3.

Shapes: N images, C channels (layers of a detector), H x W pixels.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from translate.config.spec import Spec
from translate.errors import ConfigError
from translate.nn.blocks import Conv2d, Noise


class RefinerConfig(Spec):
    """R(x) = ReLU(x + g(x)), g residual blocks of full size; with `mix` of a linear map of x in place of x.

    `compress: t` takes the sum, and g its input, in y = ±log(1 + |x|/t), so that cells of all magnitudes are changed by
    the same share; x itself stays in the units of the data. `noise` gives g maps of random numbers, without which it
    cannot make an image noisier.
    """

    kind: Literal["refiner"] = "refiner"
    width: int = Field(default=64, ge=1)
    blocks: int = Field(default=4, ge=0)
    kernel: Literal[1, 3, 5, 7] = 3
    dilate: bool = False  # block i leaves out 2^i − 1 cells between those that it sees: a wide view at no cost
    positive: bool = True  # no output below 0; false for signed data, which then have no ReLU
    compress: float | None = Field(default=None, gt=0)
    noise: int = Field(default=0, ge=0)
    mix: Literal[0, 1, 3, 5] = 0  # cells that the map spans, in all layers: gain, cross-talk, response of wires
    each_cell: bool = False  # g ends in weights of each cell, too, for what is at a place: dead, hot, miscalibrated
    suppress: float = Field(default=0.0, ge=0)  # |output| below this is 0: the zero suppression of the data, if known
    saturate: float | None = Field(default=None, gt=0)  # and |output| never above this: the range of their electronics
    readout_noise: float = Field(default=0.0, ge=0)  # and σ of the normal noise after that, as in events without beam

    @property
    def multiple(self) -> int:
        return 1

    @property
    def limited(self) -> bool:
        """Whether the electronics do more than zero suppression: energy is lost in them, or added."""
        return self.saturate is not None or self.readout_noise > 0

    def build(
        self, channels_in: int, channels_out: int, size: tuple[int, int] | None = None, calibrated: bool = False
    ) -> "Refiner":
        """`size`, height and width, is needed for `each_cell`: the refiner then takes no other. A `calibrated` one has
        a gain of each layer, 1 until it is set."""
        if self.each_cell and size is None:
            raise ConfigError(
                "recipe.generator.each_cell: is for recipe.kind refiner and images of one size: set data.crop to that "
                "of the files"
            )
        if channels_in != channels_out:
            raise ConfigError(
                f"recipe.generator: a refiner changes an image of {channels_in} channels into one of as many, not of "
                f"{channels_out}: choose resnet or unet"
            )
        return Refiner(self, channels_in, size if self.each_cell else None, calibrated)


class Refiner(nn.Module):
    """[N, C, H, W] → the same shape and units, float32; nearly the identity when it is new."""

    def __init__(
        self, config: RefinerConfig, channels: int, size: tuple[int, int] | None = None, calibrated: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.gain: Tensor | None  # [C, 1, 1], of the layers; no optimiser moves it
        self.register_buffer("gain", torch.ones(channels, 1, 1) if calibrated else None)
        w, padding = config.width, config.kernel // 2
        self.mix = Mix(channels, config.mix) if config.mix else None
        self.noise = Noise(config.noise) if config.noise else None
        self.first = nn.Sequential(
            Conv2d(channels + config.noise, w, config.kernel, padding=padding), nn.LeakyReLU(0.2)
        )
        dilations = (1 << level if config.dilate else 1 for level in range(config.blocks))
        self.blocks = nn.Sequential(*(RefinerBlock(w, config.kernel, dilation) for dilation in dilations))
        self.last = Conv2d(w, channels, 1)
        nn.init.normal_(self.last.weight, 0.0, 1e-3)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)
        self.cells = EachCell(w + channels + config.noise, channels, size) if size else None
        self.readout = Noise(channels) if config.readout_noise else None

    def forward(self, x: Tensor, read_out: bool = True) -> Tensor:
        """Without `read_out` as the detector had it before gains, `saturate`, `readout_noise` and `suppress`."""
        y = compressed(x if self.mix is None else self.mix(x), self.config.compress)
        seen = y if self.noise is None else torch.cat([y, self.noise(y)], 1)
        features = self.blocks(self.first(seen))
        y = y + self.last(features).float()
        if self.cells is not None:
            y = y + self.cells(torch.cat([features, seen], 1))
        y = rectified(y) if self.config.positive else y
        y = expanded(y, self.config.compress)
        return self.read_out(y) if read_out else y

    def read_out(self, x: Tensor) -> Tensor:
        """What the electronics make of it: their gains, range, noise and zero suppression, in this order."""
        config = self.config
        if self.gain is not None:
            x = x * self.gain
        if config.saturate is not None:
            x = x.clamp(-config.saturate, config.saturate)
        if self.readout is not None:
            x = x + config.readout_noise * self.readout(x)
            x = rectified(x) if config.positive else x
        return suppressed(x, config.suppress) if config.suppress else x


class Mix(nn.Module):
    """A convolution without bias, the identity when it is new; [N, C, H, W] → the same, float32."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, kernel, kernel))
        nn.init.dirac_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x.float(), self.weight, padding="same")


class EachCell(nn.Module):
    """A linear map of the channels of each cell, with weights of its own; 0 when it is new. Float32.

    [N, C, H, W] → [N, C', H, W]. Locally connected layers: de Oliveira et al. 2017 (arXiv 1701.05927), sec. 4.
    """

    def __init__(self, channels_in: int, channels_out: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*size, channels_out, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels_out, *size))

    def forward(self, x: Tensor) -> Tensor:
        out = self.weight @ x.float().permute(2, 3, 1, 0)  # [H, W, C', N]
        return out.permute(3, 2, 0, 1) + self.bias


class RefinerBlock(nn.Module):
    """x + F(x), [N, C, H, W] → the same."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv1, self.conv2 = (
            Conv2d(channels, channels, kernel, padding=padding, dilation=dilation) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        return out


def rectified(y: Tensor) -> Tensor:
    """ReLU, but where it is 0 a tenth of the gradient passes: else a cell that is 0 would stay so for ever."""
    leaky = F.leaky_relu(y, 0.1)
    return leaky + (F.relu(y) - leaky).detach()


def suppressed(x: Tensor, least: float) -> Tensor:
    """0 where |x| < least, and the gradient of x everywhere."""
    return x + (x * (x.abs() >= least) - x).detach()


def compressed(x: Tensor, threshold: float | None) -> Tensor:
    """±log(1 + |x|/threshold), in float32; x itself without a threshold."""
    return x.float() if threshold is None else x.sign() * (x.float().abs() / threshold).log1p()


def expanded(y: Tensor, threshold: float | None) -> Tensor:
    """Undoes `compressed`."""
    return y if threshold is None else y.sign() * threshold * y.abs().expm1()
