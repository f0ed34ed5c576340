"""Which arithmetic the convolutions of a network use. Weights, gradients and optimiser states are always float32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from translate.nn.blocks import Conv2d, ConvTranspose2d


def set_precision(module: nn.Module, dtype: torch.dtype | None) -> None:
    """From now on the convolutions in `module` compute in `dtype`; None: in the type of their input."""
    for layer in module.modules():
        if isinstance(layer, Conv2d | ConvTranspose2d):
            layer.compute_dtype = dtype


def fastest(device: torch.device) -> torch.dtype | None:
    """The type in which this device convolves fastest; None: float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return None


@contextmanager
def full_precision(module: nn.Module) -> Iterator[None]:
    """Computes in float32 inside: gradient penalties are squares of small slopes, which bf16 would spoil."""
    layers = [layer for layer in module.modules() if isinstance(layer, Conv2d | ConvTranspose2d)]
    found = [layer.compute_dtype for layer in layers]
    set_precision(module, None)
    try:
        yield
    finally:
        for layer, dtype in zip(layers, found, strict=True):
            layer.compute_dtype = dtype
