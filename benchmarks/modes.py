"""Which objectives find the modes of the ring of 8 and the grid of 25: the table of docs/results.md.

    python benchmarks/modes.py [--seeds 5] [--data ring grid] [--case NAME ...] [--json FILE]

The networks, rates, batches and updates of the generator of wgan_gp_ring.yaml and wgan_gp_grid.yaml for all (SN-GAN on the
grid: twice as many); only the game differs: one update of the discriminator where it has no need to be near its best. Of
2,500 samples at the end: modes that are covered (by at least one sample within 3 σ), and the share of samples that are so
close to any mode, mean ± deviation over seeds.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from translate.config.load import load
from translate.data.stream import Stream
from translate.data.toy import ToySource
from translate.evaluation.modes import count_modes
from translate.recipes.gan import GAN
from translate.training.devices import placement
from translate.training.start import _build

SLOPE = {"ring": 2, "grid": 4}  # of SN-GAN, a layer: the grid's Gaussians are nearer to each other
ONE = ["recipe.penalties=[]", "recipe.discriminator_updates=1", "schedule.epochs=4"]  # as many updates of the generator
CASES: dict[str, list[str]] = {
    "SN-GAN (hinge)": [*ONE, "recipe.objective={kind: hinge}", "recipe.constraint={kind: spectral_norm}"],
    "WGAN-GP": [],
    "minimax": [*ONE, "recipe.objective.kind=minimax"],
    "non-saturating": [*ONE, "recipe.objective.kind=non_saturating"],
    "least squares": [*ONE, "recipe.objective.kind=least_squares"],
    "maximum likelihood": [*ONE, "recipe.objective.kind=maximum_likelihood"],
    "WGAN (clip 0.1)": ["recipe.penalties=[]", "recipe.constraint={kind: weight_clip, limit: 0.1}"],
}


def settings(case: str, data: str) -> list[str]:
    if not case.startswith("SN-GAN"):
        return CASES[case]
    longer = ["schedule.epochs=8"] if data == "grid" else []
    return [*CASES[case], f"recipe.constraint.factor={SLOPE[data]}", *longer]


def modes(config: str, overrides: list[str]) -> tuple[int, float]:
    """Covered modes, share of good samples."""
    run = load(config, overrides)
    with placement(run) as place:
        trainer = _build(run, Path("nowhere"), place)
        assert isinstance(trainer.recipe, GAN)
        assert isinstance(trainer.source, ToySource)
        assert trainer.source.modes is not None
        with Stream(trainer.source.train, trainer.source.config.batch_size, run.seed) as stream:
            incoming = iter(stream)
            for _ in range(trainer.total):
                trainer.one_step(lambda: next(incoming))
        generator = trainer.averages["generator"] if trainer.averages else trainer.recipe.generator
        torch.manual_seed(run.seed)
        with torch.no_grad():
            made = generator(trainer.recipe.latent(2500, torch.device("cpu")))
        return count_modes(made, *trainer.source.modes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=["ring", "grid"], default=["ring", "grid"])
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for data in arguments.data:
        for case in arguments.case or list(CASES):
            start = time.process_time()
            found = [
                modes(f"wgan_gp_{data}", [*settings(case, data), *arguments.overrides, f"seed={seed}"])
                for seed in range(arguments.seeds)
            ]
            covered, good = np.array(found, float).T
            rows.append({"data": data, "case": case, "covered": covered.tolist(), "good": good.tolist()})
            print(
                f"| {data} | {case} | {covered.mean():.1f} ± {covered.std():.1f} | {good.mean():.2f} ± {good.std():.2f} "
                f"| {(time.process_time() - start) / arguments.seeds:.0f} s |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
