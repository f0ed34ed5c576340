"""The built-in simulator: events of a calorimeter or a surface array, each a function of (seed, its number) alone.

Events are made in blocks of 128, each with its own counter of Philox numbers (Salmon et al. 2011): chunks of any size,
in any order, give the same events. The showers and what the differences add come from separate streams: with the same
seed, data and simulation that differ in the electronics alone have the same showers, event by event.
"""

from collections.abc import Callable

import numpy as np

from translate.detector.calorimeter import CalorimeterConfig, calorimeter_block, check_energy
from translate.detector.differences import Differences
from translate.detector.showers import PARTICLES, Showers
from translate.errors import ConfigError

BLOCK = 128


def simulate(
    config: CalorimeterConfig,
    count: int,
    *,
    seed: int = 0,
    start: int = 0,
    particle: str | None = None,
    energy: float | tuple[float, float] | None = None,
    differences: Differences | None = None,
) -> Showers:
    """The events from `start` to `start + count` of the endless set that `seed` names.

    `particle` (one), `energy` (GeV; a range is uniform) and `differences` take the place of the config's. Raises
    ConfigError for what the detector does not simulate.
    """
    particles: tuple[str, ...] = config.particles if particle is None else (particle,)
    span = config.energy if energy is None else energy if isinstance(energy, tuple) else (energy, energy)
    try:
        check_energy(particles, span)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    differences = config.differences if differences is None else differences
    numbers = np.array([PARTICLES.index(name) for name in particles])

    def block(index: int) -> Showers:
        stream = _streams(seed, index)
        rng = stream(0)
        kinds, energies = numbers[rng.integers(len(numbers), size=BLOCK)], rng.uniform(*span, BLOCK)
        (cells,) = calorimeter_block(config, differences, energies, kinds, stream)
        return Showers.of(cells, energies, kinds)

    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    blocks = [block(index) for index in range(first, last)]
    joined = Showers(
        tuple(np.concatenate(layer) for layer in zip(*(made.layers for made in blocks), strict=True)),
        np.concatenate([made.energy for made in blocks]),
        np.concatenate([made.particle for made in blocks]),
    )
    return joined.take(slice(start - first * BLOCK, start - first * BLOCK + count))


def _streams(seed: int, block: int) -> Callable[[int], np.random.Generator]:
    def stream(number: int) -> np.random.Generator:
        key, counter = np.array([seed, number], np.uint64), np.array([0, 0, block, 0], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    return stream
