import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from translate.errors import EvaluationError
from translate.evaluation import (
    Gaussian,
    energy_distance,
    features,
    frechet_distance,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

DISTANCES = [frechet_distance, energy_distance, sliced_wasserstein, mmd]


def normal(seed, count, columns, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (count, columns))


def correlated(seed, count, columns):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, columns)) @ rng.normal(size=(columns, columns)) + rng.normal(size=columns)


def test_frechet_equals_torch_fidelity():
    x, y = correlated(0, 400, 50), correlated(1, 300, 50)
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), verbose=False)
    assert frechet_distance(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-9)
    x, y = x.astype(np.float32), y.astype(np.float32)  # as a network gives them
    theirs = fid_statistics_to_metric(*(fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y)), verbose=False)
    assert frechet_distance(x, y) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


def test_frechet_with_fewer_samples_than_numbers():
    x, y = correlated(0, 30, 50), correlated(1, 400, 50)
    covariances = [np.cov(z, rowvar=False) for z in (x, y)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    trace = np.trace(sqrtm(root @ covariances[1] @ root + 1e-12 * np.eye(50)).real)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * trace
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_frechet_of_gaussians_in_closed_form():
    x, y = normal(0, 100, 1), normal(1, 150, 1, 3, 2)
    expected = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(x[:, 0], y[:, 0]) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(np.full((100, 2), 2.0), np.zeros((100, 2))) == pytest.approx(8)
    assert frechet_distance(Gaussian.of(x), y) == frechet_distance(x, Gaussian.of(y)) == frechet_distance(x, y)


def test_frechet_at_infinity_has_no_bias():
    x, y = normal(0, 2000, 20), normal(1, 2000, 20)
    biased, value = frechet_distance(x, y), frechet_infinity(x, y, repeats=2)
    assert biased > 0.1
    assert abs(value.value) < 0.03
    assert 0 < value.deviation < 0.05
    assert frechet_infinity(x, y, repeats=2) == value
    assert frechet_infinity(x, y, repeats=2, seed=1) != value
    x, y = normal(0, 6000, 20), normal(1, 6000, 20, 0.3)
    assert frechet_infinity(x, y).value == pytest.approx(20 * 0.09, rel=0.05)


@pytest.mark.parametrize("degree", [3, 4])
def test_kernel_distance_equals_torch_fidelity(degree):
    x, y = correlated(0, 300, 20), correlated(1, 250, 20)
    theirs = kid_features_to_metric(
        *map(torch.from_numpy, (x, y)),
        kid_subsets=7,
        kid_subset_size=100,
        kid_kernel_poly_degree=degree,
        rng_seed=5,
        verbose=False,
    )
    ours = kernel_distance(x, y, subsets=7, subset_size=100, degree=degree, seed=5)
    assert ours.mean == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-9)


def test_kernel_distance_of_small_sets_takes_them_whole():
    x, y = normal(0, 40, 3), normal(1, 50, 3, 1)
    assert kernel_distance(x, y[:40], subsets=2).mean == pytest.approx(mmd(x, y[:40], kernel="polynomial"))
    assert kernel_distance(x, y[:40], subsets=2).deviation == pytest.approx(0)


def test_mmd_of_gaussians_in_closed_form():
    x, y = normal(0, 4000, 3), normal(1, 4000, 3, 0.5)
    # E k = (s²/(s² + 2))^(D/2) exp(−‖Δ‖²/(2 (s² + 2))) with σ = 1 in both
    between = (4 / 6) ** 1.5 * np.exp(-3 * 0.25 / 12)
    assert mmd(x, y, bandwidth=2) == pytest.approx(2 * (4 / 6) ** 1.5 - 2 * between, rel=0.1)
    # (ab + 1)³ of moments 0, 1, 0 against 1, 2, 4: 3·1 + 3·1 + 16
    assert mmd(normal(0, 4000, 1), normal(1, 4000, 1, 1), kernel="polynomial") == pytest.approx(22, rel=0.1)


