"""All observables of a sample together against the data.

N events of the data, M of a sample, D observables.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.detector.observables import Summary, correlation
from translate.evaluation.classifiers import two_sample_test
from translate.evaluation.distributions import Extrapolation
from translate.evaluation.physics import fpd, kpd

Array = NDArray[np.float64]

CLASSIFIED = 20_000  # events of each side, at most


class Measure(NamedTuple):
    """A number and its 68 % interval; and the same of two samples, of as many events, of the data alone."""

    value: float
    low: float
    high: float
    deviation: float
    floor: float
    floor_deviation: float

    @property
    def differs(self) -> bool:
        """More than 2σ above the floor."""
        return self.value > self.floor + 2 * self.floor_deviation


class Whole(NamedTuple):
    """All observables of one sample together against the data."""

    fpd: Measure
    kpd: Measure
    auc: Measure
    jsd: Measure
    p_value: float
    correlation: Measure  # root of the mean squared difference of the correlation matrices
    image: Measure  # Σ|difference of the mean images| / Σ|mean image of the data|


def compare_whole(
    data: Summary, samples: Mapping[str, Summary], names: tuple[str, ...], splits: int, seed: int
) -> dict[str, Whole]:
    """Of each sample by its label. The floors of distances and classifier are of halves of the data."""
    x, rng = data.table(names), np.random.default_rng(seed)
    one, other = np.array_split(x[rng.permutation(len(x))], 2)
    metrics: tuple[Callable[..., Extrapolation], ...] = (fpd, kpd)
    floors = [metric(one, other, seed=seed) for metric in metrics]
    halves = [np.array_split(x[rng.permutation(len(x))], 2) for _ in range(splits)]
    apart = np.array([_classified(a, b, seed + number) for number, (a, b) in enumerate(halves)])
    found = {}
    for label, sample in samples.items():
        y = sample.table(names)
        frechet, kernel = (
            Measure(*_around(*metric(x, y, seed=seed)), *floor) for metric, floor in zip(metrics, floors, strict=True)
        )
        tests = np.array([_classified(x, y, seed + number) for number in range(splits)])
        auc, jsd = (
            Measure(*_around(tests[:, k].mean(), tests[:, k].std(ddof=1)), apart[:, k].mean(), apart[:, k].std(ddof=1))
            for k in (0, 1)
        )
        p_value, correlations = float(np.median(tests[:, 2])), _correlations(x, y, rng)
        found[label] = Whole(frechet, kernel, auc, jsd, p_value, correlations, _images(data, sample))
    return found


def _classified(x: Array, y: Array, seed: int) -> tuple[float, float, float]:
    """AUC, JSD, p-value."""
    rng = np.random.default_rng(seed)
    x, y = (table[rng.permutation(len(table))[:CLASSIFIED]] for table in (x, y))
    found = two_sample_test(x, y, model="trees", seed=seed)
    return found.auc, found.jsd, found.p_value


def _around(value: float, deviation: float) -> tuple[float, float, float, float]:
    return value, value - deviation, value + deviation, deviation


def _correlations(x: Array, y: Array, rng: np.random.Generator, draws: int = 30) -> Measure:
    def distance(a: Array, b: Array) -> float:
        return float(np.sqrt(np.mean((correlation(a) - correlation(b)) ** 2)))

    def drawn(table: Array, count: int) -> Array:
        return table[rng.integers(len(table), size=count)]

    values = np.array([distance(drawn(x, len(x)), drawn(y, len(y))) for _ in range(draws)])
    null = np.array([distance(drawn(x, len(x)), drawn(x, len(y))) for _ in range(draws)])
    return Measure(*_around(distance(x, y), values.std(ddof=1)), null.mean(), null.std(ddof=1))


def _images(data: Summary, sample: Summary) -> Measure:
    """The floor is what events of even and of odd number differ by, scaled to the counts of both samples; deviations
    are those between even and odd."""
    scale = sum(np.abs(layer).sum() for layer in data.mean) or 1.0

    def distance(a: Sequence[Array], b: Sequence[Array]) -> float:
        return float(sum(np.abs(p - q).sum() for p, q in zip(a, b, strict=True)) / scale)

    halves = [distance([i[odd] for i in data.images], [i[odd] for i in sample.images]) for odd in (0, 1)]
    grown = math.sqrt(1 + len(data.energy) / len(sample.energy)) / 2
    floor = grown * distance([i[0] for i in data.images], [i[1] for i in data.images])
    spread = abs(halves[0] - halves[1]) / 2
    return Measure(*_around(distance(data.mean, sample.mean), spread), floor, spread)
