import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import curve_fit

from translate.evaluation import fpd, frechet_distance, kpd

RNG = np.random.default_rng(0)
X, Y = RNG.gamma(3, 1, (2500, 3)) * (1, 10, 0), RNG.gamma(3.3, 1, (2600, 3)) * (1, 10, 0)


def test_published_vectors():
    twos, zeros = np.full((200, 2), 2.0), np.zeros((200, 2))
    assert fpd(twos, zeros).value == pytest.approx(2)
    assert frechet_distance(twos, zeros) == pytest.approx(8)
    # (x·y/d + 1)⁴ of constant features: 16 + 1 − 2
    assert kpd(twos, zeros) == pytest.approx((15, 0), abs=1e-9)
    assert fpd(zeros, zeros).value == kpd(zeros, zeros).value == 0


def test_fpd_is_the_published_algorithm():
    """Kansal et al. 2022: legacy random numbers, matrix square roots and a bounded fit, written out."""
    scale = np.abs(X).max(0) + (X.max(0) == 0)
    x, y = X[:, :2] / scale[:2], Y[:, :2] / scale[:2]
    sizes = (1 / np.linspace(1 / 1000, 1 / 2500, 10)).astype("int32")
    rng, values = np.random.RandomState(42), []
    for size in sizes:
        points = []
        for _ in range(4):
            a, b = x[rng.choice(len(x), size=size)], y[rng.choice(len(y), size=size)]
            c, d = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
            points.append(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c + d - 2 * sqrtm(c @ d).real))
        values.append(np.mean(points))
    best, covariance = curve_fit(lambda x, a, b: a + b * x, 1 / sizes, values, bounds=([0, 0], [np.inf, np.inf]))
    assert fpd(X, Y, batches=4) == pytest.approx((best[0], np.sqrt(covariance[0, 0])), rel=1e-3)


def test_kpd_is_the_published_algorithm():
    scale = np.abs(X).max(0) + (X.max(0) == 0)
    values = []
    for batch in range(4):
        rng = np.random.RandomState(42 + 1000 * batch)
        x, y = (sample[rng.choice(len(sample), 500)] / scale for sample in (X, Y))
        xx, yy, xy = ((a @ b.T / 3 + 1) ** 4 for a, b in ((x, x), (y, y), (x, y)))
        values.append(((xx.sum() - xx.trace()) + (yy.sum() - yy.trace())) / 500 / 499 - 2 * xy.mean())
    assert kpd(X, Y, batches=4, batch_size=500).value == pytest.approx(np.median(values), rel=1e-9)


@pytest.mark.parametrize("distance", [fpd, kpd])
def test_units_do_not_matter_and_noise_does(distance):
    few = {"batches": 2} if distance is fpd else {"batches": 2, "batch_size": 1000}
    assert distance(X * (1e3, 1, 5), Y * (1e3, 1, 5), **few) == pytest.approx(distance(X, Y, **few), rel=1e-6)
    values = [distance(X, X[::-1] + shift * X.std(0), **few).value for shift in (0, 0.2, 0.4, 0.8)]
    assert values == sorted(values)
    assert distance(X, Y, seed=1, **few) != distance(X, Y, **few)
