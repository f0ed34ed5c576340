"""How fast the built-in detector simulator is, beside a plain loop over showers, layers and spots.

    python benchmarks/detector.py [--count 8192] [--processes 2]

The loop is the algorithm as it is written down: each spot of each shower gets a radius and an angle of its own. That both
make the same showers shows in the share of the four central cells, layer by layer.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from translate.detector.airshower import AirShowerConfig
from translate.detector.calorimeter import CalorimeterConfig
from translate.detector.differences import Differences
from translate.detector.electromagnetic import Array, electromagnetic
from translate.detector.simulator import BLOCK, Detector, simulate, simulate_chunks


def run(config: Detector, count: int, start: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    simulate(config, BLOCK, start=start)
    began, worked = time.perf_counter(), time.process_time()
    for _ in simulate_chunks(config, count, start=start):
        pass
    return time.perf_counter() - began, time.process_time() - worked


def rate(config: Detector, count: int, processes: int) -> float:
    """Events/s of so many processes, each with its part of the events."""
    share = count // processes
    with ProcessPoolExecutor(processes) as pool:
        waiting = [pool.submit(run, config, share, place * share) for place in range(processes)]
        return processes * share / max(task.result()[0] for task in waiting)


def loop(config: CalorimeterConfig, energies: Array) -> Array:
    """Cells [N, L, H, W] of electrons in MeV, spot by spot."""
    rng, medium = np.random.default_rng(0), config.medium()
    edges = config.layer_cm * np.arange(config.layers + 1.0)
    cells = np.zeros((len(energies), *config.shape))
    for image, energy in zip(cells, energies, strict=True):
        profile = electromagnetic(medium, edges, np.array([energy]), np.array([False]), config.resolution, rng)
        y0, x0 = config.impact_spread * rng.uniform(-0.5, 0.5, 2)
        for layer in range(config.layers):
            variance = config.resolution**2
            seen = 1000 * variance * rng.standard_gamma(profile.energy[0, layer] / variance)
            spots = max(1, round(profile.spots[0, layer]))
            for _ in range(spots):
                core = rng.random() < profile.core[0, layer]
                radius = (profile.core_radius if core else profile.tail_radius)[0, layer] / config.cell_cm
                r, angle = radius * np.sqrt((u := rng.random()) / (1 - u)), 2 * np.pi * rng.random()
                row = int(np.floor(r * np.sin(angle) + y0 + config.cells[0] / 2))
                column = int(np.floor(r * np.cos(angle) + x0 + config.cells[1] / 2))
                if 0 <= row < config.cells[0] and 0 <= column < config.cells[1]:
                    image[layer, row, column] += seen / spots
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8192)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    calorimeter = CalorimeterConfig()
    cases: dict[str, Detector] = {
        "electrons and pions": calorimeter,
        "electrons": calorimeter.model_copy(update={"particles": ("electron",)}),
        "electrons and pions, all differences": calorimeter.model_copy(update={"differences": Differences.data()}),
        "air showers 9x9": AirShowerConfig(),
    }
    print(f"load {os.getloadavg()[0]:.1f}; calorimeter of 12x12x10 cells, 10 to 100 GeV")
    for name, config in cases.items():
        together = rate(config, arguments.count, arguments.processes)
        alone, worked = (arguments.count / seconds for seconds in run(config, arguments.count, 0))
        print(
            f"{name}: {together:,.0f} events/s in {arguments.processes} processes, {alone:,.0f} in one"
            f" ({worked:,.0f} a second of the processor)"
        )

    electrons = simulate(cases["electrons"], 64)
    worked = time.process_time()
    slow = loop(calorimeter, electrons.energy.astype(np.float64))
    seconds = (time.process_time() - worked) / len(slow)
    fast = run(cases["electrons"], arguments.count, 0)[1] / arguments.count
    print(f"loop: {1 / seconds:,.1f} electrons a second; the simulator is {seconds / fast:,.0f} times as fast")
    for name, cells in (("loop", slow), ("simulator", electrons.cells)):
        share = cells[..., 5:7, 5:7].sum((0, 2, 3)) / cells.sum((0, 2, 3))
        print(f"four central cells, {name}: {' '.join(f'{value:.3f}' for value in share)}")


if __name__ == "__main__":
    main()
