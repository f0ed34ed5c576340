"""Rows of metrics: the value of the pure function, an interval that holds, a floor, warnings."""

import numpy as np
import pytest

from translate.evaluation import NEEDED
from translate.evaluation.distributions import frechet_distance, kernel_distance
from translate.evaluation.manifolds import precision_recall
from translate.evaluation.measure import METRICS, Labelled, measure, of_values
from translate.evaluation.spaces import Extracted


def gaussian(count: int, shift: float = 0.0, seed: int = 0, columns: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, columns)).astype(np.float32)


def labelled(values: np.ndarray, labels: np.ndarray | None = None) -> Labelled:
    return Labelled(Extracted(values), labels)


def test_a_row_has_the_value_of_the_function_and_real_against_real() -> None:
    x, y = gaussian(600), gaussian(300, 1, 1)
    rows = measure(["fd", "kd", "precision_recall"], "pixels", labelled(x), labelled(y))
    assert list(rows) == ["fd[pixels]", "kd[pixels]", "precision[pixels]", "recall[pixels]"]
    row = rows["fd[pixels]"]
    assert row.value == frechet_distance(x, y)
    assert rows["kd[pixels]"].value == kernel_distance(x, y).mean
    assert (rows["precision[pixels]"].value, rows["recall[pixels]"].value) == precision_recall(x, y)
    assert (row.generated, row.reference, row.needed, row.rising) == (300, 600, NEEDED["frechet_distance"], False)
    assert row.beside is not None
    assert row.beside.pictures == 300
    assert row.beside.value < 0.1 < row.value  # one distribution against itself; 2 apart
    assert "300 pictures where 10,000 are needed" in row.warning


@pytest.mark.parametrize(
    ("name", "shift", "count"), [("fd", 1.0, 400), ("sliced_wasserstein", 1.0, 400), ("precision_recall", 1.5, 500)]
)
def test_the_deviation_is_that_of_new_samples(name: str, shift: float, count: int) -> None:
    """Against the spread over 40 independent draws of both sets: as sure as 20 halves are, within a factor of 1.7."""
    metric = METRICS[name]
    draws = [metric.compute(gaussian(count, 0, seed), gaussian(count, shift, seed + 1000))[0] for seed in range(40)]
    found = [
        measure([name], "x", labelled(gaussian(count, 0, seed)), labelled(gaussian(count, shift, seed + 1000)))
        for seed in range(3)
    ]
    deviations = [next(iter(rows.values())).deviation for rows in found]
    assert np.std(draws) / 1.7 < np.mean(deviations) < 1.7 * np.std(draws)


def test_intervals_of_shares_are_shares() -> None:
    far = measure(["two_sample", "precision_recall"], "x", labelled(gaussian(60)), labelled(gaussian(60, 8, 1)))
    for row in far.values():
        assert row.low is None or 0 <= row.low <= row.value <= row.high <= 1
    assert far["two_sample_auc[x]"].high == 1
    assert far["precision[x]"].low == 0
    (distance,) = measure(["fd"], "x", labelled(gaussian(60)), labelled(gaussian(60, 8, 1))).values()
    assert distance.high > 1


def test_a_part_of_the_samples_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = labelled(gaussian(1600)), labelled(gaussian(1600, 1, 1))
    (whole,) = measure(["sliced_wasserstein"], "x", x, y).values()
    monkeypatch.setitem(METRICS, "sliced_wasserstein", METRICS["sliced_wasserstein"]._replace(most=400))
    (part,) = measure(["sliced_wasserstein"], "x", x, y).values()
    assert whole.deviation is not None
    assert part.deviation is not None
    assert 0.5 < part.deviation / whole.deviation < 2


def test_the_order_of_samples_is_the_same_each_time() -> None:
    x, y = labelled(gaussian(200)), labelled(gaussian(200, 1, 1))
    names = ["fd", "kd", "two_sample", "density_coverage", "energy"]
    assert measure(names, "x", x, y) == measure(names, "x", x, y)


def test_inceptions_names_are_the_published_ones() -> None:
    rows = measure(["fd", "kd", "energy"], "inception-v3-tf", labelled(gaussian(60)), labelled(gaussian(60)))
    assert list(rows) == ["fid[inception-v3-tf]", "kid[inception-v3-tf]", "energy[inception-v3-tf]"]


def test_metrics_of_classes() -> None:
    """Three classes at known places; the generator never makes the third, and half of the second are called first."""
    real = np.repeat([0, 1, 2], 100)
    asked = np.repeat([0, 1], 100)
    named = np.where(np.arange(200) < 150, 0, 1)
    rng = np.random.default_rng(0)
    x = Labelled(Extracted(rng.normal(real[:, None], 0.1, (300, 2)), np.eye(3)[real]), real)
    y = Labelled(Extracted(rng.normal(named[:, None], 0.1, (200, 2)), np.eye(3)[named]), asked)
    rows = measure(["inception_score", "classes", "gan_test", "train_on"], "c", x, y)
    shares = np.array([0.75, 0.25])
    assert rows["classes_covered[c]"].value == 2
    assert rows["class_kl[c]"].value == pytest.approx((shares * np.log(shares * 3)).sum())
    assert rows["inception_score[c]"].value == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert rows["gan_test[c]"].value == 0.75
    assert rows["gan_test[c]"].beside is not None
    assert rows["gan_test[c]"].beside.value == 1
    assert rows["train_on_synthetic[c]"].value < 0.7  # of three classes one was never seen
    assert rows["train_on_real[c]"].beside is not None
    assert rows["train_on_real[c]"].beside.value > 0.98
    assert list(measure(["classes", "gan_test", "train_on"], "c", labelled(gaussian(30)), y)) == []


def test_copies_are_nearer_to_training() -> None:
    training, test = gaussian(300, seed=1, columns=8), gaussian(300, seed=2, columns=8)
    copies = training[:200] + gaussian(200, seed=3, columns=8) / 50
    for made, copied in ((copies, True), (gaussian(200, seed=4, columns=8), False)):
        rows = measure(["copying"], "x", labelled(test), labelled(made), labelled(training))
        assert (rows["nearer_to_training[x]"].value > 0.9) is copied
        assert (rows["copying_auc[x]"].value > 0.9) is copied
    assert measure(["copying"], "x", labelled(test), labelled(copies)) == {}


def test_too_few_pictures_have_a_value_and_no_interval() -> None:
    rows = measure(["prd"], "x", labelled(gaussian(24)), labelled(gaussian(24, seed=1)))
    row = rows["prd_f8[x]"]
    assert row.deviation is None
    assert row.low is None
    assert row.beside is None
    assert row.warning


def test_a_number_a_picture() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    row = of_values(values, rising=True, beside=np.array([1.0, 2.0]), what="unchanged input")
    assert row.value == values.mean()
    assert row.deviation == pytest.approx(values.std() / 20, rel=0.15)
    assert row.low is not None
    assert row.low < row.value
    assert row.beside is not None
    assert (row.beside.what, row.beside.value) == ("unchanged input", 1.5)
    assert of_values(values[:1], rising=True).low is None
