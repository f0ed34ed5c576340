"""Simulation, and simulation made more like data, against data: every number beside that of data against data.

N events of the data, M of a sample, D observables, B draws, K bins. A sample is the simulation or a refined one.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.detector.files import FileOptions, ShowerFile, open_showers
from translate.detector.observables import (
    Geometry,
    Observable,
    Resolution,
    Summary,
    choose,
    resolution,
    summarise,
)
from translate.errors import DataError
from translate.evaluation.compare_whole import Measure, Whole, compare_whole
from translate.evaluation.observables import (
    ChiSquared,
    chi_squared,
    histogram,
    kolmogorov_smirnov,
    separation,
    wasserstein,
)

Array = NDArray[np.float64]
Counts = NDArray[Any]  # [K]
Statistic = Callable[[Counts, Counts], float]

BINS = 40
FINE = 512  # bins of the errors of W₁ and KS


class Sample(NamedTuple):
    label: str
    path: Path
    events: int  # in the file
    summary: Summary


class Closed(NamedTuple):
    """What became of the simulation's S² above the floor: the share that is gone, where there was one."""

    share: float | None
    low: float | None
    high: float | None
    harmed: bool  # further above the floor than the simulation, or than 0, by more than 2σ


class Verdict(NamedTuple):
    """One observable of one sample against the data."""

    separation: Measure
    wasserstein: Measure
    ks: Measure
    ks_p: float
    chi2: Measure
    degrees: int
    chi2_p: float
    mean: float
    width: float
    undefined: float  # share of the events
    closed: Closed | None  # of a refined sample


class Comparison(NamedTuple):
    data: Sample
    samples: tuple[Sample, ...]  # the simulation first
    geometry: Geometry
    observables: dict[str, Observable]
    edges: dict[str, Array]
    verdicts: dict[str, dict[str, Verdict]]  # by observable, by label
    together: tuple[str, ...]  # the observables that `whole` is about
    whole: dict[str, Whole]
    common: dict[str, int]  # by label: events that are in the data, too, where there are some
    responses: dict[str, Resolution]  # by label, data too; empty where incident energies are not known
    settings: dict[str, Any]


def compare(
    simulation: Path,
    data: Path,
    refined: Sequence[Path] = (),
    *,
    options: FileOptions | None = None,
    names: Sequence[str] | None = None,
    events: int = 100_000,
    threshold: float = 0.0,
    resamples: int = 200,
    splits: int = 5,
    seed: int = 0,
) -> Comparison:
    """The first `events` of every file, which are read in chunks. `threshold` as in `observables`; the classifier is
    trained on `splits` (2 or more) divisions into training, calibration and test.

    Raises DataError for files that cannot be read or are of different detectors, and for unknown observables.
    """
    paths = [data, simulation, *refined]
    with open_showers(data, options) as file:
        geometry = Geometry(file.units, file.positions, file.length_unit)
        shapes = file.shapes
    chosen, samples = choose(geometry, names), []
    for label, path in zip(_labels(paths), paths, strict=True):
        with open_showers(path, options) as file:
            _same_detector(file, data, shapes, geometry)
            summary = summarise(file.chunks(), geometry, chosen, events=events, threshold=threshold)
            samples.append(Sample(label, path, len(file), summary))
    reference, *others = samples
    known = {
        name: what for name, what in chosen.items() if all(np.isfinite(s.summary.values[name]).any() for s in samples)
    }
    if not known:
        raise DataError(f"{data}: none of {', '.join(chosen)} is defined in all files; choose other observables")
    edges = {name: _edges(reference.summary.values[name]) for name in known}
    together = tuple(name for name in known if len(np.unique(reference.summary.values[name][:1000])) > 1)
    summaries = {sample.label: sample.summary for sample in others}
    return Comparison(
        reference,
        tuple(others),
        geometry,
        known,
        edges,
        {name: _verdicts(name, reference, others, edges[name], resamples, seed) for name in known},
        together,
        compare_whole(reference.summary, summaries, together, splits, seed) if together else {},
        {s.label: n for s in others if (n := _common(reference.summary.table(known), s.summary.table(known)))},
        _responses(samples),
        {
            "events": events,
            "threshold": threshold,
            "resamples": resamples,
            "splits": splits,
            "seed": seed,
            "bins": BINS,
        },
    )