def test_mmd_has_no_bias():
    values = [mmd(normal(seed, 40, 5), normal(100 + seed, 40, 5)) for seed in range(60)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(60)
    assert min(values) < 0


def test_mmd_by_default_has_the_bandwidth_of_the_spread():
    x, y = normal(0, 50, 4), normal(1, 60, 4, 2)
    both = np.concatenate([x, y])
    squared = np.square(both[:, None] - both).sum(2).mean()
    assert mmd(x, y) == pytest.approx(mmd(x, y, bandwidth=np.sqrt(squared / 2)))


def test_energy_distance_is_scipys_in_one_dimension():
    x, y = normal(0, 70, 1), normal(1, 90, 1, 0.5)
    assert energy_distance(x, y) == pytest.approx(stats.energy_distance(x[:, 0], y[:, 0]), rel=1e-9)
    # E|N(m, s²)| is the mean of a folded normal
    exact = 2 * stats.foldnorm.mean(1 / np.sqrt(2), scale=np.sqrt(2)) - 4 / np.sqrt(np.pi)
    assert energy_distance(normal(0, 3000, 1), normal(1, 3000, 1, 1)) ** 2 == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(("p", "sizes"), [(2, (60, 60)), (1, (60, 45)), (2, (60, 47))])
def test_sliced_wasserstein_equals_pot(p, sizes):
    import ot

    x, y = correlated(0, sizes[0], 6), correlated(1, sizes[1], 6)
    directions = np.random.default_rng(3).standard_normal((70, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    theirs = ot.sliced_wasserstein_distance(x, y, p=p, projections=directions.T)
    assert sliced_wasserstein(x, y, projections=70, p=p, seed=3) == pytest.approx(theirs, rel=1e-9)


def test_sliced_wasserstein_of_shifted_samples_in_closed_form():
    x = normal(0, 500, 4)
    assert sliced_wasserstein(x, x + 0.7, projections=5000) ** 2 == pytest.approx(0.49, rel=0.05)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score_equals_torch_fidelity(splits):
    logits = 2 * normal(0, 503, 10)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=4)
    ours = inception_score(torch.from_numpy(logits).softmax(1).numpy(), splits=splits, seed=4)
    assert ours == pytest.approx(tuple(theirs.values()), rel=1e-9)


def test_inception_score_at_its_ends():
    assert inception_score(np.full((50, 5), 0.2)) == pytest.approx((1, 0))
    assert inception_score(np.tile(np.eye(5), (40, 1)), splits=1).mean == pytest.approx(5)
    with pytest.raises(EvaluationError, match="sum to 1"):
        inception_score(normal(0, 50, 5))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(2, 40), st.integers(1, 6), st.booleans())
def test_distances_are_distances(seed, n, m, columns, rounded):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, columns)), rng.normal(0.5, 2, size=(m, columns))
    if rounded:  # many equal values
        x, y = x.round(), y.round()
    for distance in DISTANCES:
        value = distance(x, y)
        assert distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-9)
        assert distance(rng.permutation(x), rng.permutation(y)) == pytest.approx(value, rel=1e-9, abs=1e-9)
        if distance is not mmd:  # which has no bias instead
            assert value >= 0
            assert distance(x, x.copy()) == pytest.approx(0, abs=1e-6)
    assert mmd(x, x.copy()) <= 1e-12
    assert mmd(x, y) <= 2


@pytest.mark.parametrize("distance", [*DISTANCES, lambda x, y: kernel_distance(x, y, subsets=3).mean])
def test_distances_grow_with_noise_and_blur(distance):
    rng = np.random.default_rng(0)
    images = gaussian_filter(rng.normal(size=(500, 8, 8)), (0, 1, 1))
    half, other = images[:250].reshape(250, -1), images[250:]
    noisy = [distance(half, other.reshape(250, -1) + s * rng.normal(size=half.shape)) for s in (0, 0.4, 0.8, 1.6)]
    assert noisy == sorted(noisy)
    blurred = [distance(half, gaussian_filter(other, (0, s, s)).reshape(250, -1)) for s in (0, 0.5, 1, 2)]
    assert blurred == sorted(blurred)


@pytest.mark.parametrize("distance", [energy_distance, mmd])
def test_no_array_of_all_pairs(distance, monkeypatch):
    x, y = normal(0, 90, 3), normal(1, 70, 3)
    expected, sizes, pairs = distance(x, y), [], features.squared_distances

    def counted(a, b):
        sizes.append(len(a) * len(b))
        return pairs(a, b)

    monkeypatch.setattr("translate.evaluation.distributions.squared_distances", counted)
    monkeypatch.setattr(features, "BLOCK", 500)
    assert distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert max(sizes) <= 500


def test_squared_distances_far_from_the_origin():
    x = 1e6 + normal(0, 50, 8)
    x[7] = x[3]
    found = features.squared_distances(x, x)
    assert (found.diagonal() == 0).all()
    assert found[3, 7] == 0
    assert found == pytest.approx(np.square(x[:, None] - x).sum(2), rel=1e-6)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((1, 3)), "1 samples are too few"),
        (np.zeros((9, 4)), "features of 4 and 3 numbers cannot be compared"),
        (np.full((9, 3), np.nan), "9 of 9 samples are not finite"),
        (np.zeros((9, 3, 2)), r"an array of shape \[9, 3, 2\]"),
    ],
)
def test_what_cannot_be_compared(x, message):
    for distance in (energy_distance, kernel_distance):
        with pytest.raises(EvaluationError, match=message):
            distance(x, np.ones((9, 3)))
