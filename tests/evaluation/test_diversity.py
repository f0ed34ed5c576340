import itertools

import numpy as np
import pytest

from translate.errors import EvaluationError
from translate.evaluation import birthday, copying, different_bins, features, nearest
from translate.evaluation.diversity import class_coverage, same_below, spread

RNG = np.random.default_rng(0)


def test_different_bins_without_a_difference():
    found = [different_bins(*RNG.normal(size=(2, 2000, 4)), bins=50, seed=seed).different for seed in range(8)]
    assert 0.5 < np.mean(found) < 6  # α · K is 2.5


def test_a_missing_mode_is_a_different_bin():
    centres = 100 * np.eye(10)
    real = np.repeat(centres, 50, 0) + RNG.normal(size=(500, 10))
    fake = np.concatenate([np.repeat(centres[1:], 50, 0), centres[1:]]) + RNG.normal(size=(459, 10))
    result = different_bins(real, fake, bins=10)
    assert (result.different, result.bins) == (1, 10)
    pooled = 50 / 959
    assert result.z.min() == pytest.approx(-0.1 / np.sqrt(pooled * (1 - pooled) * (1 / 500 + 1 / 459)))
    again = different_bins(RNG.permutation(real), RNG.permutation(fake), bins=10)
    assert again.different == 1
    assert different_bins(real, real.copy(), bins=10).different == 0


def test_birthday_finds_the_size_of_the_support():
    atoms = RNG.normal(size=(500, 6))
    result = birthday(atoms[RNG.integers(0, 500, 600)], 1e-6)
    assert result.support == pytest.approx(2 * np.log(2) * 500, rel=0.2)
    size = int(np.sqrt(2 * np.log(2) * 500))  # where half of all batches hold a pair
    assert 1 - np.prod(1 - np.arange(size) / 500) == pytest.approx(0.5, abs=0.02)
    assert 0.8 * result.support < result.at_least < result.support


def test_birthday_without_a_pair():
    result = birthday(RNG.normal(size=(300, 6)), 1e-9)
    assert (result.pairs, result.support) == (0, np.inf)
    assert result.at_least == pytest.approx(2 * np.log(2) * 300 * 299 / 2 / 2.9957, rel=1e-4)


@pytest.mark.parametrize("block", [2**22, 70])
def test_birthday_shows_the_closest_pairs(block, monkeypatch):
    monkeypatch.setattr(features, "BLOCK", block)
    x = np.random.default_rng(1).normal(size=(60, 4))
    x[41] = x[17] + 1e-3
    result = birthday(x, 0.01, keep=5)
    assert result.pairs == 1
    assert result.closest[0].tolist() == [17, 41]
    assert result.distances[0] == pytest.approx(2e-3)
    pairs = sorted((np.linalg.norm(x[i] - x[j]), i, j) for i, j in itertools.combinations(range(60), 2))
    assert [(i, j) for _, i, j in pairs[:5]] == [tuple(pair) for pair in result.closest]
    assert result.distances == pytest.approx([distance for distance, _, _ in pairs[:5]])
    assert birthday(x[:3], 0.01).closest.tolist() != []
    assert len(birthday(x[:3], 0.01).closest) == 3


def test_same_below_is_a_share_of_real_neighbours():
    line = np.cumsum(np.arange(1.0, 102))  # gaps of 2, 3, 4 …: nearest neighbours at 2, 2, 3, 4 …
    assert same_below(line, quantile=0.5) == pytest.approx(51)
    assert same_below(line) == pytest.approx(2)


def test_nearest_by_hand():
    found = nearest(np.array([[0.0], [10.0]]), np.array([[9.0], [-2.0], [1.0]]), k=2)
    assert found.indices.tolist() == [[2, 1], [0, 2]]
    assert found.distances == pytest.approx(np.array([[1, 2], [1, 9]]))


def test_copying_is_seen():
    train, test, fresh = RNG.normal(size=(400, 8)), RNG.normal(size=(300, 8)), RNG.normal(size=(500, 8))
    honest = copying(fresh, train, test)
    assert honest == pytest.approx((0.5, 0.5), abs=0.07)
    copied = copying(np.repeat(train[:300], 2, 0) + 0.01 * RNG.normal(size=(600, 8)), train, test)
    assert copied.auc > 0.8
    assert copied.nearer > 0.7  # of the 400 training samples 300 are taken
    assert copying(train, train, np.concatenate([test, test + 1e-9])).nearer > 0.99
    assert copying(fresh, RNG.permutation(train), RNG.permutation(test)) == honest
    assert copying(fresh, train, train).nearer == pytest.approx(0.5, abs=0.03)  # the order of what is equal
    assert copying(fresh, train, train).auc < 0.01  # test samples that are training samples


def test_copies_of_a_few_of_many_are_seen():
    train, test = RNG.normal(size=(4000, 8)), RNG.normal(size=(200, 8))
    copied = copying(np.repeat(train[:50], 4, 0) + 0.01 * RNG.normal(size=(200, 8)), train, test)
    assert copied.auc > 0.99
    assert copied.nearer < 0.7  # of the 200 training samples that are compared two or three are among the 50


def test_class_coverage_by_hand():
    reference = np.repeat([0, 1, 2, 3], 25)
    assert class_coverage(reference, reference) == (4, 0)
    assert class_coverage(reference, np.repeat([0, 2], 30)) == pytest.approx((2, np.log(2)))
    assert class_coverage(reference, np.repeat([0, 2], [98, 2])).covered == 1  # 2 % are less than a tenth of a quarter
    with pytest.raises(EvaluationError, match="classes that the reference does not have"):
        class_coverage(reference, np.array([7]))


def test_spread_over_seeds():
    outputs = np.array([[0, 1, 3], [5, 5, 5]])[..., None] * np.ones(4)  # |differences| 1, 3, 2
    assert spread(outputs.reshape(2, 3, 2, 2)).tolist() == [2, 0]
    with pytest.raises(EvaluationError, match="at least 2"):
        spread(outputs[:, :1])
