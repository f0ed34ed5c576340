"""Metrics of an image against the one true answer."""

import torch
from torch import Tensor

# name → whether more is better
PAIRED = {"l1": False, "psnr": True, "ssim": True}


def paired_metrics(output: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Images [N, C, H, W] in [−1, 1] → one value an image [N], all on images scaled to [0, 1].

    l1: mean |x − y|. psnr: 10 log₁₀(1 / mean (x − y)²) in dB, at most 100. ssim: Wang et al. 2004, Gaussian window
    of 11 pixels and σ = 1.5, mean over pixels and channels; NaN for images smaller than the window.
    """
    x, y = ((image.float() + 1) / 2 for image in (output.clamp(-1, 1), truth))
    mse = (x - y).square().mean((1, 2, 3))
    return {"l1": (x - y).abs().mean((1, 2, 3)), "psnr": -10 * mse.clamp_min(1e-10).log10(), "ssim": _ssim(x, y)}


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(x.shape[2:]) < 11:
        return torch.full((len(x),), torch.nan, device=x.device)
    value = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")
    assert isinstance(value, Tensor)
    return value.reshape(len(x))
