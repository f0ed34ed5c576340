"""One training step against the plain one (fp32, NCHW, Adam that is not fused, eager) of the same networks.

    python benchmarks/training_step.py [--repeats 3] [--method cyclegan] [--method pix2pix] [--method dcgan] ... [--compile]

Plain and fast steps (and with --compile fast ones as `compile: true` makes them) take turns in one process, so what else
the machine does hits all. Prints, for each method, the ratio of the fastest steps and of the medians, the peak memory of
each (measured in a process of its own; on a GPU, that of its allocator), and the share of the device's matrix peak (a
4096² product, 8192² on a GPU, in the same arithmetic) that the fast step reaches. For generators from
noise (as their config for Fashion-MNIST says; progressive growing at its last stage) also where the time of a step of the
loop goes, data and log included.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does

import torch
from torch.utils.flop_counter import FlopCounterMode

from translate.batches import Images
from translate.config.clock import Clock
from translate.config.load import load
from translate.config.run import Adam
from translate.data.source import SourceConfig
from translate.data.stream import Stream
from translate.recipes import find
from translate.training.devices import Placement, placement
from translate.training.graph import StepGraph, Values, possible
from translate.training.progress import Progress
from translate.training.start import _build
from translate.training.tracking import Tracker
from translate.training.update import Update

GENERATORS = {"dcgan": "dcgan_fashion", "wgan_gp": "wgan_gp_fashion", "pggan": "pggan_fashion"}
CONFIGS = {"cyclegan": "cyclegan_horse2zebra", "pix2pix": "pix2pix_facades"} | GENERATORS
LATE = Clock(9, 0, 10)  # progressive growing has all layers by then


class PlainAdam(Adam):
    def build(self, parameters):  # type: ignore[no-untyped-def]
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, fused=False)


def make(
    method: str, place: Placement, optimizer: Adam, *, compiled: bool = False, recorded: bool = True
) -> Callable[[], object]:
    """One step of the published setting: 256 x 256 pixels, batch 1; of a generator's: as its config says.

    `recorded`: replayed as a CUDA graph where there is a GPU, as training does.
    """
    torch.manual_seed(0)
    run = load(CONFIGS[method])
    recipe_type = find(run.recipe.kind)
    if method in GENERATORS:
        data = cast("SourceConfig", run.data)
        batch: Any = Images(torch.rand(data.batch_size, 1, 32, 32) * 2 - 1)
        recipe = place.place(recipe_type(run.recipe, {"image": 1}, (32, 32)))
    else:
        kind = cast("type[Any]", recipe_type.batch_type)
        fields = kind._fields
        batch = kind(*(torch.rand(1, 3, 256, 256) * 2 - 1 for _ in fields))
        recipe = place.place(recipe_type(run.recipe, dict.fromkeys(fields, 3)))
    updates = {name: Update(modules, optimizer, place) for name, modules in recipe.players().items()}
    batch = place.move(batch)
    if compiled:
        for network in recipe.deployed().values():
            network.compile()

    def play(draw: Callable[[], Any], clock: Clock) -> Values:
        losses: dict[str, torch.Tensor] = {}
        for turn in recipe.step(draw, clock):
            updates[turn.player](turn)
            losses |= turn.losses
        return tuple(losses), torch.stack([loss.detach() for loss in losses.values()])

    if recorded and possible(updates, place):
        graph = StepGraph(play, recipe, updates, place)
        return lambda: graph(lambda: batch, LATE)
    return lambda: play(lambda: batch, LATE)


def shares(method: str, place: Placement, steps: int = 50) -> str:
    """Where the time of the loop goes: in networks and losses (forward), in backward and optimiser, and elsewhere."""
    run = load(CONFIGS[method])
    trainer = _build(run, Path("nowhere"), place)
    trainer.step = trainer.total * 9 // 10
    spent = dict.fromkeys(("forward", "backward and optimiser", "draw"), 0.0)

    def timed(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return action(*arguments)
            finally:
                spent[name] += time.perf_counter() - start

        return call

    def turns(draw: Callable[[], Any], clock: Clock) -> Iterator[Any]:
        going = step(draw, clock)
        following = timed("forward", lambda: next(going, None))
        while (turn := following()) is not None:
            yield turn

    step = trainer.recipe.step
    trainer.recipe.step = turns  # type: ignore[method-assign]
    update = Update.__call__
    Update.__call__ = timed("backward and optimiser", update)  # type: ignore[method-assign]
    progress, tracker = Progress(rank=1), Tracker("off", Path("nowhere"), "", {})
    with Stream(trainer.source.train, trainer.source.config.batch_size, run.seed) as stream:
        incoming = iter(stream)
        draw = timed("draw", lambda: place.move(next(incoming)))
        for _ in range(3):
            trainer.one_step(draw)
        spent.update(dict.fromkeys(spent, 0.0))
        start = time.perf_counter()
        for _ in range(steps):
            trainer.one_step(draw)
            if trainer.step % run.log.every == 0:
                trainer.log(None, progress, tracker, 0.0)
        total = time.perf_counter() - start
    Update.__call__ = update  # type: ignore[method-assign]
    forward = spent["forward"] - spent["draw"]
    told = f"forward {forward / total:.1%}, backward and optimiser {spent['backward and optimiser'] / total:.1%}"
    outside = total - forward - spent["backward and optimiser"]
    return (
        f"{told}, outside {outside / total:.1%} (data {spent['draw'] / total:.1%}); {1e3 * total / steps:.0f} ms a step"
    )


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - start


def matrix_peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of a large product."""
    side = 8192 if device.type == "cuda" else 4096
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    a @ b
    return 2 * side**3 / min(seconds(lambda: a @ b, device) for _ in range(5))


