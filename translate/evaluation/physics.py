"""Distances between detector observables: Kansal et al. 2022 (2211.10295). Print the floor of real against real beside.

Observables [N, D]: each is divided by its largest |value| in the reference, so that units do not matter.
"""

import numpy as np

from translate.evaluation.distributions import Extrapolation, frechet_distance, intercept, mmd
from translate.evaluation.features import Features, Matrix, checked


def fpd(
    reference: Features,
    generated: Features,
    *,
    largest: int = 50_000,
    batches: int = 20,
    points: int = 10,
    seed: int = 42,
) -> Extrapolation:
    """Fréchet physics distance: the mean over `batches` at `points` sizes regular in 1/N, extrapolated to 1/N = 0.

    Sizes from 40 % of `largest` (20,000 as published) or of the smaller set to all of that. Drawn with replacement as
    published, so a bias of c/N with N the whole set remains. Line and intercept are ≥ 0.
    """
    x, y = _scaled(reference, generated)
    most = min(largest, len(x), len(y))
    sizes = (1 / np.linspace(2.5 / most, 1 / most, points)).astype(int)
    rng = np.random.RandomState(seed)
    values = [
        np.mean([frechet_distance(x[rng.choice(len(x), size)], y[rng.choice(len(y), size)]) for _ in range(batches)])
        for size in sizes
    ]
    return intercept(sizes, np.array(values), positive=True)


def kpd(
    reference: Features, generated: Features, *, batches: int = 10, batch_size: int = 5000, seed: int = 42
) -> Extrapolation:
    """Kernel physics distance: median of MMD² with (x·y/D + 1)⁴ over `batches`; the deviation is half the central 67 %.

    Drawn with replacement as published: biased up by about 1/N with N the whole set. May fall below 0.
    """
    x, y = _scaled(reference, generated)
    size = min(batch_size, len(x), len(y))
    values = []
    for batch in range(batches):
        rng = np.random.RandomState(seed + 1000 * batch)
        parts = [sample[rng.choice(len(sample), size)] for sample in (x, y)]
        values.append(mmd(*parts, kernel="polynomial", degree=4))
    low, middle, high = np.percentile(values, [16.275, 50, 83.725])
    return Extrapolation(float(middle), float(high - low) / 2)


def _scaled(reference: Features, generated: Features) -> list[Matrix]:
    x, y = checked(reference, generated, least=10)
    scale = np.abs(x).max(0)
    scale[scale == 0] = 1
    return [x / scale, y / scale]
