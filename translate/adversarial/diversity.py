"""Terms of the generator against mode collapse: they compare the samples of a batch with each other."""

import torch.nn.functional as F
from torch import Tensor

from translate.adversarial.objectives import wide


def pulling_away(features: Tensor) -> Tensor:
    """Zhao et al. 2017, eq. 4: the mean squared cosine between the features [N, D] of different samples; N > 1."""
    directions = F.normalize(wide(features).flatten(1))
    cosines = directions @ directions.t()
    n = len(features)
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / (n * (n - 1))


def mode_seeking(first: Tensor, second: Tensor, z_first: Tensor, z_second: Tensor, eps: float = 1e-5) -> Tensor:
    """Mao et al. 2019, eq. 3, as its published code minimises it: 1 / (ratio + eps), where ratio is the mean distance
    of two batches of images over that of their latents; small where different latents give different images."""
    ratio = (wide(first) - wide(second)).abs().mean() / (z_first - z_second).abs().mean()
    return 1 / (ratio + eps)
