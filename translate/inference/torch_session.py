"""Runs checkpoints with PyTorch: no export needed, but torch takes seconds to import."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from translate.errors import ModelError, unknown
from translate.inference.networks import Deployed, Seeded, load_networks, settle
from translate.inference.session import Arithmetic, Inputs, Session, Statistics
from translate.inference.statistics import moments
from translate.nn.blocks import BatchNorm, Conv2d, ConvTranspose2d, InstanceNorm
from translate.nn.precision import fastest, set_precision


class TorchSession(Session):
    """On the GPU if there is one, else on the CPU.

    Each call runs a copy of the network that shares its weights, since seeds and hooks belong to a network.
    """

    backend = "torch"

    def __init__(self, path: Path, deployed: Deployed, precision: Arithmetic, threads: int) -> None:
        """Sets the number of threads of all of torch in this process."""
        super().__init__(path, deployed.card)
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = dtype = _dtype(precision, self._device)
        network = settle(deployed.network, noise=self.card.noise)
        set_precision(network, dtype)
        for layer in network.modules():
            if isinstance(layer, Conv2d | ConvTranspose2d):
                layer.to(dtype)  # once, and not at every call
        # bf16 convolutions are faster so (see translate.training.devices), float32 ones are not.
        self._layout = torch.contiguous_format if dtype is None else torch.channels_last
        network = network.to(self._device).to(memory_format=self._layout)
        self._network = Seeded(network) if self.card.noise else network
        self._idle: list[nn.Module] = []

    @classmethod
    def open(cls, path: Path, direction: str | None, precision: Arithmetic, threads: int) -> "TorchSession":
        networks = load_networks(path)
        if direction is None and len(networks) > 1:
            raise ModelError(f"{path}: has several networks: choose a direction of {', '.join(networks)}")
        name = direction or next(iter(networks))
        if name not in networks:
            raise ModelError(f"{path}: {unknown('direction', name, networks)}")
        return cls(path, networks[name], precision, threads)

    def _run(self, inputs: Inputs, statistics: Statistics) -> NDArray[np.float32]:
        given = iter(statistics)

        def normalised(layer: Any, arguments: tuple[Tensor], _: Tensor) -> Tensor:
            return _normalise(layer, arguments[0], next(given))

        with self._borrowed() as network:
            return self._forward(network, inputs, normalised if statistics else None)

    def _measure(self, inputs: Inputs) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        found: list[NDArray[np.float32]] = []

        def measured(_: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
            variance, mean = torch.var_mean(arguments[0].float(), (2, 3), correction=0)
            found.append(torch.stack([mean, variance + mean**2], 1).cpu().numpy())

        with self._borrowed() as network:
            return self._forward(network, inputs, measured), found

    @torch.inference_mode()
    def _forward(self, network: nn.Module, inputs: Inputs, hook: Any) -> NDArray[np.float32]:
        arguments = [torch.from_numpy(inputs[name]).to(self._device) for name in self.card.inputs]
        if arguments[0].ndim == 4:
            arguments[0] = arguments[0].contiguous(memory_format=self._layout)
        with ExitStack() as hooks, self._arithmetic():
            for layer in _per_picture(network.modules()) if hook else ():
                hooks.enter_context(layer.register_forward_hook(hook))
            output: Tensor = network(*arguments)
        result: NDArray[np.float32] = output.float().contiguous().cpu().numpy()
        return result

    def _arithmetic(self) -> AbstractContextManager[object]:
        """Float32 is not to be TF32, in which a GPU convolves by default."""
        exact = self._device.type == "cuda" and self._dtype is None
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if exact else nullcontext()

    @contextmanager
    def _borrowed(self) -> Iterator[nn.Module]:
        try:
            network = self._idle.pop()
        except IndexError:
            shared = {id(tensor): tensor for tensor in chain(self._network.parameters(), self._network.buffers())}
            network = copy.deepcopy(self._network, shared)
        yield network
        self._idle.append(network)


def _dtype(precision: Arithmetic, device: torch.device) -> torch.dtype | None:
    if precision == "fp16" and device.type == "cpu":
        raise ModelError("precision: torch has no fp16 on a CPU: take auto, bf16 or fp32, or export to fp16")
    if precision == "auto":
        return fastest(device)
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _per_picture(layers: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, InstanceNorm) or (isinstance(layer, BatchNorm) and layer.statistics == "image"):
            yield layer


def _normalise(layer: InstanceNorm | BatchNorm, x: Tensor, statistics: NDArray[np.float32]) -> Tensor:
    """What the layer gives where mean and variance of x are these: statistics [N, 2, C]."""
    mean, variance = (torch.from_numpy(value).to(x.device) for value in moments(statistics))
    out = (x.float() - mean) / (variance + layer.eps).sqrt()
    if isinstance(layer, BatchNorm):
        out = out * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1)
    return out.to(x.dtype)
