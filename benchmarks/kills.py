"""`kill -9` at random moments of a training run that saves at every step: each time the checkpoint must load.

    python benchmarks/kills.py [--kills 20] [--config NAME] [--seed 0]

The run is resumed after each kill. Moments are drawn from start-up to half a second after the first steps, so that
loading, training, saving and validating are all hit. Exits with 1 if a checkpoint is damaged, if steps were lost that
had been saved, or if the journal has a step twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from translate.checkpoints import load
from translate.training.journal import read


def kill(config: str, run: Path, kills: int, seed: int, settings: Sequence[str] = ()) -> None:
    draw = random.Random(seed)
    last, step = run / "checkpoints" / "last.pt", 0
    for number in range(1, kills + 1):
        begin = ["--resume", str(run)] if last.exists() else ["--config", config, "--out", str(run)]
        command = [
            sys.executable,
            "-m",
            "translate",
            "train",
            *begin,
            *(f"--set={s}" for s in ("save_every=1", *settings)),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step "):
                break
        time.sleep(draw.random() / 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        saved = load(last)["clock"]["step"]
        print(f"kill {number}: the checkpoint of step {saved} loads", flush=True)
        if saved < step:
            raise SystemExit(f"step {step} had been saved before")
        step = saved
    steps = [row["step"] for row in read(run / "metrics.jsonl") if any(key.startswith("train/") for key in row)]
    if steps != sorted(set(steps)):
        raise SystemExit("the journal has a step twice")
    print(f"{kills} of {kills} kills left a loadable checkpoint; {step} steps trained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--config", default="quickstart.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kill(arguments.config, Path(folder) / "run", arguments.kills, arguments.seed, arguments.set)


if __name__ == "__main__":
    main()
