"""How sure a number is: intervals by resampling, and the same number for real against real."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError

Statistic = Callable[..., float]  # of as many samples [N, ...] as it is given


class Interval(NamedTuple):
    value: float
    low: float
    high: float
    deviation: float


def bootstrap(
    statistic: Statistic,
    *samples: NDArray[Any],
    resamples: int = 200,
    seed: int = 0,
    level: float = 0.68,
    replace: bool = True,
) -> Interval:
    """`statistic(*samples)` and its interval, each sample's rows drawn anew and on their own: Efron 1979.

    The interval is the value plus the quantiles of the resampled statistic about *its* mean: a statistic with a bias in
    1/N, as every distance, is shifted by resampling, and that shift is no error. Pairs belong in one sample: stack
    them. For the difference of two models on one reference, take
    `lambda a, b, reference: metric(reference, a) - metric(reference, b)`: it is real where the interval leaves out 0.

    `replace=False` draws halves instead (Shao & Wu 1989, the delete-half jackknife), for what samples drawn twice would
    spoil: neighbours, clusters and classifiers. The deviation of halves about the whole is that of the whole.
    """
    if not 0 < level < 1 or min(map(len, samples)) < 2:
        raise EvaluationError("a bootstrap takes samples of at least 2, and a level between 0 and 1")
    rng = np.random.default_rng(seed)
    value = statistic(*samples)

    def drawn(sample: NDArray[Any]) -> Any:
        count = len(sample)
        return sample[rng.integers(count, size=count) if replace else rng.permutation(count)[: (count + 1) // 2]]

    values = np.array([statistic(*map(drawn, samples)) for _ in range(resamples)])
    return _interval(value, values - values.mean() + value, level)


def floor(
    statistic: Statistic,
    reference: NDArray[Any],
    *,
    size: int | None = None,
    repeats: int = 20,
    seed: int = 0,
    level: float = 0.68,
) -> Interval:
    """`statistic` of two random parts of the reference, `size` samples each, that share none: real against real.

    The value is the mean of `repeats`. Give `size` the count of the generated samples where the reference has twice as
    many: by default it is half the reference, and a distance that is biased in 1/N has a higher floor there.
    """
    size = min(size or len(reference), len(reference) // 2)
    if size < 2:
        raise EvaluationError(f"{len(reference)} reference samples are too few to compare them with each other")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(repeats):
        order = rng.permutation(len(reference))
        values.append(statistic(reference[order[:size]], reference[order[size : 2 * size]]))
    return _interval(float(np.mean(values)), np.array(values), level)


def _interval(value: float, values: NDArray[Any], level: float) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), float(values.std(ddof=1)))
