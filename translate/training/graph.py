"""A step of the game as one CUDA graph: recorded once, replayed from then on.

The networks here are small for a GPU: most of a step's time went into Python launching kernels one by one, thousands of
them, while the device waited. A replay launches them all at once (https://pytorch.org/docs/stable/notes/cuda.html).

What the host decides has to reach the device some other way, as numbers in place of constants: batches and learning
rates, ramps of strengths, and what image pools give back. A step that depends on more, as one of a network that grows,
cannot be recorded, and goes on as before.
"""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from translate.adversarial import Adversary, ImagePool
from translate.config.clock import Clock, Ramp
from translate.recipes import Recipe
from translate.training.devices import Placement
from translate.training.update import Update

ROOM = 1024  # numbers that the host may tell a step
WARM_UP = 3  # steps before recording: cuDNN chooses its kernels, optimisers make their states

T = TypeVar("T")
Values = tuple[Sequence[str], Tensor]  # losses and signals of a step: `player/name`, [len(names)]
Play = Callable[[Callable[[], Any], Clock], Values]


class HostDecides(Exception):
    """What a step depends on that a graph cannot follow."""


class Told(Generic[T]):
    """What the host tells before each replay, in the order in which the step asked for it.

    Its memory is not the graph's own, in which a kernel may write before another reads.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.numbers, self.used = torch.zeros(ROOM, dtype=dtype, device=device), 0
        self.asked: list[tuple[T, int]] = []  # by whom, and how many

    def place(self, who: T, count: int) -> Tensor:
        self.asked.append((who, count))
        self.used += count
        if self.used > ROOM:
            raise HostDecides(f"it needs more than {ROOM} numbers of the host")
        return self.numbers[self.used - count : self.used]

    def tell(self, answer: Callable[[T, int], Sequence[float]]) -> None:
        told = [number for who, count in self.asked for number in answer(who, count)]
        if told:
            numbers = torch.tensor(told, dtype=self.numbers.dtype, pin_memory=self.numbers.is_cuda)
            self.numbers[: self.used].copy_(numbers, non_blocking=True)


class RecordingClock:
    """A clock that gives ramps as tensors, and nothing else away."""

    first = False

    def __init__(self, ramps: Told[Ramp]) -> None:
        self._ramps = ramps

    def at(self, ramp: Ramp) -> Tensor:
        return self._ramps.place(ramp, 1)[0]

    def off(self, ramp: Ramp) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise HostDecides(f"it depends on the {name} of training")


class _Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    batches: list[Any]  # read by the graph
    ramps: Told[Ramp]
    choices: Told[ImagePool]
    values: Values
    kept: Mapping[str, dict[str, Tensor]]  # of the adversaries
    gradients: list[tuple[nn.Parameter, Tensor]]


class StepGraph:
    """Plays steps, from the fourth on, or when all image pools are full, by replaying the recorded one.

    `play` takes one step and updates all networks. `note` is told which step was recorded, or why none is.
    """

    def __init__(
        self,
        play: Play,
        recipe: Recipe,
        updates: Mapping[str, Update],
        placement: Placement,
        note: Callable[[str], None] = print,
    ) -> None:
        self.play, self.updates, self.placement, self.note = play, updates, placement, note
        self.adversaries = {name: module for name, module in recipe.named_modules() if isinstance(module, Adversary)}
        self.pools = [module for module in recipe.modules() if isinstance(module, ImagePool) and module.size]
        self.recorded: _Recorded | None = None
        self.warm, self.failed = 0, False
        self._shapes: list[Any] = []

    def __call__(self, draw: Callable[[], Any], clock: Clock) -> Values:
        if self.failed:
            return self.play(draw, clock)
        if self.recorded is not None:
            batches = [draw() for _ in self.recorded.batches]
            if [_shapes(batch) for batch in batches] == self._shapes:
                return self._replay(self.recorded, batches, clock)
            self._give_up("images change their size")
            return self.play(_then(batches, draw), clock)
        if self.warm < WARM_UP or not all(pool.full for pool in self.pools):
            shapes: list[Any] = []

            def noted() -> Any:
                batch = draw()
                shapes.append(_shapes(batch))
                return batch

            values = self.play(noted, clock)
            self.warm = self.warm + 1 if shapes == self._shapes else 0
            self._shapes = shapes
            return values
        batches = [draw() for _ in self._shapes]
        if [_shapes(batch) for batch in batches] != self._shapes:
            self.warm = 0
            return self.play(_then(batches, draw), clock)
        try:
            self.recorded = self._record(batches)
        except (HostDecides, RuntimeError) as error:
            self._give_up(str(error).splitlines()[0])
            return self.play(_then(batches, draw), clock)
        self.note(f"step {clock.step + 1}: recorded as a CUDA graph, which is replayed from here on")
        return self._replay(self.recorded, batches, clock)

    def _give_up(self, reason: str) -> None:
        self.failed, self.recorded = True, None
        for pool in self.pools:
            pool.unbind()
        self.note(f"a step cannot be one CUDA graph: {reason} (cuda_graph: false does not try)")

    def _record(self, batches: list[Any]) -> _Recorded:
        """Nothing is computed: a graph that cannot be made has changed nothing."""
        graph, device = torch.cuda.CUDAGraph(), self.placement.device
        ramps, choices = Told[Ramp](torch.float32, device), Told[ImagePool](torch.long, device)
        batches = [type(batch)(*(tensor.clone() for tensor in batch)) for batch in batches]
        for pool in self.pools:
            pool.bind(partial(choices.place, pool))
        watched = [adversary.watched for adversary in self.adversaries.values()]
        for adversary in self.adversaries.values():
            adversary.watched = True
        chance = _chance()
        try:
            # Other threads pin memory meanwhile, which may not stop the recording. If it fails, torch remarks on that.
            with warnings.catch_warnings(action="ignore"), torch.cuda.graph(graph, capture_error_mode="thread_local"):
                values = self.play(_then(batches, _no_more), cast("Clock", RecordingClock(ramps)))
        finally:
            kept = {name: dict(adversary.kept) for name, adversary in self.adversaries.items()}
            for adversary, flag in zip(self.adversaries.values(), watched, strict=True):
                adversary.watched = flag
                adversary.kept.clear()
        if _chance() != chance:
            raise HostDecides("it draws random numbers on the host")
        parameters = [parameter for update in self.updates.values() for parameter in update.parameters]
        gradients = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
        return _Recorded(graph, batches, ramps, choices, values, kept, gradients)

    def _replay(self, recorded: _Recorded, batches: list[Any], clock: Clock) -> Values:
        for static, batch in zip(recorded.batches, batches, strict=True):
            for target, tensor in zip(static, batch, strict=True):
                target.copy_(tensor)
        recorded.ramps.tell(lambda ramp, _: [clock.at(ramp)])
        recorded.choices.tell(lambda pool, count: pool.choose(count))
        recorded.graph.replay()
        for parameter, gradient in recorded.gradients:
            parameter.grad = gradient
        for name, adversary in self.adversaries.items():
            if adversary.watched:
                adversary.kept |= recorded.kept[name]
        return recorded.values


def possible(updates: Mapping[str, Update], placement: Placement) -> bool:
    """Whether anything is worth recording: on a GPU, in one process, where no update waits for a loss."""
    return (
        placement.device.type == "cuda"
        and placement.world == 1
        and not any(update.scaler.is_enabled() or update.waits for update in updates.values())
    )


def _then(batches: Sequence[Any], draw: Callable[[], Any]) -> Callable[[], Any]:
    """Gives the batches that were drawn already, then others."""
    return chain(batches, iter(draw, None)).__next__


def _no_more() -> Any:
    raise HostDecides("it does not always draw as many batches")


def _shapes(batch: Any) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in batch]


def _chance() -> tuple[Any, ...]:
    """What random numbers come next on the host."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), str(np.random.get_state(legacy=False))  # noqa: NPY002
