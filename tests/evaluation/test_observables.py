import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from translate.errors import EvaluationError
from translate.evaluation.observables import (
    auc,
    chi_squared,
    histogram,
    kolmogorov_smirnov,
    moments,
    separation,
    wasserstein,
)

EDGES = np.linspace(-12, 13, 5001)
P, Q = (np.diff(stats.norm.cdf(EDGES, mean)) for mean in (0, 1))  # two normals, one σ apart


def test_separation_of_normals():
    assert separation(P, Q) == pytest.approx(0.2041, abs=5e-5)
    assert separation(Q, 7 * P) == pytest.approx(separation(P, Q))
    assert separation(np.array([3, 0, 0]), np.array([0, 0, 5])) == 1
    assert separation(P, P) == 0


def test_separation_is_that_of_samples():
    rng = np.random.default_rng(0)
    _, x, y = histogram(rng.normal(size=100_000), rng.normal(1, 1, 100_000), 100)
    assert separation(x, y) == pytest.approx(0.2041, abs=0.005)


def test_histogram_keeps_what_is_outside():
    edges, x, y = histogram(np.array([-5, 0, 0.5, 1, 2.0]), np.array([0.5, 9, np.nan, np.inf]), np.array([0, 1, 2]))
    assert x.tolist() == [1, 2, 1, 1]  # [0, 1), [1, 2), from 2
    assert y.tolist() == [0, 1, 0, 2]
    edges, x, y = histogram(np.arange(1001), np.arange(-500, 501))
    assert (len(edges), len(x), x.sum(), y.sum()) == (51, 52, 1001, 1001)
    assert (edges[0], edges[-1]) == (5, 995)
    assert (x[0], x[-1], y[0]) == (5, 6, 505)
    edges, x, _ = histogram(np.zeros(10), np.zeros(10), 4)
    assert x.tolist() == [0, 10, 0, 0, 0, 0]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=2, max_size=10))
def test_chi_squared_is_that_of_the_table(counts):
    a, b = np.array(counts).T
    a[0] += 1
    theirs = stats.chi2_contingency(np.stack([a, b]), correction=False)
    assert chi_squared(a, b) == pytest.approx((theirs.statistic, theirs.dof, theirs.pvalue), abs=1e-9)


def test_chi_squared_leaves_out_empty_bins():
    assert chi_squared(np.array([10, 0, 20]), np.array([12, 0, 18])).degrees == 1
    assert chi_squared(np.array([10, 0]), np.array([20, 0])) == (0, 0, 1)


def test_distances_of_a_shift():
    x = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert wasserstein(x, x + 0.7) == pytest.approx(0.7)
    assert wasserstein(x, 2 * x) == pytest.approx(np.sqrt(2 / np.pi), rel=1e-3)
    statistic, p = kolmogorov_smirnov(x, x + 1)
    assert statistic == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=1e-3)
    assert p < 1e-300
    assert kolmogorov_smirnov(x, x) == (0, 1)
    assert auc(x, x + 1) == pytest.approx(0.7602, abs=1e-4)


def test_p_values_are_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    values = [
        (
            kolmogorov_smirnov(*(pair := rng.normal(size=(2, 500)))).p_value,
            chi_squared(*histogram(*pair, np.linspace(-2, 2, 9))[1:]).p_value,
        )
        for _ in range(200)
    ]
    for column in np.array(values).T:
        assert stats.kstest(column, "uniform").pvalue > 0.001


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-5, 5), min_size=1))
def test_auc_counts_pairs(x, y):
    x, y = np.array(x), np.array(y)
    pairs = (x[:, None] < y).mean() + (x[:, None] == y).mean() / 2
    assert auc(x, y) == pytest.approx(pairs)
    assert auc(y, x) == pytest.approx(1 - pairs)


def test_moments():
    x = stats.gamma.ppf((np.arange(100_000) + 0.5) / 100_000, 4)  # skewness 2/√4, kurtosis 6/4
    assert moments(x) == pytest.approx((4, 2, 1, 1.5), rel=0.02)
    assert moments(np.append(x, np.nan)) == moments(x)
    assert moments(np.ones(3)) == (1, 0, 0, 0)


def test_nothing_to_compare():
    with pytest.raises(EvaluationError, match="empty"):
        wasserstein(np.array([np.nan]), np.ones(3))
