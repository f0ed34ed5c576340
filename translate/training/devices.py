"""Where training computes, in which arithmetic and memory layout, and in how many processes."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from translate.config.run import Run
from translate.errors import ConfigError
from translate.nn.precision import fastest, set_precision

M = TypeVar("M", bound=nn.Module)


class Placement(NamedTuple):
    device: torch.device
    dtype: torch.dtype | None  # what convolutions compute in; None: float32
    layout: torch.memory_format
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def place(self, module: M) -> M:
        set_precision(module, self.dtype)
        return module.to(self.device).to(memory_format=self.layout)

    def move(self, batch: Any) -> Any:
        """A batch (a NamedTuple of images [N, C, H, W] and labels [N]) on the device, images in the layout."""
        return type(batch)(*(self.move_tensor(tensor) for tensor in batch))

    def move_tensor(self, tensor: Tensor) -> Tensor:
        layout = self.layout if tensor.dim() == 4 else torch.contiguous_format
        return tensor.to(self.device, non_blocking=True).contiguous(memory_format=layout)

    def agree(self, flag: bool) -> bool:
        """Whether any process says so; to be called by all of them at the same point."""
        if self.world == 1:
            return flag
        vote = torch.tensor(float(flag))
        dist.all_reduce(vote)
        return bool(vote.item())

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextmanager
def placement(run: Run) -> Iterator[Placement]:
    """Chooses device, arithmetic and layout; joins the other processes if `torchrun` started this one."""
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(run, int(os.environ.get("LOCAL_RANK", "0")))
    dtype = _dtype(run, device)
    # Measured on a CPU with AMX: bf16 convolutions run 1.2-2.9 times faster in channels_last, fp32 ones hardly.
    last = dtype is not None if run.channels_last == "auto" else run.channels_last
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = run.precision != "fp32"
    if world > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Placement(device, dtype, torch.channels_last if last else torch.contiguous_format, rank, world)
    finally:
        if world > 1:
            dist.destroy_process_group()


def _device(run: Run, local_rank: int) -> torch.device:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    kind = run.device if run.device != "auto" else next(kind for kind, there in available.items() if there)
    if not available[kind]:
        raise ConfigError(f"device: {kind} is not available on this machine; set device: auto")
    if kind == "cuda" and local_rank >= (count := torch.cuda.device_count()):
        raise ConfigError(
            f"device: {local_rank + 1} processes need as many GPUs, there are {count} here: start fewer, or set "
            "device: cpu"
        )
    return torch.device("cuda", local_rank) if kind == "cuda" else torch.device(kind)


def _dtype(run: Run, device: torch.device) -> torch.dtype | None:
    if run.precision != "auto":
        if run.precision == "fp16" and device.type == "cpu":
            raise ConfigError("precision: fp16 is not for a CPU: set precision: bf16, fp32 or auto")
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[run.precision]
    return fastest(device)


def average(tensors: Sequence[Tensor], world: int) -> None:
    """Replaces each tensor by its mean over the processes, in one exchange (as stylegan2-ada does)."""
    if world == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))
