"""What a classifier, trained here and tested on samples that it has not seen, says about two sets."""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError
from translate.evaluation.features import Features, checked, ordered
from translate.evaluation.observables import auc

Model = Literal["logistic", "trees"]


class TwoSample(NamedTuple):
    accuracy: float  # ½ where the sets cannot be told apart
    auc: float
    jsd: float  # Jensen-Shannon divergence in units of ln 2: 0 equal, 1 disjoint; a lower bound
    p_value: float  # of the AUC, under equal distributions
    tested: int  # samples, half of each set


class Trained(NamedTuple):
    accuracy: float
    classes: dict[int, float]  # the accuracy in each class of the test set


def two_sample_test(
    x: Features, y: Features, *, model: Model = "logistic", permutations: int = 1000, seed: int = 0
) -> TwoSample:
    """Lopez-Paz & Oquab 2017, with equal counts: 60 % train, 20 % calibrate, 20 % test.

    JSD = (ln 2 − BCE)/ln 2 of the isotonically calibrated score: CaloChallenge. The p-value permutes the labels of the
    test samples, which is exact, and no lower than 1/(permutations + 1). No test without power: at 20 % of n samples
    the deviation of the accuracy is ½/√(0.4 n).
    """
    from scipy.stats import rankdata
    from sklearn.isotonic import IsotonicRegression

    x, y = checked(x, y, least=10)
    rng, count = np.random.default_rng(seed), min(len(x), len(y))
    x, y = (ordered(sample)[rng.permutation(len(sample))[:count]] for sample in (x, y))
    train, held, test = (slice(0, 3 * count // 5), slice(3 * count // 5, 4 * count // 5), slice(4 * count // 5, count))

    def part(rows: slice) -> tuple[NDArray[Any], NDArray[np.int64]]:
        return np.concatenate([x[rows], y[rows]]), np.repeat([0, 1], len(x[rows]))

    fitted = new_classifier(model, seed).fit(*part(train))
    features, labels = part(held)
    edge = 1 / (len(labels) + 2)  # no probability is surer than the calibration sample allows
    isotonic = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    isotonic.fit(fitted.predict_proba(features)[:, 1], labels)

    features, labels = part(test)
    scores = fitted.predict_proba(features)[:, 1]
    calibrated = isotonic.predict(scores)
    entropy = -np.log(np.where(labels == 1, calibrated, 1 - calibrated)).mean()
    ranks = rankdata(scores)
    sums = [rng.permutation(ranks)[labels == 1].sum() for _ in range(permutations)]
    as_far = int((np.array(sums) >= ranks[labels == 1].sum()).sum())
    return TwoSample(
        float(((scores > 0.5) == labels).mean()),
        auc(scores[labels == 0], scores[labels == 1]),
        max(0.0, float(1 - entropy / np.log(2))),
        (1 + as_far) / (1 + permutations),
        len(labels),
    )


def proxy_a_distance(error: float) -> float:
    """2(1 − 2ε) of a domain classifier's error ε: Ganin et al. 2016, sec. 5.2; 0 inseparable, 2 apart."""
    return 2 * (1 - 2 * error)


def train_on(
    train_x: Features,
    train_y: NDArray[Any],
    test_x: Features,
    test_y: NDArray[Any],
    *,
    model: Model = "logistic",
    seed: int = 0,
) -> Trained:
    """Accuracy on one labelled set of a classifier trained on another; labels are classes [N].

    Trained on generated, tested on real: diversity and fidelity (GAN-train of Shmelkov et al. 2018, TSTR of Esteban et
    al. 2017). Trained on real, tested on generated: fidelity (GAN-test). Real on other real is the ceiling of both.
    """
    train_x, test_x = checked(train_x, test_x)
    if len(np.unique(train_y)) < 2 or len(train_y) != len(train_x) or len(test_y) != len(test_x):
        raise EvaluationError("training on a set needs one label a sample, of at least 2 classes")
    right = new_classifier(model, seed).fit(train_x, train_y).predict(test_x) == test_y
    return Trained(
        float(right.mean()), {int(label): float(right[test_y == label].mean()) for label in np.unique(test_y)}
    )


def new_classifier(model: Model, seed: int) -> Any:
    """An untrained one, with `fit`, `predict` and `predict_proba`."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if model == "trees":
        return HistGradientBoostingClassifier(early_stopping=True, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
