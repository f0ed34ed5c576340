import numpy as np
import pytest
from scipy.stats import norm

from translate.errors import EvaluationError
from translate.evaluation import adaptation as a


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("model", ["logistic", "trees"])
def test_probe_of_two_normals_one_sigma_apart(rng, model):
    """The best error is Φ(−½) = 0.3085: A-distance 0.766 (physics.md, sec. 4)."""
    source, target = rng.normal(0, 1, (6000, 1)), rng.normal(1, 1, (6000, 1))
    probe = a.domain_probe(source, target, model=model)
    assert probe.tested == 4800
    assert probe.error == pytest.approx(norm.cdf(-0.5), abs=0.025)
    assert probe.distance.value == pytest.approx(2 * (1 - 2 * probe.error))
    assert probe.distance.low < 0.766 < probe.distance.high + 0.05
    width = 4 * 1.96 * np.sqrt(0.3085 * 0.6915 / 4800)  # of the binomial error, on either side
    assert probe.distance.high - probe.distance.low == pytest.approx(2 * width, rel=0.15)


@pytest.mark.parametrize("model", ["logistic", "trees"])
def test_probe_of_nothing_and_of_everything(rng, model):
    same = rng.normal(0, 1, (2000, 100))  # more features than components
    probe = a.domain_probe(same[:1000], same[1000:], model=model)
    assert probe.distance.low < 0 < probe.distance.high
    apart = a.domain_probe(same[:1000], same[1000:] + 5, model=model)
    assert apart.distance.value > 1.97


def test_probe_sees_equal_counts(rng):
    """An always-target answer must not look good where there are more of the target."""
    probe = a.domain_probe(rng.normal(0, 1, (100, 2)), rng.normal(0, 1, (5000, 2)))
    assert probe.tested == 80
    assert abs(probe.distance.value) < 0.6
    with pytest.raises(EvaluationError, match="9 examples of a domain are too few"):
        a.domain_probe(np.zeros((9, 2)), np.zeros((50, 2)))


def test_density_ratio_of_two_normals(rng):
    """p_t/p_s = exp(x − ½) for N(1, 1) against N(0, 1), whatever the counts."""
    at = np.linspace(-2, 3, 11)[:, None]
    ratio = a.density_ratio(rng.normal(0, 1, (40000, 1)), rng.normal(1, 1, (20000, 1)), at)
    np.testing.assert_allclose(np.log(ratio), at[:, 0] - 0.5, atol=0.12)


def test_dev_estimates_the_loss_on_the_target(rng):
    """Loss x² under N(0, 1) reweighted to N(1, 1): E = 2, with less spread than plain weighting."""
    values, plain, effective = [], [], []
    for _ in range(200):
        x = rng.normal(0, 1, 1000)
        weights = np.exp(x - 0.5)
        risk = a.deep_embedded_validation(x**2, weights)
        values.append(risk.value)
        plain.append((weights * x**2).mean())
        effective.append(risk.effective)
    assert np.mean(values) == pytest.approx(2, abs=0.1)
    assert np.std(values) < 0.8 * np.std(plain)
    assert np.median(effective) == pytest.approx(1000 / np.e, rel=0.1)  # E w = 1, E w² = e
    even = a.deep_embedded_validation(np.array([1.0, 2, 6]), np.ones(3))
    assert even == (3.0, 3.0)


def test_entropy_and_information():
    sure, unsure = np.eye(4), np.full((6, 4), 0.25)
    assert a.entropy(sure) == 0
    assert a.entropy(unsure) == pytest.approx(np.log(4))
    assert a.information(sure) == pytest.approx(np.log(4))
    assert a.information(unsure) == pytest.approx(0)
    assert a.information(np.tile([1.0, 0, 0, 0], (9, 1))) == 0  # collapsed, although its entropy is the least


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    probabilities = np.stack([confidence, 1 - confidence], 1)
    labels = np.array([0, 0, 0, 1, 0, 1])  # ¾ right at 0.95, ½ at 0.55
    assert a.calibration_error(probabilities, labels) == pytest.approx(4 / 6 * 0.2 + 2 / 6 * 0.05)


def test_calibrated_probabilities_are_calibrated(rng):
    p = rng.random(200_000)
    labels = (rng.random(len(p)) < p).astype(int)
    assert a.calibration_error(np.stack([1 - p, p], 1), labels) < 0.005
    assert a.calibration_error(np.stack([1 - p, p], 1) ** 4 / ((1 - p) ** 4 + p**4)[:, None], labels) > 0.1


def test_priors_are_found(rng):
    """Two normals one σ apart: half and half in the source, 80 to 20 in the target."""

    def drawn(priors, count):
        labels = (rng.random(count) < priors[1]).astype(int)
        x = rng.normal(labels, 1)
        odds = np.exp(x - 0.5)  # of class 1 under equal priors
        return labels, np.stack([1 / (1 + odds), odds / (1 + odds)], 1)

    labels, source = drawn((0.5, 0.5), 50_000)
    _, target = drawn((0.8, 0.2), 50_000)
    assert target.argmax(1).mean() > 0.35  # counting alone is far off
    em = a.priors_by_em(target, np.array([0.5, 0.5]))
    np.testing.assert_allclose(em, [0.8, 0.2], atol=0.015)
    bbse = a.priors_by_confusion(source.argmax(1), labels, target.argmax(1), 2)
    np.testing.assert_allclose(bbse, [0.8, 0.2], atol=0.02)
    assert (em.sum(), bbse.sum()) == pytest.approx((1, 1))
