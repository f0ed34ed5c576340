"""Metrics of an image against the one true answer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from translate.errors import EvaluationError

if TYPE_CHECKING:
    from torch import Tensor

# name → whether more is better
PAIRED = {"l1": False, "psnr": True, "ssim": True}


def paired_metrics(output: "Tensor", truth: "Tensor") -> "dict[str, Tensor]":
    """Images [N, C, H, W] in [−1, 1] → one value an image [N], all on images scaled to [0, 1].

    l1: mean |x − y|. psnr: 10 log₁₀(1 / mean (x − y)²) in dB, at most 100. ssim: Wang et al. 2004, Gaussian window
    of 11 pixels and σ = 1.5, mean over pixels and channels; NaN for images smaller than the window.
    """
    x, y = ((image.float() + 1) / 2 for image in (output.clamp(-1, 1), truth))
    mse = (x - y).square().mean((1, 2, 3))
    return {"l1": (x - y).abs().mean((1, 2, 3)), "psnr": -10 * mse.clamp_min(1e-10).log10(), "ssim": _ssim(x, y)}


def _ssim(x: "Tensor", y: "Tensor") -> "Tensor":
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(x.shape[2:]) < 11:
        return x.new_full((len(x),), float("nan"))
    value: Tensor = structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")  # type: ignore[assignment]
    return value.reshape(len(x))


def ms_ssim(output: "Tensor", truth: "Tensor") -> "Tensor":
    """Images [N, C, H, W] in [−1, 1] → [N] in [0, 1]: Wang et al. 2003, five scales; 1 for equal images.

    NaN for images of 160 pixels or less, where the window does not fit the coarsest scale.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    x, y = ((image.clamp(-1, 1).float() + 1) / 2 for image in (output, truth))
    if min(x.shape[2:]) <= 160:
        return x.new_full((len(x),), float("nan"))
    return multiscale_structural_similarity_index_measure(x, y, data_range=1.0, reduction="none").reshape(len(x))


def lpips(net: Literal["alex", "vgg"] = "alex", weights: Path | None = None) -> "Callable[[Tensor, Tensor], Tensor]":
    """The LPIPS distance: Zhang et al. 2018, v0.1. Images [N, 1 or 3, H, W] in [−1, 1] → [N] ≥ 0; 0 for equal ones.

    `weights`: a file of torchvision's state dict of the backbone; else fetched, or found in torch's cache.
    Raises EvaluationError where it cannot be had: nothing takes its place.
    """
    from pickle import UnpicklingError

    import torch
    import torchvision.models
    from torchmetrics.functional.image.lpips import _LPIPS

    from translate.evaluation.spaces import float32

    names = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}
    network = _LPIPS(net=net, pnet_rand=True)
    slices = {key.split(".", 1)[1]: key for key in network.net.state_dict()}  # "0.weight" → "slice1.0.weight"
    try:
        if weights is None:
            state = getattr(torchvision.models, names[net]).DEFAULT.get_state_dict(progress=False, check_hash=True)
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        network.net.load_state_dict({key: state[f"features.{name}"] for name, key in slices.items()})
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, UnpicklingError) as error:
        raise EvaluationError(
            f"LPIPS: no weights of {net} from {weights or 'torchvision'} ({' '.join(str(error).split())}); "
            f"give a file of torchvision's {names[net]}, or leave the metric out"
        ) from error
    network.eval()

    @torch.inference_mode()
    def distance(output: "Tensor", truth: "Tensor") -> "Tensor":
        x, y = (image.float().clamp(-1, 1).expand(-1, 3, -1, -1) for image in (output, truth))
        with float32():
            result: Tensor = network.to(x.device)(x, y).flatten()
        return result

    return distance


class LabelScores(NamedTuple):
    pixel_accuracy: float
    class_accuracy: float  # mean over the classes that the truth has
    class_iou: float  # mean over the classes that either has: intersection over union
    accuracies: list[float]  # [K]; NaN for classes that are not there
    ious: list[float]  # [K]


def label_scores(
    output: "Tensor", truth: "Tensor", palette: Sequence[Sequence[int]], *, void: int | None = None
) -> LabelScores:
    """Label maps [N, 3, H, W] in [−1, 1], every pixel the class of the nearest colour: Zhu et al. 2017, sec. 5.1.1.

    `palette`: K colours of 3 bytes. Pixels whose truth is the class `void` do not count. All pixels of all images
    together, as Long et al. 2015; a class that is in no image has no say, where pix2pix' script counts it as 0.
    """
    return scores(confusion(output, truth, palette).sum(0), void=void)


def confusion(output: "Tensor", truth: "Tensor", palette: Sequence[Sequence[int]]) -> "Tensor":
    """[N, K, K] numbers of pixels a true and an output class: their sum over images is what `scores` takes."""
    import torch

    colours = torch.tensor(palette, dtype=torch.float32, device=truth.device) / 127.5 - 1  # [K, 3]

    def classes(images: torch.Tensor) -> torch.Tensor:  # [N, H·W]
        pixels = images.float().flatten(2).transpose(1, 2)
        return torch.stack([torch.cdist(image, colours).argmin(1) for image in pixels])

    count = len(colours)
    pairs = classes(truth) * count + classes(output)
    return torch.stack([row.bincount(minlength=count**2) for row in pairs]).reshape(-1, count, count)


def scores(confusion: "Tensor", *, void: int | None = None) -> LabelScores:
    """Of a matrix [K, K], rows the truth: Long et al. 2015, sec. 5."""
    matrix = confusion.double()
    if void is not None:
        matrix[void] = 0
    right, true = matrix.diagonal(), matrix.sum(1)
    accuracies, ious = right / true, right / (true + matrix.sum(0) - right)
    if void is not None:
        ious[void] = float("nan")
    return LabelScores(
        (right.sum() / matrix.sum()).item(),
        accuracies.nanmean().item(),
        ious.nanmean().item(),
        accuracies.tolist(),
        ious.tolist(),
    )
