import warnings

import numpy as np
import prdc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from translate.errors import EvaluationError
from translate.evaluation import density_coverage, features, prd, precision_recall
from translate.evaluation.manifolds import prd_curve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_fidelity.metric_prc import prc_features_to_metric

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(300, 12)), RNG.normal(0.3, 0.8, (250, 12))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_recall_equals_torch_fidelity(k):
    theirs = prc_features_to_metric(*map(torch.from_numpy, (Y, X)), prc_neighborhood=k, verbose=False)
    ours = precision_recall(X, Y, k=k)
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)
    assert 0 < ours.recall < ours.precision < 1


@pytest.mark.parametrize("k", [3, 5])
def test_density_coverage_equals_prdc(k, capsys):
    theirs = prdc.compute_prdc(X, Y, k)
    assert density_coverage(X, Y, k=k) == pytest.approx((theirs["density"], theirs["coverage"]), rel=1e-12)
    assert precision_recall(X, Y, k=k) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-12)


def test_balls_by_hand():
    line = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])  # radii for k = 1: 1, 1, 2, 3, 4
    generated = np.array([[0.5], [5.0], [20.0], [21.0]])  # radii: 4.5, 4.5, 1, 1
    assert precision_recall(line, generated, k=1) == (2 / 4, 4 / 5)  # 3 in [1, 5], 6 in [3, 9]; 10 beyond 9.5
    # 0.5 in the balls of 0 and 1; 5 only in that of 6, on the edge of that of 3: not <
    assert density_coverage(line, generated, k=1) == (3 / 4, 3 / 5)


def test_of_equal_distributions():
    x, y = RNG.normal(size=(2000, 2)), RNG.normal(size=(2000, 2))
    density, coverage = density_coverage(x, y)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(6, 40), st.integers(6, 40), st.integers(1, 5), st.booleans())
def test_ranges_order_and_identity(seed, n, m, columns, rounded):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, columns)), rng.normal(0.5, 2, size=(m, columns))
    if rounded:
        x, y = x.round(), y.round()
    precision, recall = precision_recall(x, y)
    density, coverage = density_coverage(x, y)
    assert 0 <= precision <= 1
    assert 0 <= recall <= 1
    assert 0 <= coverage <= 1
    assert density >= 0
    assert precision_recall(y, x) == (recall, precision)
    a, b = rng.permutation(x), rng.permutation(y)
    assert precision_recall(a, b) == (precision, recall)
    assert density_coverage(a, b) == (density, coverage)
    assert precision_recall(x, x.copy()) == (1, 1)


def test_copies_of_one_sample_are_inside():
    """Rounding must not throw a sample out of a ball of radius 0."""
    x = np.repeat(RNG.normal(100, 1, (3, 64)), 5, 0)
    assert precision_recall(x, x[::-1]) == (1, 1)
    assert density_coverage(x, x, k=3) == (0, 0)  # < 0 holds nothing


def test_blocks_do_not_matter(monkeypatch):
    expected = precision_recall(X, Y), density_coverage(X, Y)
    sizes, pairs = [], features.squared_distances

    def counted(a, b):
        sizes.append(len(a) * len(b))
        return pairs(a, b)

    monkeypatch.setattr("translate.evaluation.manifolds.squared_distances", counted)
    monkeypatch.setattr(features, "BLOCK", 1000)
    assert (precision_recall(X, Y), density_coverage(X, Y)) == expected
    assert max(sizes) <= 1000


def test_noise_costs_precision_and_collapse_recall():
    x, y = RNG.normal(size=(600, 4)), RNG.normal(size=(600, 4))
    noise = RNG.normal(size=y.shape)
    noisy = [precision_recall(x, y + scale * noise) for scale in (0, 1, 2, 4)]
    assert [each.precision for each in noisy] == sorted((each.precision for each in noisy), reverse=True)
    collapsed = [precision_recall(x, y * scale).recall for scale in (1, 0.5, 0.2, 0)]
    assert collapsed == sorted(collapsed, reverse=True)
    assert collapsed[0] > 0.8 > 0.2 > collapsed[-1]


def test_prd_curve_by_hand():
    precision, recall = prd_curve(np.array([1, 0]), np.array([0.5, 0.5]))
    assert (precision[500], recall[500]) == pytest.approx((0.5, 0.5))  # the mid-angle
    assert precision == pytest.approx(np.minimum(np.tan(np.linspace(1e-10, np.pi / 2 - 1e-10, 1001)), 0.5))
    assert recall[0] == pytest.approx(1)
    precision, recall = prd_curve(np.array([1, 0]), np.array([0, 1]))
    assert (precision.max(), recall.max()) == (0, 0)
    precision, recall = prd_curve(np.array([0.3, 0.7]), np.array([0.3, 0.7]))
    assert (precision[500:], recall[:501]) == (pytest.approx(1), pytest.approx(1))


@given(st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=2, max_size=8))
def test_prd_curve_of_swapped_distributions(shares):
    p, q = (np.array(side) / (sum(side) or 1) for side in zip(*shares, strict=True))
    precision, recall = prd_curve(p, q, angles=51)
    swapped = prd_curve(q, p, angles=51)
    assert swapped[0] == pytest.approx(recall[::-1], abs=1e-6)
    assert swapped[1] == pytest.approx(precision[::-1], abs=1e-6)
    assert 0 <= precision.min() <= precision.max() <= 1


def test_prd_of_clusters():
    """Three of six classes, each well apart: precision 1 and recall ½."""
    centres = 100 * np.eye(6)
    real = np.repeat(centres, 100, 0) + RNG.normal(size=(600, 6))
    fake = np.repeat(centres[:3], 200, 0) + RNG.normal(size=(600, 6))
    result = prd(real, fake, clusters=6)
    assert result.precision.max() == pytest.approx(1)
    assert result.recall.max() == pytest.approx(0.5)
    assert result.f1_8 > 0.98
    # max over λ of F₈ of the curve α = min(λ/2, 1), β = min(½, 1/λ): at λ = 2
    assert result.f8 == pytest.approx(65 * 0.5 / (64 + 0.5), rel=1e-3)
    assert prd(fake, real, clusters=6)[2:] == pytest.approx((result.f1_8, result.f8), rel=1e-3)


def test_prd_is_seeded_and_blind_to_order():
    first = prd(X, Y, runs=2, seed=3)
    again = prd(RNG.permutation(X), RNG.permutation(Y), runs=2, seed=3)
    assert (first.precision == again.precision).all()
    assert first[2:] == again[2:]
    assert prd(X, Y, runs=2, seed=4)[2:] != first[2:]
    assert 0.5 < first.f8 < 1
    with pytest.raises(EvaluationError, match="19 samples are too few"):
        prd(X[:19], Y)
