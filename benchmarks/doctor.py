"""Step times with the training doctor against without.

    python benchmarks/doctor.py [--config quickstart] [--set KEY=VALUE] [--repeats 5]

Both take turns in one process, each time `log.every` steps on one batch and the line of the log after them. What is
examined at validations comes on top: one forward pass of the images that are shown. Prints the ratio of the times.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from translate.config.load import load
from translate.data.stream import Stream
from translate.training.devices import Placement, placement
from translate.training.progress import Progress
from translate.training.start import _build
from translate.training.tracking import Tracker


def make(config: str, overrides: list[str], place: Placement) -> tuple[Callable[[], None], int]:
    """An interval between two lines of the log, and how many steps it has."""
    run = load(config, overrides)
    trainer = _build(run, Path("nowhere"), place)
    size = trainer.source.config.batch_size
    with Stream(trainer.source.train, size, run.seed) as stream:
        batch = place.move(next(iter(stream)))

    def draw() -> Any:
        trainer.images += size
        return batch

    progress, tracker = Progress(rank=1), Tracker("off", Path("nowhere"), "", {})

    def interval() -> None:
        for _ in range(run.log.every):
            trainer.one_step(draw)
        trainer.log(None, progress, tracker, 0.0)

    return interval, run.log.every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="quickstart")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with placement(load(arguments.config, arguments.overrides)) as place:
        made = {flag: make(arguments.config, [*arguments.overrides, f"doctor={flag}"], place) for flag in (True, False)}
        times: dict[bool, list[float]] = {True: [], False: []}
        for repeat in range(arguments.repeats + 1):  # the first is not counted
            for flag, (interval, _) in made.items():
                start = time.perf_counter()
                interval()
                if repeat:
                    times[flag].append(time.perf_counter() - start)
    best, median = ({flag: f(t) for flag, t in times.items()} for f in (min, statistics.median))
    print(
        f"{arguments.config}: with / without = {best[True] / best[False]:.4f} (fastest), "
        f"{median[True] / median[False]:.4f} (median of {arguments.repeats}); "
        f"{1e3 * best[False] / made[False][1]:.1f} ms a step without"
    )


if __name__ == "__main__":
    main()
