"""The layers that every network here is made of.

Three things set them apart from `torch.nn`:

- *Precision.* A convolution computes in its `compute_dtype` (bf16, fp16, or `None`: that of its input) and casts its
  float32 weights itself. Activations stay in that type up to the last layer; there is no autocast, hence no stale cache
  of low-precision weights, and no list of operators that run in float32 all the same. See `translate.nn.precision`.
- *Norms* are right, and fast, in both memory layouts: `nn.InstanceNorm2d` on the CPU gives wrong gradients at batch 1
  when the incoming gradient is channels_last (torch 2.14.1), and `F.group_norm` with one channel a group is 12 times
  slower there than batch norm over each image, which is the same thing.
- *At test time* dropout can go on as pix2pix's noise, and batch norm can use each picture's own statistics.

Shapes: N images, C channels, H x W pixels.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormKind = Literal["instance", "batch", "group", "none"]
Upsampling = Literal["transposed", "resize"]
OutputKind = Literal["tanh", "linear", "relu"]


class Conv2d(nn.Conv2d):
    compute_dtype: torch.dtype | None = None

    def forward(self, x: Tensor) -> Tensor:
        dtype = self.compute_dtype or x.dtype
        x, weight = x.to(dtype), self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        height, width = (_strided(size, self) for size in x.shape[2:])
        if not _weights_dominate(self, weight, columns=x.shape[0] * height * width * weight[0].numel()):
            return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)
        kernel, stride, padding = self.kernel_size, self.stride, self.padding
        assert not isinstance(padding, str)
        columns = F.unfold(x, kernel, padding=padding, stride=stride)  # [N, C·k·k, L]
        columns = columns.unflatten(1, (x.shape[1], -1)).permute(2, 1, 0, 3).flatten(2).flatten(0, 1)  # [k·k·C, N·L]
        matrix = weight.permute(0, 2, 3, 1).flatten(1)  # [C_out, k·k·C], the order in which channels_last stores it
        out: Tensor = (matrix @ columns).view(-1, len(x), height, width).transpose(0, 1)
        out = out.contiguous(memory_format=torch.channels_last)
        return out if bias is None else out + bias.view(1, -1, 1, 1)


class ConvTranspose2d(nn.ConvTranspose2d):
    compute_dtype: torch.dtype | None = None

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None
        dtype = self.compute_dtype or x.dtype
        x, weight = x.to(dtype), self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        kernel, stride, extra = self.kernel_size, self.stride, self.output_padding
        padding = self.padding
        assert not isinstance(padding, str)
        n, _, h, w = x.shape
        if not _weights_dominate(self, weight, columns=n * h * w * weight[0].numel()):
            return F.conv_transpose2d(x, weight, bias, stride, padding, extra)
        matrix = weight.permute(0, 2, 3, 1).flatten(1)  # [C, k·k·C_out], the order in which channels_last stores it
        columns = matrix.t() @ x.transpose(0, 1).flatten(1)  # [k·k·C_out, N·L]
        columns = columns.view(-1, weight.shape[1], n, h * w).permute(2, 1, 0, 3).flatten(1, 2)  # [N, C_out·k·k, L]
        size = tuple((s - 1) * stride[i] - 2 * padding[i] + kernel[i] + extra[i] for i, s in enumerate((h, w)))
        out = F.fold(columns, size, kernel, padding=padding, stride=stride)
        out = out.contiguous(memory_format=torch.channels_last)
        return out if bias is None else out + bias.view(1, -1, 1, 1)


def _strided(size: int, layer: nn.Conv2d) -> int:
    assert not isinstance(layer.padding, str)
    return (size + 2 * layer.padding[0] - layer.kernel_size[0]) // layer.stride[0] + 1


def _weights_dominate(layer: Conv2d | ConvTranspose2d, weight: Tensor, columns: int) -> bool:
    """Whether a convolution is faster as one matrix product.

    Near the bottleneck of a U-Net millions of weights meet a few pixels, and on a CPU the time goes into rearranging
    the weights for oneDNN's blocked layout, several times a step. A product of the weights as they lie in memory with
    the unfolded pixels is the same sum, and forward and backward together take half the time (measured in bf16 from
    512 → 512 channels at 2 x 2 pixels to 1024 → 256 at 16 x 16; equal where columns are half as many as weights).
    """
    return (
        layer.compute_dtype is not None
        and weight.device.type == "cpu"
        and weight.is_contiguous(memory_format=torch.channels_last)
        and 4 * columns <= weight.numel()
        and layer.dilation == (1, 1)
        and layer.groups == 1
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
    if n == 1:  # nothing to rearrange; and the gradient of a `view` of one image is wrong if it comes channels_last
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    if x.is_contiguous():  # the channels of all images side by side: one call
        weight, bias = (None if p is None else p.repeat(n) for p in (weight, bias))
        flat = F.batch_norm(x.view(1, n * c, h, w), None, None, weight, bias, training=True, eps=eps)
        return flat.view(n, c, h, w)
    return torch.cat([F.batch_norm(i, None, None, weight, bias, training=True, eps=eps) for i in x.split(1)])


class GroupNorm(nn.GroupNorm):
    """Group norm with up to 32 groups: Wu & He 2018."""

    def __init__(self, channels: int) -> None:
        super().__init__(next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0), channels)


class Dropout(nn.Dropout):
    """Dropout that can stay on at test time, where it is pix2pix's only noise: Isola et al. 2017, sec. 2.1.

    Where `seed` is set, int64 [N] in [0, 2³¹), the mask is a function of it, of `layer` and of the position: the same
    in PyTorch and in an exported graph, and for each picture the same whatever its neighbours are.
    """

    at_test: bool = False
    layer: int = 0
    seed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.seed is None:
            return F.dropout(x, self.p, self.training or self.at_test)
        kept = _hash(self.seed, self.layer, x.shape) >= round(self.p * _PRIMES[1])
        return x * (kept.to(x.dtype) / (1 - self.p))


# Primes for which x → x³ permutes the residues: they are 2 modulo 3. Whatever is divided here is below 2²⁴, exact in
# float32, in which OpenVINO divides integers.
_PRIMES = (2039, 2027)

_State = tuple[Tensor | int, Tensor | int]


def _hash(seed: Tensor, layer: int, shape: torch.Size) -> Tensor:
    """[N, C, H, W] integers in [0, 2027), scrambled from seed [N], layer, channel, row and column, one by one."""
    seed = seed.view(-1, 1, 1, 1)
    low = seed & 2047
    rest = (seed - low) // 2048
    state: _State = (719, 1019)
    for key in (low, rest % 1024, rest // 1024, layer):
        state = _absorb(state, key)
    for axis in (1, 2, 3):
        place = torch.arange(shape[axis], device=seed.device) % 2048
        state = _absorb(state, place.view([-1 if i == axis else 1 for i in range(4)]))
    assert isinstance(state[1], Tensor)
    return state[1]


def _absorb(state: _State, key: Tensor | int) -> _State:
    """`key` < 2048. Two residues: with one of this size, many of the seeds would be alike."""
    first = _cube(state[0] + key, _PRIMES[0])
    return first, _cube(state[1] + first, _PRIMES[1])


def _cube(x: Tensor | int, prime: int) -> Tensor | int:
    return x * x % prime * x % prime


class Noise(Dropout):
    """`maps` maps of normal numbers as large as an image, [N, C, H, W] → [N, maps, H, W]: on, off and seeded as dropout
    is. Off, they are 0; seeded, they are of Box & Muller 1958."""

    at_test = True

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        shape = torch.Size([x.shape[0], self.maps, *x.shape[2:]])
        if self.seed is None:
            return (torch.randn if self.training or self.at_test else torch.zeros)(shape, device=x.device)
        hashed = _hash(self.seed, self.layer, torch.Size([shape[0], 2 * self.maps, *shape[2:]]))
        radius, turn = ((hashed.float() + 0.5) / _PRIMES[1]).chunk(2, 1)
        return (-2 * radius.log()).sqrt() * (2 * math.pi * turn).cos()


class Tanh(nn.Module):
    """To [−1, 1] in float32, whatever the precision before it: 8 bits of bf16 would be too coarse for a picture."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x.float())


class Unbounded(nn.Module):
    """Any number, or any but negative ones, in float32: for images that are not pictures."""

    def __init__(self, positive: bool) -> None:
        super().__init__()
        self.positive = positive

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.float()) if self.positive else x.float()


def output(kind: OutputKind) -> nn.Module:
    return Tanh() if kind == "tanh" else Unbounded(kind == "relu")


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
