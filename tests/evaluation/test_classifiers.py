import numpy as np
import pytest
from scipy import integrate, stats

from translate.errors import EvaluationError
from translate.evaluation import proxy_a_distance, train_on, two_sample_test


@pytest.mark.parametrize(("model", "rel"), [("logistic", 0.02), ("trees", 0.03)])
def test_two_normals_one_deviation_apart(model, rel):
    rng = np.random.default_rng(1)
    result = two_sample_test(rng.normal(size=40_000), rng.normal(1, 1, 50_000), model=model, permutations=50)

    def entropy(x):
        p = 1 / (1 + np.exp(0.5 - x))  # of the second
        return (stats.norm.pdf(x) + stats.norm.pdf(x, 1)) / 2 * -(p * np.log2(p) + (1 - p) * np.log2(1 - p))

    assert 1 - integrate.quad(entropy, -10, 11)[0] == pytest.approx(0.1607, abs=1e-4)
    assert result.accuracy == pytest.approx(0.6915, rel=rel)
    assert result.auc == pytest.approx(0.7602, rel=rel)
    assert result.jsd == pytest.approx(0.1607, rel=0.1)
    assert (result.p_value, result.tested) == (1 / 51, 16_000)
    assert proxy_a_distance(1 - 0.6915) == pytest.approx(0.766, abs=1e-3)


def test_p_value_is_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    values = [two_sample_test(*rng.normal(size=(2, 60, 3)), permutations=99).p_value for _ in range(60)]
    assert stats.kstest(values, "uniform").pvalue > 0.001


def test_only_trees_see_what_is_not_linear():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 2)), rng.normal(0, 2, (2000, 2))
    assert two_sample_test(x, y).auc < 0.55
    assert two_sample_test(x, y, model="trees").auc > 0.7


def test_sets_apart():
    rng = np.random.default_rng(0)
    result = two_sample_test(rng.normal(size=(500, 2)), rng.normal(20, 1, (500, 2)))
    assert result[:2] == (1, 1)
    assert 0.9 < result.jsd <= 1
    assert result.p_value == 1 / 1001


def test_seeded_blind_to_order_and_stronger_with_a_shift():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 400, 3))
    results = [two_sample_test(x, y + shift) for shift in (0, 0.5, 1, 2)]
    assert [each.auc for each in results] == sorted(each.auc for each in results)
    assert two_sample_test(rng.permutation(x), rng.permutation(y + 0.5)) == results[1]
    assert two_sample_test(x, y + 0.5, seed=1) != results[1]
    assert all(0 <= each.jsd <= 1 for each in results)


@pytest.mark.parametrize("model", ["logistic", "trees"])
def test_train_on(model):
    rng = np.random.default_rng(0)

    def drawn(count, classes):
        labels = rng.integers(0, classes, count)
        return np.eye(3)[labels] * 8 + rng.normal(size=(count, 3)), labels

    real, other, collapsed = drawn(600, 3), drawn(300, 3), drawn(600, 2)
    ceiling = train_on(*real, *other, model=model)
    assert ceiling.accuracy > 0.98
    assert ceiling.classes.keys() == {0, 1, 2}
    gan_train = train_on(*collapsed, *other, model=model)
    assert gan_train.accuracy == pytest.approx((other[1] < 2).mean(), abs=0.02)
    assert gan_train.classes[2] == 0
    assert train_on(*real, *collapsed, model=model).accuracy > 0.98  # GAN-test does not see what is missing
    assert train_on(*real, other[0], rng.permutation(other[1]), model=model).accuracy == pytest.approx(1 / 3, abs=0.1)


def test_labels_that_do_not_fit():
    x, y = np.zeros((5, 2)), np.arange(5)
    for labels, tested in ((np.zeros(5), y), (y[:4], y), (y, y[:4])):
        with pytest.raises(EvaluationError, match="one label a sample"):
            train_on(x, labels, x, tested)
