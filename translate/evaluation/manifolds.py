"""Fidelity and diversity apart: how much of the generated is real, and how much of the real is generated."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.evaluation.features import Features, Matrix, blocks, checked, ordered, squared_distances

TIE = 1e-9  # relative: squared distances that differ by less are equal, whatever the rounding


class PRD(NamedTuple):
    precision: Matrix  # [angles], of growing slope precision / recall
    recall: Matrix  # [angles]
    f8: float  # max F₈: recall
    f1_8: float  # max F₁⸝₈: precision


class PrecisionRecall(NamedTuple):
    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    density: float  # ≥ 0; about 1 for equal distributions, and above where samples crowd in dense regions
    coverage: float


def prd(
    reference: Features, generated: Features, *, clusters: int = 20, angles: int = 1001, runs: int = 10, seed: int = 0
) -> PRD:
    """Precision-recall curve of the shares of k-means clusters: Sajjadi et al. 2018, theorem 3; mean of `runs`.

    Needs equal counts: of the larger set a random part is taken. Below about 50 samples a cluster the shares are
    noise, and both ends fall short of 1.
    """
    from sklearn.cluster import MiniBatchKMeans

    reference, generated = checked(reference, generated, least=clusters)
    rng, count = np.random.default_rng(seed), min(len(reference), len(generated))
    both = np.concatenate([ordered(x)[rng.permutation(len(x))[:count]] for x in (generated, reference)])
    curves = []
    for run in range(runs):
        labels = MiniBatchKMeans(clusters, n_init=10, random_state=seed + run).fit(both).labels_
        shares = [np.bincount(part, minlength=clusters) / count for part in (labels[count:], labels[:count])]
        curves.append(prd_curve(*shares, angles=angles))
    precision, recall = np.mean(curves, 0)
    return PRD(precision, recall, *(_max_f(precision, recall, beta) for beta in (8, 1 / 8)))


def prd_curve(reference: NDArray[Any], generated: NDArray[Any], *, angles: int = 1001) -> tuple[Matrix, Matrix]:
    """Precision and recall [angles] of two distributions [K] over the same states: Sajjadi et al. 2018, algorithm 1.

    α(λ) = Σ min(λ p, q), β(λ) = α/λ with λ = tan of equal angles from 0 to π/2 (those by 1e-10 inside).
    """
    slopes = np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, angles))
    precision = np.minimum(slopes[:, None] * np.asarray(reference), np.asarray(generated)).sum(1)
    return np.minimum(precision, 1), np.minimum(precision / slopes, 1)


def _max_f(precision: Matrix, recall: Matrix, beta: float) -> float:
    return float(((1 + beta**2) * precision * recall / (beta**2 * precision + recall + 1e-10)).max())


def _radii(x: Matrix, k: int) -> Matrix:
    """[N] squared distances to the k-th neighbour in the same set."""
    return np.concatenate(
        [np.partition(squared_distances(x[rows], x), k, axis=1)[:, k] for rows in blocks(len(x), len(x))]
    )


def precision_recall(reference: Features, generated: Features, *, k: int = 3) -> PrecisionRecall:
    """Shares of one set inside (≤) the balls to the k-th neighbours of the other: Kynkäänniemi et al. 2019, eq. 1-2.

    The published values are of 50,000 samples each. Depends on the counts: precision grows with the number of
    reference samples, recall with the number of generated ones. One outlier with a large ball covers much.
    """
    reference, generated = checked(reference, generated, least=k + 1)
    real, fake = (_radii(sample, k) * (1 + TIE) for sample in (reference, generated))
    hits, recalled = 0, np.zeros(len(reference), bool)
    for rows in blocks(len(generated), len(reference)):
        distances = squared_distances(generated[rows], reference)
        hits += int((distances <= real).any(1).sum())
        recalled |= (distances <= fake[rows, None]).any(0)
    return PrecisionRecall(hits / len(generated), float(recalled.mean()))


def density_coverage(reference: Features, generated: Features, *, k: int = 5) -> DensityCoverage:
    """Naeem et al. 2020, eq. 3-4: how many balls (<) of the reference hold a generated sample, over k; and the share of
    balls that hold any.

    For equal distributions the expected density is 1 and coverage 1 − Π_{i<k} (N−1−i)/(N+M−1−i) ≈ 1 − 2^−k: 0.97.
    """
    reference, generated = checked(reference, generated, least=k + 1)
    radii = _radii(reference, k) * (1 - TIE)
    inside, covered = 0, np.zeros(len(reference), bool)
    for rows in blocks(len(generated), len(reference)):
        held = squared_distances(generated[rows], reference) < radii
        inside += int(held.sum())
        covered |= held.any(0)
    return DensityCoverage(inside / (k * len(generated)), float(covered.mean()))
