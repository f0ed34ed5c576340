"""One-dimensional comparisons: two samples [N] and [M] of an observable, or two histograms with the same bins."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError

Sample = NDArray[Any]
Counts = NDArray[np.int64]


class Histograms(NamedTuple):
    edges: NDArray[np.float64]  # [B + 1]
    x: Counts  # [B + 2]: the first is all below the edges, the last all above
    y: Counts


class Significance(NamedTuple):
    statistic: float
    p_value: float


class ChiSquared(NamedTuple):
    statistic: float
    degrees: int  # of freedom: bins that are not empty in both, less one
    p_value: float


class Moments(NamedTuple):
    mean: float
    deviation: float
    skewness: float
    kurtosis: float  # 0 for a Gaussian


def _samples(*samples: Sample) -> list[NDArray[np.float64]]:
    """Without what is not a number, as the width of an empty layer: compare its share as an observable of its own."""
    arrays = [np.asarray(sample, np.float64).ravel() for sample in samples]
    arrays = [array[~np.isnan(array)] for array in arrays]
    if not all(map(len, arrays)):
        raise EvaluationError("a sample of an observable is empty")
    return arrays


def histogram(x: Sample, y: Sample, bins: int | NDArray[Any] = 50) -> Histograms:
    """Counts of both in equal bins over the central 99 % of the reference `x`, or in bins of the given edges."""
    x, y = _samples(x, y)
    if isinstance(bins, int):
        low, high = np.quantile(x, [0.005, 0.995])
        bins = np.linspace(low, high if high > low else low + 1, bins + 1)
    edges = np.asarray(bins, np.float64)
    counts = [np.bincount(np.searchsorted(edges, sample, "right"), minlength=len(edges) + 1) for sample in (x, y)]
    return Histograms(edges, *counts)


def separation(h1: NDArray[Any], h2: NDArray[Any]) -> float:
    """S² = ½ Σ (h₁ − h₂)²/(h₁ + h₂), each of sum 1: Diefenbacher et al. 2020 (2009.03796), eq. 15. 0 equal, 1 disjoint.

    Biased up by about (bins − 1)/4 · (1/N + 1/M): show the floor beside it.
    """
    a, b = h1 / np.sum(h1), h2 / np.sum(h2)
    filled = a + b > 0
    return float((np.square(a - b)[filled] / (a + b)[filled]).sum() / 2)


def chi_squared(h1: NDArray[Any], h2: NDArray[Any]) -> ChiSquared:
    """Σ (a√(M/N) − b√(N/M))²/(a + b), N = Σa, M = Σb: the test that two histograms of counts have one shape.

    The p-value holds where the expected counts are 5 or more a bin.
    """
    from scipy.stats import chi2

    a, b = np.asarray(h1, np.float64), np.asarray(h2, np.float64)
    filled = a + b > 0
    n, m = a.sum(), b.sum()
    statistic = float((np.square(a * m - b * n)[filled] / (a + b)[filled]).sum() / (n * m))
    degrees = int(filled.sum()) - 1
    return ChiSquared(statistic, degrees, float(chi2.sf(statistic, degrees)) if degrees else 1.0)


def wasserstein(x: Sample, y: Sample) -> float:
    """W₁ = ∫ |F − G| in units of the observable; biased up by about its deviation/√N."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(*_samples(x, y)))


def kolmogorov_smirnov(x: Sample, y: Sample) -> Significance:
    """sup |F − G| in [0, 1], and its asymptotic p-value, which is too large where values repeat."""
    from scipy.stats import ks_2samp

    result = ks_2samp(*_samples(x, y), method="asymp")
    return Significance(float(result.statistic), float(result.pvalue))


def auc(x: Sample, y: Sample) -> float:
    """P(x < y) + ½ P(x = y): the area under the curve of a cut between them; ½ where none helps."""
    from scipy.stats import rankdata

    x, y = _samples(x, y)
    ranks = rankdata(np.concatenate([x, y]))[len(x) :].sum()
    return float((ranks - len(y) * (len(y) + 1) / 2) / (len(x) * len(y)))


def moments(x: Sample) -> Moments:
    """Of the population, estimated with N and not N − 1; skewness and kurtosis are 0 where all values are equal."""
    (x,) = _samples(x)
    mean, deviation = float(x.mean()), float(x.std())
    scaled = (x - mean) / (deviation or 1)
    kurtosis = float((scaled**4).mean()) - 3 if deviation else 0.0
    return Moments(mean, deviation, float((scaled**3).mean()), kurtosis)
