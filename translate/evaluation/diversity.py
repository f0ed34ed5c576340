"""Diversity and overfitting: which modes are missing, how many different samples there are, and which are copies."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError
from translate.evaluation.features import Features, Matrix, blocks, checked, ordered, squared_distances
from translate.evaluation.observables import auc


class Bins(NamedTuple):
    different: int  # bins whose shares differ at the level α; about α · bins for equal distributions
    bins: int
    z: Matrix  # [bins] in standard deviations, of falling share of the reference: below 0 the generator has too few


class Birthday(NamedTuple):
    pairs: int  # of samples that are nearer than the threshold
    support: float  # s², where half of all batches of s samples hold such a pair; inf without any pair
    at_least: float  # the support's lower limit at 95 %
    closest: NDArray[np.int64]  # [K, 2] the closest pairs, for a look
    distances: Matrix  # [K]


class Neighbours(NamedTuple):
    distances: Matrix  # [N, k]
    indices: NDArray[np.int64]  # [N, k] in the other set


class Copying(NamedTuple):
    auc: float  # P(a generated sample is nearer to the training set than a test sample is); ½ without copying
    nearer: float  # share of the samples nearer to training samples than to as many test samples; ½ without copying


class ClassCoverage(NamedTuple):
    covered: int  # classes with at least a tenth of their share in the reference
    kl: float  # Σ p_generated ln(p_generated / p_reference) ≥ 0


def different_bins(
    reference: Features, generated: Features, *, bins: int = 100, alpha: float = 0.05, seed: int = 0
) -> Bins:
    """Number of statistically different bins (NDB): Richardson & Weiss 2018, sec. 2.

    The bins are k-means of the reference. A two-sided test of two proportions a bin, which wants 10 samples or more of
    each set in it.
    """
    from scipy.stats import norm
    from sklearn.cluster import KMeans

    reference, generated = checked(reference, generated, least=bins)
    kmeans = KMeans(bins, n_init=1, random_state=seed).fit(ordered(reference))
    a, b = (np.bincount(kmeans.predict(sample), minlength=bins) for sample in (reference, generated))
    n, m, order = len(reference), len(generated), np.argsort(-a, kind="stable")
    pooled = (a + b) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = ((b / m - a / n) / np.where(error > 0, error, 1))[order]
    return Bins(int((np.abs(z) > norm.isf(alpha / 2)).sum()), bins, z)


def birthday(x: Features, threshold: float, *, keep: int = 10) -> Birthday:
    """The size of the support: Arora & Zhang 2017, the birthday paradox.

    Two of s samples of M equally likely ones are the same with probability ½ at s² ≈ 2 ln 2 · M. From all pairs at
    once: with a share π of them the same, s² = 2 ln 2/π. What is the same is up to the distance: `threshold` from
    `same_below`, and a look at the closest pairs.
    """
    from scipy.stats import chi2

    (x,) = checked(x)
    found, count = 0, len(x)
    places, lengths = np.empty((0, 2), np.int64), np.empty(0)
    for rows in blocks(count, count):
        distances = squared_distances(x[rows], x)
        distances[np.arange(count) <= np.arange(count)[rows, None]] = np.inf  # every pair once
        found += int((distances < threshold**2).sum())
        nearest = np.argpartition(distances, min(keep, distances.size - 1), axis=None)[:keep]
        here = np.stack(np.unravel_index(nearest, distances.shape), 1)
        places = np.concatenate([places, here + np.array([rows.start, 0])])
        lengths = np.concatenate([lengths, distances.ravel()[nearest]])
        best = np.argsort(lengths, kind="stable")[:keep]
        places, lengths = places[best], lengths[best]
    finite = np.isfinite(lengths)
    scale = 2 * np.log(2) * count * (count - 1) / 2
    limit = chi2.ppf(0.95, 2 * found + 2) / 2  # of the mean of a Poisson count
    support = scale / found if found else np.inf
    return Birthday(found, float(support), float(scale / limit), places[finite], np.sqrt(lengths[finite]))


def same_below(reference: Features, *, quantile: float = 0.01) -> float:
    """The distance that only this share of real samples has to its nearest neighbour: nearer counts as the same."""
    (reference,) = checked(reference)
    return float(np.quantile(_nearest(reference, reference, 2)[0][:, 1], quantile))


def nearest(generated: Features, training: Features, *, k: int = 1) -> Neighbours:
    """The k nearest training samples of each generated one, by Euclidean distance: weak on sparse images."""
    generated, training = checked(generated, training, least=1)
    return Neighbours(*_nearest(generated, training, min(k, len(training))))


def copying(generated: Features, training: Features, test: Features, *, seed: int = 0) -> Copying:
    """Whether generated samples are copies of training samples.

    `auc` asks, as Meehan et al. 2020 (sec. 2.1), whether they are nearer to the training set, all of it, than test
    samples are: copies of a few of many are found, but samples that are poor, and so far from all, count less than ½.
    `nearer` asks whether they are nearer to training samples than to as many test samples: ½ however good they are, but
    where training samples are many more, most of the originals are not among those looked at.
    """
    generated, training, test = checked(generated, training, test)
    to_training = _nearest(generated, training, 1)[0][:, 0]
    between = auc(to_training, _nearest(test, training, 1)[0][:, 0])
    rng, count = np.random.default_rng(seed), min(len(training), len(test))
    seen, unseen = (
        _nearest(generated, ordered(x)[rng.permutation(len(x))[:count]], 1)[0][:, 0] for x in (training, test)
    )
    nearer = (seen < unseen).mean() + (seen == unseen).mean() / 2
    return Copying(between, float(nearer))


def class_coverage(reference: NDArray[Any], generated: NDArray[Any]) -> ClassCoverage:
    """Modes of labelled data: classes [N] of real and [M] of generated samples, the latter by a classifier."""
    classes = np.unique(reference)
    if not np.isin(generated, classes).all():
        raise EvaluationError("generated samples have classes that the reference does not have")
    p, q = (np.array([(labels == each).mean() for each in classes]) for labels in (reference, generated))
    there = q > 0
    return ClassCoverage(int((q >= p / 10).sum()), float((q[there] * np.log(q[there] / p[there])).sum()))


def spread(outputs: NDArray[Any]) -> Matrix:
    """Mean |difference| of two seeds [N]: 0 where noise is ignored. Outputs [N, S, ...] of N inputs, S seeds each."""
    count, seeds = outputs.shape[:2]
    if seeds < 2:
        raise EvaluationError("the spread over seeds needs at least 2 outputs of an input")
    values = np.sort(outputs.reshape(count, seeds, -1).astype(np.float64), 1)  # Σ over pairs from ranks alone
    weights = 2 * np.arange(seeds) - (seeds - 1)
    return np.asarray(np.tensordot(values, weights, (1, 0)).mean(1) / (seeds * (seeds - 1) / 2))


def _nearest(x: Matrix, y: Matrix, k: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Distances and places [N, k] of the nearest rows of y, in order."""
    parts = []
    for rows in blocks(len(x), len(y)):
        squared = squared_distances(x[rows], y)
        found = np.argpartition(squared, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(squared, found, 1)
        order = np.argsort(values, 1, kind="stable")
        parts.append((np.take_along_axis(values, order, 1), np.take_along_axis(found, order, 1)))
    distances, indices = zip(*parts, strict=True)
    return np.sqrt(np.concatenate(distances)), np.concatenate(indices)