def plain(device: torch.device) -> Placement:
    return Placement(device, None, torch.contiguous_format)


def peak_memory(device: torch.device) -> float:
    """Of this process so far, in GB. (On Linux getrusage's figure starts from that of the parent.)"""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS


def memory(method: str, which: str) -> float:
    """Peak memory of a fresh process that takes two steps, in GB."""
    command = [sys.executable, __file__, "--method", method, "--memory", which]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", action="append", choices=list(CONFIGS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", choices=["plain", "fast"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for method in arguments.method or list(CONFIGS):
        with placement(load(CONFIGS[method])) as fast:
            if arguments.memory:
                usual = arguments.memory == "plain"
                adam = PlainAdam() if usual else Adam()
                step = make(method, plain(fast.device) if usual else fast, adam, recorded=not usual)
                step(), step()
                print(peak_memory(fast.device))
                continue
            steps = {
                "plain": make(method, plain(fast.device), PlainAdam(), recorded=False),
                "fast": make(method, fast, Adam()),
            }
            if fast.device.type == "cuda":
                steps["not recorded"] = make(method, fast, Adam(), recorded=False)
            if arguments.compile:
                steps["compiled"] = make(method, fast, Adam(), compiled=True)
            times: dict[str, list[float]] = {name: [] for name in steps}
            with FlopCounterMode(display=False) as counter:
                make(method, fast, Adam(), recorded=False)()
            for step in steps.values():
                for _ in range(1 if fast.device.type == "cpu" else 60):  # on a GPU until it is recorded
                    step()
            for _ in range(arguments.repeats):
                for name, step in steps.items():
                    times[name].append(seconds(step, fast.device))
            best, median = ({name: f(t) for name, t in times.items()} for f in (min, statistics.median))
            dtype = fast.dtype or torch.float32
            peak, work = matrix_peak(dtype, fast.device), counter.get_total_flops()
            print(
                f"{method}: plain / fast = {best['plain'] / best['fast']:.2f} (fastest), "
                f"{median['plain'] / median['fast']:.2f} (median of {arguments.repeats}); "
                f"{1e3 * best['plain']:.1f} ms against {1e3 * best['fast']:.1f} ms; {str(dtype).removeprefix('torch.')}, {fast.layout}; "
                f"{work / 1e9:.0f} GFLOP, {work / best['fast'] / peak:.0%} of the matrix peak of {peak / 1e9:.0f} GFLOP/s; "
                f"peak memory {memory(method, 'plain'):.2f} GB against {memory(method, 'fast'):.2f} GB",
                flush=True,
            )
            for name in steps.keys() - {"plain", "fast"}:
                print(
                    f"{method}: {name} / fast = {best[name] / best['fast']:.2f} (fastest), "
                    f"{median[name] / median['fast']:.2f} (median)",
                    flush=True,
                )
            if method in GENERATORS:
                print(f"{method}: {shares(method, fast)}", flush=True)


if __name__ == "__main__":
    main()
