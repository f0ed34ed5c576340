"""The built-in simulator: events of a calorimeter or a surface array, each a function of (seed, its number) alone.

Events are made in blocks of 128, each with its own counter of Philox numbers (Salmon et al. 2011): chunks of any size,
in any order, give the same events. The showers and what the differences add come from separate streams: with the same
seed, data and simulation that differ in the electronics alone have the same showers, event by event.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
from pydantic import ValidationError

from translate.config.load import mapping
from translate.config.spec import explain
from translate.detector.airshower import AirShowerConfig
from translate.detector.calorimeter import CalorimeterConfig
from translate.detector.differences import Differences
from translate.detector.showers import PARTICLES, Showers
from translate.errors import ConfigError, unknown

Detector = CalorimeterConfig | AirShowerConfig
BLOCK = 128  # events


def simulate(
    config: Detector,
    count: int,
    *,
    seed: int = 0,
    start: int = 0,
    particle: str | None = None,
    energy: float | tuple[float, float] | None = None,
    differences: Differences | None = None,
) -> Showers:
    """The events from `start` to `start + count` of the endless set that `seed` names.

    `particle` (one), `energy` (GeV, or a range) and `differences` take the place of the config's. Raises
    ConfigError for what the detector does not simulate.
    """
    particles: tuple[str, ...] = config.particles if particle is None else (particle,)
    span = config.energy if energy is None else energy if isinstance(energy, tuple) else (energy, energy)
    chosen = config.differences if differences is None else differences
    try:
        config.check(particles, span, chosen)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if start < 0 or count < 1:
        raise ConfigError(f"simulate: needs start >= 0 and count >= 1, got {start} and {count}")
    numbers = np.array([PARTICLES.index(name) for name in particles])

    def block(index: int) -> Showers:
        stream = _streams(seed, index)
        rng = stream(0)
        kinds, place = numbers[rng.integers(len(numbers), size=BLOCK)], rng.random(BLOCK)
        if config.spectrum == "uniform":
            energies = span[0] + (span[1] - span[0]) * place
        else:
            energies = span[0] * (span[1] / span[0]) ** place
        return Showers.of(config.block(chosen, energies, kinds, stream), energies, kinds)

    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    blocks = [block(index) for index in range(first, last)]
    joined = Showers(
        tuple(np.concatenate(layer) for layer in zip(*(made.layers for made in blocks), strict=True)),
        np.concatenate([made.energy for made in blocks]),
        np.concatenate([made.particle for made in blocks]),
    )
    return joined.take(slice(start - first * BLOCK, start - first * BLOCK + count))


def simulate_chunks(
    config: Detector, count: int, *, seed: int = 0, start: int = 0, size: int = 8 * BLOCK
) -> Iterator[Showers]:
    """The same events, `size` at a time, for sets that are larger than memory."""
    for first in range(start, start + count, size):
        yield simulate(config, min(size, start + count - first), seed=seed, start=first)


def read_detector(name: str, overrides: Iterable[str] = ()) -> Detector:
    """A detector by its kind, `calorimeter` or `airshower`, or from a YAML file; then `key=value` overrides.

    Raises ConfigError.
    """
    kinds: dict[str, type[Detector]] = {model.model_fields["kind"].default: model for model in get_args(Detector)}
    path = Path(name).expanduser()
    try:
        text = f"kind: {name}" if name in kinds else path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{unknown('detector', name, kinds)}; or the path of a YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    raw = mapping(text, path.name, overrides, "with at least 'kind'")
    kind = raw.get("kind")
    if kind not in kinds:
        raise ConfigError(f"{path.name}: {unknown('kind', str(kind), kinds)}")
    try:
        return kinds[kind].model_validate(raw)
    except ValidationError as error:
        raise explain(error, kinds[kind], raw, path.name) from None


def _streams(seed: int, block: int) -> Callable[[int], np.random.Generator]:
    def stream(number: int) -> np.random.Generator:
        key, counter = np.array([seed, number], np.uint64), np.array([0, 0, block, 0], np.uint64)
        return np.random.Generator(np.random.Philox(key=key, counter=counter))

    return stream
