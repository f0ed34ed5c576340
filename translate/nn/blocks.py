"""The layers that every network here is made of.

Three things set them apart from `torch.nn`:

- *Precision.* A convolution computes in its `compute_dtype` (bf16, fp16, or `None`: that of its input) and casts its
  float32 weights itself. Activations stay in that type up to the last layer; there is no autocast, hence no stale cache
  of low-precision weights and no list of operators that autocast would run in float32. `translate.nn.precision` sets it.
- *Norms* are right, and fast, in both memory layouts: `nn.InstanceNorm2d` on the CPU gives wrong gradients at batch 1
  when the incoming gradient is channels_last (torch 2.14.1), and `F.group_norm` with one channel a group is 12 times
  slower there than batch norm over each image, which is the same thing.
- *At test time* dropout can go on as pix2pix's noise, and batch norm can use each picture's own statistics.

Shapes: N images, C channels, H x W pixels.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["instance", "batch", "group", "none"]
Upsampling = Literal["transposed", "resize"]


class Conv2d(nn.Conv2d):
    compute_dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.compute_dtype or x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return self._conv_forward(x.to(dtype), self.weight.to(dtype), bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    compute_dtype: torch.dtype | None = None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None
        dtype = self.compute_dtype or x.dtype
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.conv_transpose2d(
            x.to(dtype), self.weight.to(dtype), bias, self.stride, self.padding, self.output_padding
        )


class InstanceNorm(nn.Module):
    """(x − mean) / √(var + ε) over each image's own pixels, a channel at a time: Ulyanov et al. 2016, eq. 4.

    No weights and no running statistics, like the published CycleGAN.
    """

    eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        return _by_image(x, None, None, self.eps)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that in eval mode uses its running statistics or each picture's own.

    `statistics = "image"` is what the published pix2pix does when it translates one picture at a time in training mode,
    but never lets a picture's result depend on its neighbours in the batch.
    """

    statistics: Literal["running", "image"] = "running"

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.statistics == "running":
            return super().forward(x)
        return _by_image(x, self.weight, self.bias, self.eps)


def _by_image(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    n, c, h, w = x.shape
    if x.is_contiguous():  # the channels of all images side by side: one call
        flat = x.view(1, n * c, h, w)
        repeated = [None if p is None else p.repeat(n) for p in (weight, bias)]
        return F.batch_norm(flat, None, None, *repeated, training=True, eps=eps).view(n, c, h, w)
    images = [F.batch_norm(image, None, None, weight, bias, training=True, eps=eps) for image in x.split(1)]
    return images[0] if n == 1 else torch.cat(images)


class GroupNorm(nn.GroupNorm):
    """Group norm with up to 32 groups: Wu & He 2018."""

    def __init__(self, channels: int) -> None:
        super().__init__(next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0), channels)


class Dropout(nn.Dropout):
    """Dropout that can stay on at test time, where it is pix2pix's only noise: Isola et al. 2017, sec. 2.1."""

    at_test: bool = False

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training or self.at_test)


class Tanh(nn.Module):
    """To [−1, 1] in float32, whatever the precision before it: 8 bits of bf16 would be too coarse for a picture."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.float())


def norm(kind: NormKind, channels: int) -> nn.Module:
    match kind:
        case "instance":
            return InstanceNorm()
        case "batch":
            return BatchNorm(channels)
        case "group":
            return GroupNorm(channels)
        case "none":
            return nn.Identity()


def needs_bias(kind: NormKind) -> bool:
    """Whether a convolution before this norm has a bias: as in the published networks, only if no weights follow."""
    return kind in ("instance", "none")


def upsample(kind: Upsampling, channels: int, out: int, kernel: int, bias: bool) -> nn.Module:
    """Twice the height and width, by a transposed convolution or by resizing and convolving.

    The second has no checkerboard pattern: Odena et al. 2016, https://distill.pub/2016/deconv-checkerboard.
    """
    if kind == "transposed":
        return ConvTranspose2d(channels, out, kernel, stride=2, padding=1, output_padding=4 - kernel, bias=bias)
    return nn.Sequential(
        nn.UpsamplingNearest2d(scale_factor=2), nn.ReflectionPad2d(1), Conv2d(channels, out, 3, bias=bias)
    )


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Weights N(0, std), norm weights N(1, std), biases 0: as DCGAN and the published pix2pix and CycleGAN."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(layer.weight, 1.0, std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
