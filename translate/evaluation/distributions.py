"""How far two distributions of features are apart; the first is the reference where that matters.

Features are [N, D] and computed in float64. The result means nothing without the feature space that they are of.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError
from translate.evaluation.features import Features, Matrix, checked, pair_mean, squared_distances


class Estimate(NamedTuple):
    mean: float
    deviation: float  # standard deviation over subsets or splits: the spread of one, not the error of the mean


class Extrapolation(NamedTuple):
    value: float
    deviation: float  # of the fit


class Gaussian(NamedTuple):
    """What the Fréchet distance keeps of a sample."""

    samples: int
    mean: Matrix  # [D]
    factor: Matrix  # [min(N, D), D], whose factorᵀ · factor is the covariance

    @classmethod
    def of(cls, x: Features) -> "Gaussian":
        (x,) = checked(x)
        mean = x.mean(0)
        centred = (x - mean) / np.sqrt(len(x) - 1)
        factor = np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred
        return cls(len(x), mean, factor)


def frechet_distance(x: "Features | Gaussian", y: "Features | Gaussian") -> float:
    """‖μ₁ − μ₂‖² + Tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½): Heusel et al. 2017 eq. 6; squared units of the features, ≥ 0.

    Biased up by about c/N (Chong & Forsyth 2020): at least 10,000 samples, more than D of each, and equal counts
    wherever two values are compared. The trace of the root is the nuclear norm of factor₁ · factor₂ᵀ, which no
    singular covariance disturbs.
    """
    a, b = (sample if isinstance(sample, Gaussian) else Gaussian.of(sample) for sample in (x, y))
    if a.mean.shape != b.mean.shape:
        raise EvaluationError(f"features of {len(a.mean)} and {len(b.mean)} numbers cannot be compared")
    root = np.linalg.svd(a.factor @ b.factor.T, compute_uv=False).sum()
    spread = np.square(a.factor).sum() + np.square(b.factor).sum() - 2 * root
    return max(0.0, float(np.square(a.mean - b.mean).sum() + spread))


def frechet_infinity(x: Features, y: Features, *, points: int = 15, repeats: int = 1, seed: int = 0) -> Extrapolation:
    """The Fréchet distance at 1/N → 0: Chong & Forsyth 2020, FID∞, here with both sets of N samples.

    A line through `points` sizes, regular in 1/N from a fifth of the smaller set to all of it; `repeats` draws a size,
    without replacement. May fall a little below 0. The sizes share samples, so the error of the fit is too small:
    bootstrap for an honest one. The line holds where N is well above D.
    """
    x, y = checked(x, y, least=20)
    rng = np.random.default_rng(seed)
    most = min(len(x), len(y))
    sizes = np.repeat((1 / np.linspace(5 / most, 1 / most, points)).round().astype(int), repeats)
    values = [
        frechet_distance(*(sample[rng.choice(len(sample), size, replace=False)] for sample in (x, y))) for size in sizes
    ]
    return intercept(sizes, np.array(values))


def intercept(sizes: NDArray[Any], values: Matrix, *, positive: bool = False) -> Extrapolation:
    """Of the line through (1/N, value); `positive`: neither intercept nor slope below 0."""
    from scipy.optimize import nnls

    design = np.stack([np.ones(len(sizes)), 1 / sizes], 1)
    line = nnls(design, values)[0] if positive else np.linalg.lstsq(design, values)[0]
    variance = np.square(values - design @ line).sum() / (len(sizes) - 2)
    return Extrapolation(float(line[0]), float(np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0])))


def _polynomial(degree: int, columns: int) -> Callable[[Matrix, Matrix], Matrix]:
    def kernel(a: Matrix, b: Matrix) -> Matrix:
        base = a @ b.T / columns + 1
        values = base.copy()
        for _ in range(degree - 1):  # ten times as fast as a power
            values *= base
        return values

    return kernel


def _mmd(kernel: Callable[[Matrix, Matrix], Matrix], x: Matrix, y: Matrix) -> float:
    within = pair_mean(x, x, kernel, distinct=True) + pair_mean(y, y, kernel, distinct=True)
    return within - 2 * pair_mean(x, y, kernel)


def kernel_distance(
    x: Features, y: Features, *, subsets: int = 100, subset_size: int = 1000, degree: int = 3, seed: int = 0
) -> Estimate:
    """Unbiased MMD² with (x·y/D + 1)^degree, mean over subsets: Bińkowski et al. 2018, the kernel inception distance.

    No bias at any N: values below 0 mean "very near". The same subsets, and so the same digits, as torch-fidelity's at
    equal `seed`; smaller sets are taken whole, and then the deviation is 0 and says nothing.
    """
    x, y = checked(x, y)
    size = min(subset_size, len(x), len(y))
    kernel, rng = _polynomial(degree, x.shape[1]), np.random.RandomState(seed)
    values = [
        _mmd(kernel, *(sample[rng.choice(len(sample), size, replace=False)] for sample in (x, y)))
        for _ in range(subsets)
    ]
    return Estimate(float(np.mean(values)), float(np.std(values)))


def mmd(
    x: Features,
    y: Features,
    *,
    kernel: Literal["gaussian", "polynomial"] = "gaussian",
    bandwidth: float | None = None,
    degree: int = 3,
) -> float:
    """Unbiased MMD² of all samples: Gretton et al. 2012, lemma 6; no unit, at most 2 for the Gaussian kernel.

    Gaussian: exp(−‖x − y‖²/2σ²). σ is `bandwidth` in units of the features; by default σ² is half the mean squared
    distance in both sets together (the sum of the variances), which unlike the median needs no pairs. A value is
    comparable only at equal σ. Polynomial: (x·y/D + 1)^degree.
    """
    x, y = checked(x, y)
    if kernel == "polynomial":
        return _mmd(_polynomial(degree, x.shape[1]), x, y)
    variance = np.concatenate([x, y]).var(0).sum() if bandwidth is None else bandwidth**2
    return _mmd(lambda a, b: np.exp(squared_distances(a, b) / (-2 * (variance or 1))), x, y)


def energy_distance(x: Features, y: Features) -> float:
    """√(2E‖X − Y‖ − E‖X − X′‖ − E‖Y − Y′‖) ≥ 0: Székely & Rizzo 2013; in one dimension scipy.stats' of the same name.

    In √(units of the features): scale features that have different ones. The square is biased up by about
    (E‖X − X′‖)/N + (E‖Y − Y′‖)/M.
    """
    x, y = checked(x, y)

    def mean(a: Matrix, b: Matrix) -> float:
        return pair_mean(a, b, lambda c, d: np.sqrt(squared_distances(c, d)))

    return float(np.sqrt(max(0.0, 2 * mean(x, y) - mean(x, x) - mean(y, y))))


def sliced_wasserstein(x: Features, y: Features, *, projections: int = 500, p: int = 2, seed: int = 0) -> float:
    """(mean over random directions of W_p^p)^(1/p): Bonneel et al. 2015; units of the features.

    SW₂² of N(0, I) and N(Δ, I) is ‖Δ‖²/D. Biased up at small N. Relative noise of the directions ≈ 1/√projections.
    """
    x, y = checked(x, y)
    directions = np.random.default_rng(seed).standard_normal((projections, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    edges = np.union1d(np.arange(1, len(x)) * len(y), np.arange(1, len(y)) * len(x))  # quantile levels · N · M
    starts, end = np.append(0, edges), len(x) * len(y)
    weights = np.diff(np.append(starts, end)) / end
    total = 0.0
    for chunk in np.array_split(directions, -(-projections // 64)):
        a, b = np.sort(x @ chunk.T, 0)[starts // len(y)], np.sort(y @ chunk.T, 0)[starts // len(x)]
        total += float((weights @ np.abs(a - b) ** p).sum())
    return float((total / projections) ** (1 / p))


def inception_score(probabilities: Features, *, splits: int = 10, seed: int = 0) -> Estimate:
    """exp(E KL(p(y|x) ‖ p(y))) over `splits` parts: Salimans et al. 2016; from 1 to the number of classes K.

    `probabilities` [N, K] of any classifier, whose classes are part of the score's name. Biased with N/splits: 50,000
    samples as published. Shuffled as in torch-fidelity.
    """
    (p,) = checked(probabilities, least=splits)
    if (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise EvaluationError("the inception score takes probabilities: rows that are not negative and sum to 1")
    p = p[np.random.RandomState(seed).permutation(len(p))]
    scores = []
    for i in range(splits):
        part = p[i * len(p) // splits : (i + 1) * len(p) // splits]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(part > 0, part * (np.log(part) - np.log(part.mean(0))), 0)
        scores.append(np.exp(terms.sum(1).mean()))
    return Estimate(float(np.mean(scores)), float(np.std(scores)))
