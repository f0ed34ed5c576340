import numpy as np
import pytest

from translate.errors import EvaluationError
from translate.evaluation import bootstrap, floor, frechet_distance, precision_recall


@pytest.mark.parametrize("replace", [True, False])
def test_interval_of_a_mean(replace):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, 400)
    value, low, high, deviation = bootstrap(np.mean, x, resamples=2000, replace=replace)
    error = x.std() / 20
    assert value == x.mean()
    assert deviation == pytest.approx(error, rel=0.06)
    assert (value - low, high - value) == pytest.approx((error, error), rel=0.1)
    wide = bootstrap(np.mean, x, resamples=2000, replace=replace, level=0.95)
    assert (wide.high - wide.low) / 2 == pytest.approx(1.96 * error, rel=0.1)
    assert bootstrap(np.mean, x, replace=replace) == bootstrap(np.mean, x, replace=replace)
    assert bootstrap(np.mean, x, replace=replace, seed=1) != bootstrap(np.mean, x, replace=replace)


@pytest.mark.parametrize("replace", [True, False])
def test_the_interval_covers(replace):
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        x, y = rng.exponential(1, 60), rng.exponential(2, 80)
        interval = bootstrap(lambda a, b: b.mean() - a.mean(), x, y, resamples=100, replace=replace)
        inside += interval.low < 1 < interval.high
    assert inside / 300 == pytest.approx(0.68, abs=0.09)


def test_a_bias_is_no_error():
    """Resampling shifts a distance up; the interval stays about the value, and is as wide as the truth."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 20)), rng.normal(0.5, 1, (200, 20))
    interval = bootstrap(frechet_distance, x, y, resamples=100)
    assert interval.low < interval.value < interval.high
    truth = np.std([frechet_distance(rng.normal(size=(200, 20)), rng.normal(0.5, 1, (200, 20))) for _ in range(100)])
    assert interval.deviation == pytest.approx(truth, rel=0.3)


def test_halves_do_not_spoil_neighbours():
    rng = np.random.default_rng(0)

    def drawn():
        return rng.normal(size=(300, 4)), rng.normal(0.7, 1, (300, 4))

    truth = np.std([precision_recall(*drawn()).precision for _ in range(60)])
    interval = bootstrap(lambda a, b: precision_recall(a, b).precision, *drawn(), resamples=60, replace=False)
    assert interval.deviation == pytest.approx(truth, rel=0.4)


def test_rows_stay_together_and_samples_apart():
    pairs = np.stack([np.arange(50), 3.0 * np.arange(50)], 1)
    assert bootstrap(lambda p: np.corrcoef(p.T)[0, 1], pairs).deviation == pytest.approx(0, abs=1e-12)
    assert bootstrap(lambda a, b: (a - b).mean(), pairs, pairs).deviation > 0


def test_floor_of_a_closed_form():
    x = np.random.default_rng(0).normal(0, 3, 2000)

    def difference(a, b):
        assert len(a) == len(b) == 500
        return abs(a.mean() - b.mean())

    interval = floor(difference, x, size=500, repeats=300)
    assert interval.value == pytest.approx(3 * np.sqrt(2 / 500) * np.sqrt(2 / np.pi), rel=0.1)
    assert interval.low < interval.value < interval.high


def test_floor_takes_parts_that_share_nothing():
    def shared(a, b):
        return len(a) + len(np.intersect1d(a, b))

    assert floor(shared, np.arange(101)) == (50, 50, 50, 0)
    assert floor(shared, np.arange(101), size=1000).value == 50


def test_too_little():
    with pytest.raises(EvaluationError, match="3 reference samples are too few"):
        floor(frechet_distance, np.zeros((3, 2)))
    with pytest.raises(EvaluationError, match="at least 2"):
        bootstrap(np.mean, np.zeros(1))
    with pytest.raises(EvaluationError, match="level"):
        bootstrap(np.mean, np.zeros(9), level=68)
