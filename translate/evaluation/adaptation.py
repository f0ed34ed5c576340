"""Whether a classifier carried over to a domain without labels: what can be said without them, and what cannot.

Shapes: N examples, D features, K classes; s of the source, t of the target. Probabilities are rows that sum to 1.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError
from translate.evaluation.bootstrap import Interval, bootstrap
from translate.evaluation.classifiers import Model, new_classifier, proxy_a_distance

Numbers = NDArray[np.floating[Any]]
Classes = NDArray[np.integer[Any]]


COMPONENTS = 64  # that are enough to tell domains apart


class Probe(NamedTuple):
    error: float  # of the domain on examples that the probe has not seen: ½ where the domains cannot be told apart
    distance: Interval  # 2(1 − 2ε): 0 inseparable, 2 apart; the interval by resampling the unseen examples
    tested: int


class Risk(NamedTuple):
    value: float
    effective: float  # (Σw)²/Σw²: as how many examples the weighted ones count


def domain_probe(
    source: Numbers, target: Numbers, *, model: Model = "logistic", seed: int = 0, level: float = 0.95
) -> Probe:
    """Trains a fresh classifier of domains on three fifths of frozen features [N, D], and asks it about the rest.

    Equal counts of both domains; of more than `COMPONENTS` features, their first principal components. The network
    should not have seen the examples: else a distance may be overfitting.
    """
    rng, count = np.random.default_rng(seed), min(len(source), len(target))
    if count < 10:
        raise EvaluationError(f"{count} examples of a domain are too few to train a probe on; give 10 or more")
    cut, order = 3 * count // 5, [rng.permutation(len(part))[:count] for part in (source, target)]
    source, target = (part[rows].astype(np.float64) for part, rows in zip((source, target), order, strict=True))
    _, source, target = _components(np.concatenate([source[:cut], target[:cut]]), source, target, seed=seed)
    probe = new_classifier(model, seed).fit(np.concatenate([source[:cut], target[:cut]]), np.repeat([0, 1], cut))
    wrong = [(probe.predict(part[cut:]) != place).astype(float) for place, part in enumerate((source, target))]

    def distance(s: Numbers, t: Numbers) -> float:
        return proxy_a_distance((s.mean() + t.mean()) / 2)

    error = float(np.mean(wrong))
    return Probe(error, bootstrap(distance, *wrong, resamples=1000, seed=seed, level=level), 2 * (count - cut))


def density_ratio(source: Numbers, target: Numbers, at: Numbers, *, seed: int = 0) -> Numbers:
    """p_t/p_s at the rows of `at` [N, D], from a logistic classifier of both domains' features: Bickel et al. 2007."""
    labels = np.repeat([0, 1], [len(source), len(target)])
    both, at = _components(np.concatenate([source, target]).astype(np.float64), at.astype(np.float64), seed=seed)
    odds: Numbers = np.exp(new_classifier("logistic", seed).fit(both, labels).decision_function(at))
    return odds * len(source) / len(target)


def deep_embedded_validation(losses: Numbers, weights: Numbers) -> Risk:
    """The loss on the target, estimated from held-out source examples [N]: You et al. 2019 (DEV), algorithm 1.

    mean(wl) + η mean(w) − η with η = −cov(wl, w)/var(w), the control variate that lowers the variance of plain
    weighting. Where `effective` is a few, it says nothing.
    """
    weighted, spread = losses * weights, float(weights.var(ddof=1))
    eta = -float(np.cov(weighted, weights)[0, 1]) / spread if spread > 0 else 0.0
    value = float(weighted.mean()) + eta * (float(weights.mean()) - 1)
    return Risk(value, float(weights.sum() ** 2 / np.square(weights).sum()))


def entropy(probabilities: Numbers) -> float:
    """Mean H(p) in nats. A diagnostic only: it is least for a model that calls everything the same."""
    return float(_entropies(probabilities).mean())


def information(probabilities: Numbers) -> float:
    """H(mean p) − mean H(p) in nats, at most ln K: certain about each, and not of the same class for all."""
    return float(_entropies(probabilities.mean(0, keepdims=True))[0]) - entropy(probabilities)


def calibration_error(probabilities: Numbers, labels: Classes, *, bins: int = 15) -> float:
    """Expected |accuracy − confidence| over bins of equal width: Guo et al. 2017, eq. 3."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # bins are open below, closed above
    gaps = np.bincount(place, right - confidence, bins)
    return float(np.abs(gaps).sum() / len(labels))


def priors_by_em(probabilities: Numbers, source: Numbers, *, steps: int = 1000) -> Numbers:
    """The target's class priors [K] from its predicted probabilities [N, K] and the source's priors [K].

    Maximum likelihood by expectation-maximisation: Saerens et al. 2002, eq. 2.11. Exact where the probabilities are
    calibrated on the source and p(x | class) is the same in both domains.
    """
    priors = np.asarray(source, float)
    for _ in range(steps):
        joint = probabilities * (priors / source)
        updated: Numbers = (joint / joint.sum(1, keepdims=True)).mean(0)
        if np.abs(updated - priors).max() < 1e-9:
            return updated
        priors = updated
    return priors


def priors_by_confusion(predicted: Classes, labels: Classes, target: Classes, classes: int) -> Numbers:
    """The target's class priors [K] from hard predictions: Lipton et al. 2018 (BBSE), algorithm 1.

    `predicted` and `labels` are of held-out source examples, `target` what is predicted on the target. Solves
    C q = μ with C the confusion matrix p(predicted | label); clipped at 0 and normalised.
    """
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (predicted, labels), 1)
    confusion /= np.maximum(confusion.sum(0), 1)
    shares = np.bincount(target, minlength=classes) / len(target)
    priors: Numbers = np.clip(np.linalg.lstsq(confusion, shares, rcond=None)[0], 0, None)
    priors /= priors.sum()
    return priors


def _components(fitted: Numbers, *others: Numbers, seed: int) -> list[Numbers]:
    """All in the first principal components of `fitted`, where there are more features than those."""
    from sklearn.decomposition import PCA

    if fitted.shape[1] <= COMPONENTS:
        return [fitted, *others]
    pca = PCA(min(COMPONENTS, len(fitted)), svd_solver="randomized", random_state=seed).fit(fitted)
    return [pca.transform(part) for part in (fitted, *others)]


def _entropies(probabilities: Numbers) -> Numbers:
    p = np.asarray(probabilities, np.float64)
    entropies: Numbers = -(p * np.log(np.maximum(p, 1e-300))).sum(1)
    return entropies
