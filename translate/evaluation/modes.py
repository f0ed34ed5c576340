"""How many modes of a known mixture the samples cover: Srivastava et al. 2017 (VEEGAN), synthetic data."""

from typing import NamedTuple

import torch
from torch import Tensor


class ModeCount(NamedTuple):
    covered: int  # modes with at least one sample of high quality
    high_quality: float  # share of the samples in [0, 1]


def count_modes(samples: Tensor, centres: Tensor, sigma: float, within: float = 3.0) -> ModeCount:
    """Samples [N, D] or [N, D, 1, 1] of a mixture of Gaussians with `centres` [K, D] and `sigma` a coordinate.

    Of high quality is a sample within `within` σ of the nearest centre; the paper draws 2,500 samples. Samples of the
    mixture itself reach 1 − exp(−within²/2) in two dimensions: 0.989. What is not finite is of low quality.
    """
    distances = torch.cdist(samples.flatten(1).double(), centres.to(samples.device, torch.float64))  # [N, K]
    nearest, mode = distances.min(1)
    good = nearest <= within * sigma
    return ModeCount(mode[good].unique().numel(), good.double().mean().item())
