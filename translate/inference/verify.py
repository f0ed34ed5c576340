"""Whether an exported graph does what the PyTorch network does. Shapes: N pictures, C channels, H x W pixels."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from translate.errors import ModelError
from translate.inference.card import SEEDS, Card

Array = NDArray[np.float32]
Feed = dict[str, NDArray[Any]]  # input name → array, in the order of the signature
Compute = Callable[[Feed], Array]

TOLERANCE = 1e-4  # the largest difference of one value in float32
DECIBELS = {"fp16": 40.0, "int8": 35.0}  # the least PSNR of the others


def shapes(card: Card) -> list[tuple[int, int, int]]:
    """N, H and W to verify a graph at; it is traced at the first, of two multiples or more: 1 would be a constant.

    Some take the size of their training alone. Others not below 16 x 16: norms over a handful of pixels magnify
    rounding, and PyTorch itself would be 1e-4 from the truth.
    """
    if card.one_size and card.trained_size:
        return [(count, *card.trained_size) for count in (2, 1, 3)]
    small, large = (card.multiple * math.ceil(least / card.multiple) for least in (16, max(64, 2 * card.multiple)))
    return [(2, large, large), (1, small, small), (3, small, large)]


def example(card: Card, shape: tuple[int, int, int]) -> Feed:
    """Smooth random pictures in range, or latent numbers, with seeds and labels."""
    rng, count = np.random.default_rng(shape), shape[0]
    if card.source is None:
        return feed(card, rng.standard_normal((count, card.latent or 1), np.float32))
    low, high = card.source.range
    coarse = torch.from_numpy(rng.random((count, card.source.channels, 6, 6), np.float32))
    smooth = F.interpolate(coarse, shape[1:], mode="bicubic").clamp(0, 1)
    return feed(card, (low + (high - low) * smooth).numpy())


def feed(card: Card, first: Array) -> Feed:
    """Whatever a network takes besides its pictures or latent numbers, from a fixed generator."""
    rng, count = np.random.default_rng(0), len(first)
    labels, seeds = rng.integers(0, max(1, len(card.labels)), count), rng.integers(0, SEEDS, count)
    values: Feed = {"image": first, "latent": first, "label": labels, "seed": seeds}
    return {name: values[name] for name in card.inputs}


def verify(model: bytes, network: nn.Module, card: Card, pictures: Sequence[Array] = ()) -> dict[str, float]:
    """Runs a graph beside its settled network, on real `pictures` [C, H, W] too, and returns how far apart they are.

    Raises ModelError where they are too far apart, where a picture's result depends on its neighbours, or where noise
    does not follow from its seed.
    """
    onnx.checker.check_model(model, full_check=True)
    compute = _onnx(model)
    examples = [example(card, shape) for shape in shapes(card)]
    real = [feed(card, picture[None]) for picture in pictures]
    with torch.inference_mode():
        pairs = [(compute(inputs), _torch(network, inputs)) for inputs in (*examples, *real)]
    # Eight bits are fitted to real pictures, and stand for nothing else.
    parity = _apart(card, pairs[len(examples) :] if card.precision == "int8" else pairs)
    _demand(card, parity, "differs from PyTorch")
    crowd = examples[-1]
    together = compute(crowd)
    alone = [compute({name: array[i : i + 1] for name, array in crowd.items()}) for i in range(len(together))]
    _demand(card, _apart(card, [(together, np.concatenate(alone))]), "depends on the other pictures of a batch")
    if card.noise:
        _follows_seed(card, compute, crowd)
    return parity


def _onnx(model: bytes) -> Compute:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def compute(inputs: Feed) -> Array:
        output: Array = session.run(["output"], inputs)[0]
        return output

    return compute


def _torch(network: nn.Module, inputs: Feed) -> Array:
    output: Array = network(*map(torch.from_numpy, inputs.values())).numpy()
    return output


def _apart(card: Card, pairs: Sequence[tuple[Array, Array]]) -> dict[str, float]:
    """The largest difference; in a lower precision the PSNR over all values too, in dB, at most 200.

    Cells of a detector may be thousands: a difference is in units of the value or of 1 % of the largest, if above 1.
    """
    for got, wanted in pairs:
        if got.shape != wanted.shape:
            raise _refused(card, f"has the shape {list(got.shape)} where PyTorch has {list(wanted.shape)}")
    errors = np.concatenate([(got - wanted).ravel() for got, wanted in pairs])
    low, high = card.target.range
    psnr = 10 * math.log10((high - low) ** 2 / max(float(np.mean(errors**2)), 1e-20))
    units = [np.abs(wanted).clip(max(1, np.abs(wanted).max() / 100)).ravel() for _, wanted in pairs]
    largest = {"difference": float((np.abs(errors) / np.concatenate(units)).max())}
    return largest if card.precision == "fp32" else largest | {"psnr": min(psnr, 200.0)}


def _demand(card: Card, parity: dict[str, float], failure: str) -> None:
    if card.precision == "fp32":
        if not parity["difference"] <= TOLERANCE:
            raise _refused(card, f"{failure}: by {parity['difference']:.3g}, and {TOLERANCE:g} is allowed")
    elif not parity["psnr"] >= DECIBELS[card.precision]:
        raise _refused(
            card,
            f"{failure}: PSNR {parity['psnr']:.1f} dB, and {DECIBELS[card.precision]:g} dB are needed",
        )


def _follows_seed(card: Card, compute: Compute, inputs: Feed) -> None:
    others = compute(inputs | {"seed": (inputs["seed"] + 1) % SEEDS})
    first, again = compute(inputs), compute(inputs)
    if not np.array_equal(first, again):
        raise _refused(card, "gives different pictures for the same seed")
    if any(np.array_equal(one, other) for one, other in zip(first, others, strict=True)):
        raise _refused(card, "gives the same picture for different seeds: its noise is lost")


def _refused(card: Card, fault: str) -> ModelError:
    remedy = (
        f"report it, with the versions of torch ({torch.__version__}) and onnxruntime ({onnxruntime.__version__})"
        if card.precision == "fp32"
        else "export it in fp32" + (" or fp16" if card.precision == "int8" else "")
    )
    return ModelError(f"{card.name}, {card.network}: in {card.precision} the exported graph {fault}; {remedy}")
