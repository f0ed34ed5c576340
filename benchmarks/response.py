"""Response and resolution of a conditional shower generator against the simulator that it was trained on.

For each energy and particle type: the mean of R = ΣE / E_incident and σ(R) / mean R, of generated and of simulated
showers, with their statistical errors; and the largest deviation of the generated response from linearity.

    python benchmarks/response.py RUN [--count 2000] [--energies 10 30 100]
"""

import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from translate.data.detector import DetectorConfig
from translate.detector.simulator import simulate
from translate.inference.networks import data_of
from translate.inference.session import open_session
from translate.inference.showers import make

Array = NDArray[np.float64]


def resolution(response: Array) -> tuple[float, float]:
    """σ/mean and its error, as of a normal distribution."""
    value = response.std(ddof=1) / response.mean()
    return value, value / np.sqrt(2 * (len(response) - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="showers a line")
    parser.add_argument("--energies", type=float, nargs="+", metavar="GEV")
    parser.add_argument("--seed", type=int, default=12345)
    arguments = parser.parse_args()
    session = open_session(arguments.run, precision="fp32")
    found = data_of(arguments.run, "generator")
    if found is None or not isinstance(found[0], DetectorConfig) or found[0].simulation is None:
        raise SystemExit(f"{arguments.run}: is no run on simulated showers")
    simulator = found[0].simulation.simulator
    if simulator is None:
        raise SystemExit(f"{arguments.run}: was trained on files: compare with translate generate and compare")
    energies = arguments.energies or list(np.geomspace(*simulator.energy, 5))
    energy_layers = 1 if simulator.kind == "airshower" else None  # its second layer is a time
    print(f"{'':10}{'GeV':>10}{'response':>12}{'simulated':>12}{'ratio':>16}{'σ/E %':>16}{'simulated %':>16}")
    seconds = 0.0
    for label, particle in enumerate(session.card.labels):
        ratios = []
        for energy in energies:
            started = time.perf_counter()
            count = arguments.count
            made = make(session, np.full(count, energy, np.float32), np.full(count, label), seed=arguments.seed)
            seconds += time.perf_counter() - started
            truth = simulate(simulator, count, seed=arguments.seed, particle=particle, energy=energy)
            ours, theirs = (
                showers.cells[:, :energy_layers].sum((1, 2, 3), dtype=np.float64) / (1000 * energy)
                for showers in (made, truth)
            )
            ratio = ours.mean() / theirs.mean()
            error = ratio * np.hypot(ours.std() / ours.mean(), theirs.std() / theirs.mean()) / np.sqrt(count)
            (width, plus), (true, minus) = resolution(ours), resolution(theirs)
            ratios.append(ratio)
            print(
                f"{particle:10}{energy:10.3g}{ours.mean():12.4g}{theirs.mean():12.4g}{ratio:9.3f} ±{error:5.3f}"
                f"{100 * width:10.2f} ±{100 * plus:4.2f}{100 * true:10.2f} ±{100 * minus:4.2f}"
            )
        spread = max(abs(np.array(ratios) / np.mean(ratios) - 1))
        print(f"{particle}: generated over simulated, largest deviation from its mean: {100 * spread:.1f} %")
    print(f"{arguments.count * len(energies) * len(session.card.labels) / seconds:.0f} generated showers/s")


if __name__ == "__main__":
    main()