def _labels(paths: Sequence[Path]) -> list[str]:
    """The names of the files, or as much of the path as tells them apart."""
    for parts in range(1, 5):
        labels = ["/".join(path.resolve().with_suffix("").parts[-parts:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise DataError(f"{paths[0]}: is given more than once; compare different files")


def _same_detector(file: ShowerFile, data: Path, shapes: tuple[tuple[int, int], ...], geometry: Geometry) -> None:
    for what, found, expected in (("layers", file.shapes, shapes), ("units", file.units, geometry.units)):
        if found != expected:
            raise DataError(f"{file.path}: has {what} {list(found)} where {data} has {list(expected)}")


def _edges(values: Array) -> Array:
    """Of bins over the central 99 % of the data: equal, or equal in the logarithm where they span decades; where there
    are few values, about each or so many of them.
    """
    known = values[np.isfinite(values)]
    low, middle, high = np.quantile(known, [0.005, 0.5, 0.995])
    inner = np.unique(known[(known >= low) & (known <= high)])
    if 1 < len(inner) <= 2 * BINS:
        first = inner[:: math.ceil(len(inner) / BINS)]
        halfway = (first[1:] + inner[np.searchsorted(inner, first[1:]) - 1]) / 2
        ends = (3 * inner[[0, -1]] - inner[[1, -2]]) / 2  # half a step beyond
        return np.concatenate([ends[:1], halfway, ends[1:]])
    if low > 0 and high > 10 * middle:
        return np.geomspace(low, high, BINS + 1)
    return np.linspace(low, high if high > low else low + (abs(low) or 1.0), BINS + 1)


def _verdicts(
    name: str, data: Sample, samples: Sequence[Sample], edges: Array, resamples: int, seed: int
) -> dict[str, Verdict]:
    x = data.summary.values[name]
    fine = np.unique(np.quantile(x[np.isfinite(x)], np.linspace(0, 1, FINE)))
    found: dict[str, Verdict] = {}
    first: NDArray[np.float64] | None = None  # of the simulation: draws of S² above the floor
    for place, sample in enumerate(samples):
        y, rngs = sample.summary.values[name], (np.random.default_rng(seed), np.random.default_rng([seed, place]))
        coarse, smooth = (
            histogram(x, y, edges),
            histogram(x, y, np.append(fine, fine[-1] + 1) if len(fine) < 2 else fine),
        )
        gaps = np.concatenate([[0], np.diff(smooth.edges), [0]])  # what lies outside is at the edge
        s2, draws = _measure(separation, *coarse[1:], separation(*coarse[1:]), resamples, rngs)
        chi2: ChiSquared = chi_squared(*coarse[1:])
        ks, w1 = kolmogorov_smirnov(x, y), wasserstein(x, y)
        above = draws - s2.floor
        closed = None if first is None else _closed(first, above, next(iter(found.values())).separation, s2)
        first = above if first is None else first
        finite = y[np.isfinite(y)]
        found[sample.label] = Verdict(
            separation=s2,
            wasserstein=_measure(_area(gaps), *smooth[1:], w1, resamples, rngs)[0],
            ks=_measure(_largest_gap, *smooth[1:], ks.statistic, resamples, rngs)[0],
            ks_p=ks.p_value,
            chi2=_measure(lambda a, b: chi_squared(a, b).statistic, *coarse[1:], chi2.statistic, resamples, rngs)[0],
            degrees=chi2.degrees,
            chi2_p=chi2.p_value,
            mean=float(finite.mean()),
            width=float(finite.std()),
            undefined=1 - len(finite) / len(y),
            closed=closed,
        )
    return found


def _measure(
    statistic: Statistic,
    x: Counts,
    y: Counts,
    value: float,
    resamples: int,
    rngs: tuple[np.random.Generator, np.random.Generator],
) -> tuple[Measure, Array]:
    """Bootstrap of histograms: events drawn anew are counts of a multinomial. Its bias in 1/N is taken off, as of
    `bootstrap`. The floor draws both from the data. Also gives the draws; those of the data come from the first of
    `rngs`, so that all samples meet the same.
    """
    shares = [counts / counts.sum() for counts in (x, y)]
    drawn = [
        rng.multinomial(counts.sum(), share, resamples) for rng, counts, share in zip(rngs, (x, y), shares, strict=True)
    ]
    values = np.array([statistic(a, b) for a, b in zip(*drawn, strict=True)])
    values += value - values.mean()
    null = np.array(
        [statistic(a, b) for a, b in zip(drawn[0], rngs[1].multinomial(y.sum(), shares[0], resamples), strict=True)]
    )
    low, high = np.quantile(values, [0.16, 0.84])
    return Measure(value, low, high, values.std(), null.mean(), null.std()), values


def _area(gaps: Array) -> Statistic:
    def area(x: Counts, y: Counts) -> float:
        steps = np.abs(np.cumsum(x / x.sum() - y / y.sum()))
        return float(steps[:-1] @ gaps[1:])

    return area


def _largest_gap(x: Counts, y: Counts) -> float:
    return float(np.abs(np.cumsum(x / x.sum() - y / y.sum())).max())


def _closed(before: Array, after: Array, simulation: Measure, refined: Measure) -> Closed:
    excess, left, error = simulation.value - simulation.floor, refined.value - refined.floor, refined.floor_deviation
    if simulation.differs:  # both vary, then, more than the floor
        error = max(error, float((after - before).std()))
    harmed = left > max(excess, 0.0) + 2 * error
    if not simulation.differs:
        return Closed(None, None, None, harmed)
    low, high = np.nanquantile(1 - after / np.where(before > 0, before, np.nan), [0.16, 0.84])
    return Closed(1 - left / excess, low, high, harmed)


def _common(x: Array, y: Array) -> int:
    """How many rows of [N, D] and [M, D] are the same; 0 for less than one in a hundred, which chance may give where
    all observables are counts. Rows that a table has more than once, as of empty events, are not compared."""
    rows = []
    for table in (x, y):
        unique, times = np.unique(table, axis=0, return_counts=True)
        rows.append(unique[times == 1])
    same = sum(map(len, rows)) - len(np.unique(np.concatenate(rows), axis=0))
    return same if 100 * same >= min(len(x), len(y)) else 0


def _responses(samples: Sequence[Sample]) -> dict[str, Resolution]:
    energies = np.concatenate([sample.summary.energy for sample in samples])
    known = energies[np.isfinite(energies) & (energies > 0)]
    if "response" not in samples[0].summary.values or len(known) < len(energies) or np.ptp(known) == 0:
        return {}
    wide = known.max() > 20 * known.min()
    edges = (np.geomspace if wide else np.linspace)(known.min(), np.nextafter(known.max(), np.inf), 9)
    return {s.label: resolution(s.summary.energy, s.summary.values["response"], edges) for s in samples}
