"""Weights of the published PyTorch implementation of pix2pix and CycleGAN, made into models of this program.

Its generators have the keys that ours have, so what is left to do is to find out, from keys and shapes, which network
they belong to, and to put right what its earlier versions and other programs wrote differently.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from translate import __version__, checkpoints
from translate.config.spec import explain
from translate.errors import ConfigError, ModelError
from translate.inference.card import Card, Values
from translate.inference.networks import load_weights, norm_of, save_model
from translate.nn import ResNetConfig, UNetConfig
from translate.nn.blocks import Dropout, NormKind

Weights = dict[str, Tensor]

_UNET, _RESNET = "model.model.0.weight", "model.1.weight"  # their first convolutions
_NETWORKS = {"G_A": "a2b", "G_B": "b2a"}  # CycleGAN's files; pix2pix's ends in G


class _Found(NamedTuple):
    architecture: str  # as the published program calls it
    config: UNetConfig | ResNetConfig
    channels_in: int
    channels_out: int
    last: str  # the key of the last convolution, without .weight


def import_weights(
    weights: Path,
    output: Path,
    *,
    architecture: str | None = None,
    name: str | None = None,
    statistics: Literal["image", "running"] = "image",
    noise: bool = False,
    licence: str | None = None,
) -> Card:
    """Reads a published generator (`latest_net_G.pth`) and writes it as a model.pt or, verified, as ONNX.

    `architecture`: unet_256, resnet_9blocks, …; it is found in the keys, and must then be this one. `statistics`: of
    batch norm. Raises TranslateError where the file cannot be read safely, is no such generator, or does not fit.
    """
    if output.suffix not in (".pt", ".onnx"):
        raise ConfigError(f"-o {output}: ends neither in .pt (for PyTorch) nor in .onnx")
    if output.resolve() == weights.resolve():
        raise ConfigError(f"-o {output}: is the file that is read; choose another")
    state = _clean(_state_dict(weights))
    found = _recognise(state, weights)
    if architecture not in (None, found.architecture):
        raise ConfigError(f"--architecture: {architecture}, but {weights} holds the weights of {found.architecture}")
    config = found.config.model_copy(update={"batch_norm_at_test": statistics, "dropout_at_test": noise})
    with torch.device("meta"):
        network = config.build(found.channels_in, found.channels_out)
    load_weights(network, _completed(state, network, found), f"{weights} (as {found.architecture})")
    network.eval().requires_grad_(False)
    if noise and not any(isinstance(layer, Dropout) for layer in network.modules()):
        raise ModelError(f"{weights}: --noise: this {found.architecture} has no dropout that could be the noise")
    card = Card(
        name=name or (weights.absolute().parent.name if "_net_" in weights.stem else weights.stem),
        network=_NETWORKS.get(weights.stem[-3:], "translator"),
        recipe="imported",
        source=Values(channels=found.channels_in),
        target=Values(channels=found.channels_out),
        multiple=config.multiple,
        norm=norm_of(network),
        noise=noise,
        licence=licence,
        package=__version__,
    )
    if output.suffix == ".onnx":
        from translate.inference.export import export_network

        return export_network(network, card, output, noise=noise)
    save_model(output, network, config, card)
    return card


def _state_dict(path: Path) -> Weights:
    """The one dictionary of tensors in the file, be it the file itself or an entry of it."""
    content = checkpoints.read(path)
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not a state_dict")
    if content.get("format") == checkpoints.FORMAT:
        raise ModelError(f"{path}: is a file of this program already; use it, or export it, as it is")
    if _is_weights(content):
        return dict(content)
    inside = {str(key): value for key, value in content.items() if _is_weights(value)}
    if len(inside) != 1:
        what = f"{len(inside)} ({', '.join(inside)}): save one of them alone" if inside else "none"
        raise ModelError(f"{path}: needs one state_dict of a generator, has {what}")
    return dict(*inside.values())


def _is_weights(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and isinstance(entry, Tensor) for key, entry in value.items())
    )


def _clean(state: Weights) -> Weights:
    """Without the prefixes of DataParallel and torch.compile, and without the statistics that instance norm once kept:
    the published test script made no use of them. Unlike batch norm's they have no weight beside them.
    """
    state = {re.sub(r"^(module\.|_orig_mod\.)+", "", key): value for key, value in state.items()}
    statistics = re.compile(r"(.*)\.(running_mean|running_var|num_batches_tracked)")
    return {
        key: value
        for key, value in state.items()
        if not (found := statistics.fullmatch(key)) or f"{found[1]}.weight" in state
    }


def _recognise(state: Weights, path: Path) -> _Found:
    for key, value in state.items():
        if key.endswith(".filt"):
            raise ModelError(f"{path}: {key}: antialiased resampling, which the networks of this program do not have")
        if key in ("model.0.weight", "net.0.weight") and value.shape[2:] in ((4, 4), (1, 1)):
            raise ModelError(f"{path}: holds a discriminator; what translates is the generator, latest_net_G.pth")
    try:
        if _UNET in state:
            return _unet(state, path)
        if _RESNET in state and any(".conv_block." in key for key in state):
            return _resnet(state, path)
    except ValidationError as error:
        raise ModelError(f"{path}: {explain(error, BaseModel, {}, 'no network of this program')}") from None
    raise ModelError(
        f"{path}: not a published generator: it has neither {_UNET} (U-Net) nor {_RESNET} and conv_block (ResNet), but "
        f"{', '.join(list(state)[:3])} …"
    )


def _unet(state: Weights, path: Path) -> _Found:
    """Dropout leaves no trace in its keys: it is taken to be there, as the published pix2pix is trained."""
    inner = re.compile(r"model\.model\.1\.model(\.3\.model)*\.1\.weight")  # one a level below the outermost
    depth, last = 1 + sum(bool(inner.fullmatch(key)) for key in state), "model.model.3"
    width, channels_in = _shape(state, _UNET, path)[:2]
    config = UNetConfig(width=width, depth=depth, norm=_norm(state, last))
    return _Found(f"unet_{1 << depth}", config, channels_in, _shape(state, f"{last}.weight", path)[1], last)


def _resnet(state: Weights, path: Path) -> _Found:
    """Dropout inside a block moves what follows it by one: its second convolution is then the sixth layer."""
    blocks = len({key.partition(".conv_block.")[0] for key in state if ".conv_block." in key})
    dropout = any(key.endswith(".conv_block.6.weight") and value.ndim == 4 for key, value in state.items())
    width, channels_in = _shape(state, _RESNET, path)[:2]
    last = f"model.{17 + blocks}"
    config = ResNetConfig(width=width, blocks=blocks, norm=_norm(state, last), dropout=0.5 if dropout else 0.0)
    return _Found(f"resnet_{blocks}blocks", config, channels_in, _shape(state, f"{last}.weight", path)[0], last)


def _shape(state: Weights, key: str, path: Path) -> tuple[int, ...]:
    if key not in state or state[key].ndim != 4:
        raise ModelError(f"{path}: {key} is missing, or no convolution's: not a published generator, or a part of one")
    return tuple(state[key].shape)


def _norm(state: Weights, last: str) -> NormKind:
    """Only batch norm has weights; convolutions have biases before instance norm, and none where there is no norm."""
    if any(value.ndim == 1 and key.endswith(".weight") for key, value in state.items()):
        return "batch"
    return "instance" if any(key.endswith(".bias") and key != f"{last}.bias" for key in state) else "none"


def _completed(state: Weights, network: nn.Module, found: _Found) -> Weights:
    """With zeros for what changes nothing: PyTorch's counter of batches before 0.4.1, and the biases that convolutions
    without norm have here and not there.
    """
    ends = ("num_batches_tracked", *([".bias"] if found.config.norm == "none" else []))
    return state | {
        key: torch.zeros(value.shape, dtype=value.dtype)
        for key, value in network.state_dict().items()
        if key not in state and key.endswith(ends) and key != f"{found.last}.bias"
    }
