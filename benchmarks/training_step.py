"""One training step against the plain one (fp32, NCHW, Adam that is not fused, eager) of the same networks.

    python benchmarks/training_step.py [--repeats 3] [--method cyclegan] [--method pix2pix]

Plain and fast steps take turns in one process, so what else the machine does hits both. Prints, for each method, the
ratio of the fastest steps and of the medians, the peak memory of each (measured in a process of its own), and the share
of the machine's matrix peak (a 4096² product, in the same arithmetic) that the fast step reaches.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line does

import torch
from torch.utils.flop_counter import FlopCounterMode

from translate.config import Clock
from translate.config.load import load
from translate.config.run import Adam
from translate.recipes import find
from translate.training.devices import Placement, placement
from translate.training.update import Update

CONFIGS = {"cyclegan": "cyclegan_horse2zebra", "pix2pix": "pix2pix_facades"}


class PlainAdam(Adam):
    def build(self, parameters):  # type: ignore[no-untyped-def]
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, fused=False)


def make(method: str, place: Placement, optimizer: Adam) -> Callable[[], None]:
    """One step of the published setting: 256 x 256 pixels, batch 1."""
    torch.manual_seed(0)
    run = load(CONFIGS[method])
    recipe_type = find(method)
    fields = recipe_type.batch_type._fields
    recipe = place.place(recipe_type(run.recipe, dict.fromkeys(fields, 3)))
    updates = {name: Update(modules, optimizer, place) for name, modules in recipe.players().items()}
    batch = place.move(recipe_type.batch_type(*(torch.rand(1, 3, 256, 256) * 2 - 1 for _ in fields)))

    def step() -> None:
        for turn in recipe.step(lambda: batch, Clock(0, 0, 1)):
            updates[turn.player](turn, 1.0)

    return step


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def matrix_peak(dtype: torch.dtype) -> float:
    """FLOP/s of a large product."""
    a, b = (torch.randn(4096, 4096).to(dtype) for _ in range(2))
    a @ b
    return 2 * 4096**3 / min(seconds(lambda: a @ b) for _ in range(5))


def plain(device: torch.device) -> Placement:
    return Placement(device, None, torch.contiguous_format)


def peak_memory() -> float:
    """Of this process so far, in GB. (On Linux getrusage's figure starts from that of the parent.)"""
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
    parser.add_argument("--memory", choices=["plain", "fast"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for method in arguments.method or list(CONFIGS):
        with placement(load(CONFIGS[method])) as fast:
            if arguments.memory:
                usual = arguments.memory == "plain"
                step = make(method, plain(fast.device) if usual else fast, PlainAdam() if usual else Adam())
                step(), step()
                print(peak_memory())
                continue
            steps = {"plain": make(method, plain(fast.device), PlainAdam()), "fast": make(method, fast, Adam())}
            times: dict[str, list[float]] = {name: [] for name in steps}
            with FlopCounterMode(display=False) as counter:
                steps["fast"]()
            steps["plain"]()
            for _ in range(arguments.repeats):
                for name, step in steps.items():
                    times[name].append(seconds(step))
            best, median = ({name: f(t) for name, t in times.items()} for f in (min, statistics.median))
            dtype = fast.dtype or torch.float32
            peak, work = matrix_peak(dtype), counter.get_total_flops()
            print(
                f"{method}: plain / fast = {best['plain'] / best['fast']:.2f} (fastest), "
                f"{median['plain'] / median['fast']:.2f} (median of {arguments.repeats}); "
                f"{best['plain']:.2f} s against {best['fast']:.2f} s; {str(dtype).removeprefix('torch.')}, {fast.layout}; "
                f"{work / 1e9:.0f} GFLOP, {work / best['fast'] / peak:.0%} of the matrix peak of {peak / 1e9:.0f} GFLOP/s; "
                f"peak memory {memory(method, 'plain'):.2f} GB against {memory(method, 'fast'):.2f} GB",
                flush=True,
            )


if __name__ == "__main__":
    main()
