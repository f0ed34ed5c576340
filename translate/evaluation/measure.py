"""Every metric of sets of pictures by name, how sure it is, and what real pictures score in place of generated ones.

How sure: the deviation of halves drawn without replacement (Shao & Wu 1989), which spoils no neighbours by drawing them
twice, and is that of the whole; the interval is 1.96 deviations either way. Of costly metrics a part of at most `most`
samples of each set is halved, and the deviation scaled by the root of the counts. Beside it: the metric of two parts of
the reference that share no picture, as many as were generated if there are twice as many.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.errors import EvaluationError
from translate.evaluation import NEEDED, bootstrap
from translate.evaluation.classifiers import train_on, two_sample_test
from translate.evaluation.distributions import (
    energy_distance,
    frechet_distance,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mmd,
    sliced_wasserstein,
)
from translate.evaluation.diversity import birthday, class_coverage, copying, different_bins, same_below
from translate.evaluation.manifolds import density_coverage, prd, precision_recall
from translate.evaluation.spaces import INCEPTION, Extracted

Sample = NDArray[Any]  # [N, ...]
LEVEL = 1.959964  # deviations of a 95 % interval
PUBLISHED = {"fd": "fid", "kd": "kid", "fd_infinity": "fid_infinity"}  # what they are called in Inception's space


class Beside(NamedTuple):
    what: str  # "real against real", "real", "unchanged input"
    value: float
    deviation: float | None
    pictures: int  # of each part


class Row(NamedTuple):
    value: float
    deviation: float | None  # None: not known
    low: float | None  # 95 %
    high: float | None
    generated: int  # pictures
    reference: int
    needed: int
    rising: bool | None  # better when larger; None: neither
    depends_on_count: bool  # so that values of unlike counts cannot be compared
    beside: Beside | None = None
    warning: str = ""


class Metric(NamedTuple):
    """`compute(reference, generated)` gives one number a name, or `compute(reference, generated, training)`."""

    compute: Callable[..., tuple[float, ...]]
    names: tuple[str, ...]
    takes: str  # "features"; "probabilities", "classes" (predicted); "labelled": features and, last, the label
    rising: bool | None
    needed: str  # in NEEDED
    resamples: int = 20  # 0: no interval
    most: int = 2000
    floors: int = 2  # how often the reference is parted
    biased: bool = True  # depends on the count
    quick: Callable[..., tuple[float, ...]] | None = None  # nearly the same, for resamples and floors


def _scored(x: Sample, y: Sample) -> tuple[float, ...]:
    return (inception_score(y, splits=10 if len(y) >= 1000 else 1).mean,)


def _two_sample(model: Any) -> Callable[[Sample, Sample], tuple[float, ...]]:
    def compute(x: Sample, y: Sample) -> tuple[float, ...]:
        found = two_sample_test(x, y, model=model)
        return found.auc, found.jsd, found.p_value

    return compute


def _trained(x: Sample, y: Sample) -> tuple[float, ...]:
    rng, size = np.random.default_rng(0), min(len(x), len(y))
    x, y = (sample[rng.permutation(len(sample))[:size]] for sample in (x, y))  # folders come class by class
    return tuple(train_on(a[:, :-1], a[:, -1], b[:, :-1], b[:, -1]).accuracy for a, b in ((y, x), (x, y)))


def _copied(x: Sample, y: Sample, training: Sample) -> tuple[float, ...]:
    return copying(y, training, x)[:2]


F, P, C, L = "features", "probabilities", "classes", "labelled"
METRICS = {
    "fd": Metric(lambda x, y: (frechet_distance(x, y),), ("fd",), F, False, "frechet_distance", 12, 10_000),
    "fd_infinity": Metric(
        lambda x, y: (frechet_infinity(x, y).value,),
        ("fd_infinity",),
        F,
        False,
        "frechet_infinity",
        10,
        1 << 60,
        2,
        False,
    ),
    "kd": Metric(
        lambda x, y: (kernel_distance(x, y).mean,),
        ("kd",),
        F,
        False,
        "kernel_distance",
        most=4000,
        biased=False,
        quick=lambda x, y: (mmd(x, y, kernel="polynomial"),),  # of all pairs, which its subsets sample
    ),
    "precision_recall": Metric(precision_recall, ("precision", "recall"), F, True, "precision_recall"),
    "density_coverage": Metric(density_coverage, ("density", "coverage"), F, True, "density_coverage"),
    "prd": Metric(
        lambda x, y: prd(x, y)[2:],
        ("prd_f8", "prd_f1_8"),
        F,
        True,
        "prd",
        10,
        4000,
        quick=lambda x, y: prd(x, y, runs=1)[2:],
    ),
    "mmd": Metric(lambda x, y: (mmd(x, y),), ("mmd",), F, False, "mmd", biased=False),
    "energy": Metric(lambda x, y: (energy_distance(x, y),), ("energy",), F, False, "energy_distance"),
    "sliced_wasserstein": Metric(
        lambda x, y: (sliced_wasserstein(x, y),), ("sliced_wasserstein",), F, False, "sliced_wasserstein"
    ),
    "two_sample": Metric(
        _two_sample("logistic"),
        ("two_sample_auc", "two_sample_jsd", "two_sample_p"),
        F,
        None,
        "two_sample_test",
        5,
        4000,
    ),
    "two_sample_trees": Metric(
        _two_sample("trees"), ("trees_auc", "trees_jsd", "trees_p"), F, None, "two_sample_test", 3, 2000
    ),
    "bins": Metric(
        lambda x, y: (different_bins(x, y).different / 100,), ("different_bins",), F, False, "different_bins", 0
    ),
    "birthday": Metric(
        lambda x, y: (birthday(y, same_below(x)).at_least,), ("support_at_least",), F, True, "birthday", 0
    ),
    "copying": Metric(_copied, ("copying_auc", "nearer_to_training"), F, False, "copying", 10),
    "inception_score": Metric(_scored, ("inception_score",), P, True, "inception_score", 20, 1 << 60),
    "classes": Metric(class_coverage, ("classes_covered", "class_kl"), C, True, "train_on", 20, 1 << 60, 2, False),
    "train_on": Metric(_trained, ("train_on_synthetic", "train_on_real"), L, True, "train_on", 5),
}
DEFAULT = ("fd", "kd", "precision_recall", "density_coverage", "inception_score", "classes", "gan_test")
SHARES = {  # in [0, 1], and so are their intervals
    *("precision", "recall", "coverage", "prd_f8", "prd_f1_8", "copying_auc", "nearer_to_training", "different_bins"),
    *("two_sample_auc", "two_sample_jsd", "trees_auc", "trees_jsd", "train_on_synthetic", "train_on_real"),
}
FALLING = {"two_sample_auc", "two_sample_jsd", "trees_auc", "trees_jsd", "class_kl"}


class Labelled(NamedTuple):
    """The features of a set, and its labels as numbers of the same classes for all sets."""

    features: Extracted
    labels: NDArray[np.int64] | None = None


def measure(
    names: Sequence[str], space: str, reference: Labelled, generated: Labelled, training: Labelled | None = None
) -> dict[str, Row]:
    """By full name, as `fd[pixels]`. Metrics for which something is missing, as probabilities, are left out.

    Raises EvaluationError where the features cannot be used.
    """
    rows: dict[str, Row] = {}
    for name in names:
        if name == "gan_test":
            rows |= _gan_test(space, reference, generated)
            continue
        metric = METRICS[name]
        x, y = (taken(metric, each) for each in (reference, generated))
        if x is None or y is None or (name == "copying" and training is None):
            continue
        extra = (training.features.values,) if name == "copying" and training is not None else ()
        rows |= _measured(metric, space, x, y, extra)
    return rows


def named(name: str, space: str) -> str:
    return f"{PUBLISHED.get(name, name) if space == INCEPTION else name}[{space}]"


def of_values(values: Sample, *, rising: bool, beside: Sample | None = None, what: str = "") -> Row:
    """The mean of one number a picture [N], with a bootstrap interval; `beside`: [N] of something else."""
    found = bootstrap(np.mean, values, resamples=1000, level=0.95) if len(values) > 1 else None
    other = Beside(what, float(beside.mean()), None, len(beside)) if beside is not None else None
    deviation, low, high = (found.deviation, found.low, found.high) if found else (None, None, None)
    warning = "" if len(values) >= 30 else "fewer than 30 pictures"
    return Row(float(values.mean()), deviation, low, high, len(values), len(values), 30, rising, False, other, warning)


def _measured(metric: Metric, space: str, x: Sample, y: Sample, extra: tuple[Sample, ...]) -> dict[str, Row]:
    values = metric.compute(x, y, *extra)
    deviations = _deviations(metric, x, y, extra)
    beside = _floor(metric, x, len(y), extra)
    needed = NEEDED[metric.needed]
    warning = ""
    if (least := min(len(x), len(y))) < needed:
        warning = f"{least:,} pictures where {needed:,} are needed"
        warning += ": too high by about what real against real shows" if metric.names == ("fd",) else ""
    elif "fd" in metric.names[0] and least <= x.shape[1]:
        warning = f"{least:,} pictures in {x.shape[1]:,} dimensions: take more, or a smaller feature space"
    rows = {}
    for place, name in enumerate(metric.names):
        sure = None if deviations is None or name.endswith("_p") else float(deviations[place])
        value = float(values[place])
        low, high = (None, None) if sure is None else (value - LEVEL * sure, value + LEVEL * sure)
        if low is not None and high is not None and name in SHARES:
            low, high = max(low, 0.0), min(high, 1.0)
        rising = False if name in FALLING else metric.rising
        rows[named(name, space)] = Row(
            value,
            sure,
            low,
            high,
            len(y),
            len(x),
            needed,
            rising,
            metric.biased,
            beside[place] if beside else None,
            warning,
        )
    return rows


def _deviations(metric: Metric, x: Sample, y: Sample, extra: tuple[Sample, ...]) -> NDArray[np.float64] | None:
    rng = np.random.default_rng(0)
    parts = [sample[rng.permutation(len(sample))[: metric.most]] for sample in (x, y)]
    values = []
    try:
        for _ in range(metric.resamples):
            halves = [part[rng.permutation(len(part))[: (len(part) + 1) // 2]] for part in parts]
            values.append((metric.quick or metric.compute)(*halves, *extra))
    except EvaluationError:  # half as many are too few
        return None
    scale = np.sqrt(min(map(len, parts)) / min(len(x), len(y)))
    return np.std(values, axis=0, ddof=1) * scale if values else None


def _floor(metric: Metric, x: Sample, count: int, extra: tuple[Sample, ...]) -> list[Beside] | None:
    size, rng, values = min(count, len(x) // 2), np.random.default_rng(0), []
    try:
        for _ in range(metric.floors):
            order = rng.permutation(len(x))
            values.append((metric.quick or metric.compute)(x[order[:size]], x[order[size : 2 * size]], *extra))
    except EvaluationError:
        return None
    means, deviations = np.mean(values, 0), np.std(values, 0, ddof=1)
    return [
        Beside("real against real", float(mean), float(sure), size)
        for mean, sure in zip(means, deviations, strict=True)
    ]


def taken(metric: Metric, one: Labelled) -> Sample | None:
    """What the metric is a function of; None where that is not there."""
    values, probabilities = one.features
    match metric.takes:
        case "features":
            return values
        case "probabilities":
            return probabilities
        case "classes":
            return None if probabilities is None else probabilities.argmax(1)
        case _:
            return None if one.labels is None else np.column_stack([values, one.labels])


def _gan_test(space: str, reference: Labelled, generated: Labelled) -> dict[str, Row]:
    """Shmelkov et al. 2018: how often a classifier of real pictures names the class that was asked for."""
    right = []
    for (_, likely), labels in (generated, reference):
        if likely is not None and labels is not None and labels.max() < likely.shape[1]:
            right.append((likely.argmax(1) == labels).astype(np.float64))
    if len(right) < 2:
        return {}
    row = of_values(right[0], rising=True, beside=right[1], what="real")
    return {named("gan_test", space): row._replace(needed=NEEDED["train_on"])}
