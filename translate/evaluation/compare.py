"""Simulation, and simulation made more like data, against data: every number beside that of data against data.

N events of the data, M of a sample, D observables, B draws, K bins. A sample is the simulation or a refined one.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
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
    correlation,
    resolution,
    summarise,
)
from translate.errors import DataError
from translate.evaluation.classifiers import two_sample_test
from translate.evaluation.distributions import Extrapolation
from translate.evaluation.observables import (
    ChiSquared,
    chi_squared,
    histogram,
    kolmogorov_smirnov,
    separation,
    wasserstein,
)
from translate.evaluation.physics import fpd, kpd

Array = NDArray[np.float64]
Counts = NDArray[Any]  # [K]
Statistic = Callable[[Counts, Counts], float]

BINS = 40
FINE = 512  # bins of the errors of W₁ and KS
CLASSIFIED = 20_000  # events of each side, at most


class Sample(NamedTuple):
    label: str
    path: Path
    events: int  # in the file
    summary: Summary


class Measure(NamedTuple):
    """A number and its 68 % interval; and the same of two samples, of as many events, of the data alone."""

    value: float
    low: float
    high: float
    deviation: float
    floor: float
    floor_deviation: float

    @property
    def differs(self) -> bool:
        """More than 2σ above the floor."""
        return self.value > self.floor + 2 * self.floor_deviation


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


class Whole(NamedTuple):
    """All observables of one sample together against the data."""

    fpd: Measure
    kpd: Measure
    auc: Measure
    jsd: Measure
    p_value: float
    correlation: Measure  # root of the mean squared difference of the correlation matrices
    image: Measure  # Σ|difference of the mean images| / Σ|mean image of the data|


class Comparison(NamedTuple):
    data: Sample
    samples: tuple[Sample, ...]  # the simulation first
    geometry: Geometry
    observables: dict[str, Observable]
    edges: dict[str, Array]
    verdicts: dict[str, dict[str, Verdict]]  # by observable, by label
    together: tuple[str, ...]  # the observables that `whole` is about
    whole: dict[str, Whole]
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
    return Comparison(
        reference,
        tuple(others),
        geometry,
        known,
        edges,
        {name: _verdicts(name, reference, others, edges[name], resamples, seed) for name in known},
        together,
        _whole(reference, others, together, splits, seed) if together else {},
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
    """Of bins over the central 99 % of the data; whole numbers in the middle of theirs, where there are few."""
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.005, 0.995])
    if high - low <= 2 * BINS and (known == np.rint(known)).all():
        step = max(1, math.ceil((high - low + 1) / BINS))
        return np.arange(np.floor(low) - 0.5, high + step, step)
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
    low, high = np.quantile(1 - after / np.where(before > 0, before, np.nan), [0.16, 0.84])
    return Closed(1 - left / excess, low, high, harmed)


def _whole(data: Sample, samples: Sequence[Sample], names: tuple[str, ...], splits: int, seed: int) -> dict[str, Whole]:
    x, rng = data.summary.table(names), np.random.default_rng(seed)
    one, other = np.array_split(x[rng.permutation(len(x))], 2)
    metrics: tuple[Callable[..., Extrapolation], ...] = (fpd, kpd)
    floors = [metric(one, other, seed=seed) for metric in metrics]
    halves = [np.array_split(x[rng.permutation(len(x))], 2) for _ in range(splits)]
    apart = np.array([_classified(a, b, seed + number) for number, (a, b) in enumerate(halves)])
    found = {}
    for sample in samples:
        y = sample.summary.table(names)
        frechet, kernel = (
            Measure(*_around(*metric(x, y, seed=seed)), *floor) for metric, floor in zip(metrics, floors, strict=True)
        )
        tests = np.array([_classified(x, y, seed + number) for number in range(splits)])
        auc, jsd = (
            Measure(*_around(tests[:, k].mean(), tests[:, k].std(ddof=1)), apart[:, k].mean(), apart[:, k].std(ddof=1))
            for k in (0, 1)
        )
        p_value, correlations = float(np.median(tests[:, 2])), _correlations(x, y, rng)
        found[sample.label] = Whole(
            frechet, kernel, auc, jsd, p_value, correlations, _images(data.summary, sample.summary)
        )
    return found


def _classified(x: Array, y: Array, seed: int) -> tuple[float, float, float]:
    """AUC, JSD, p-value."""
    rng = np.random.default_rng(seed)
    x, y = (table[rng.permutation(len(table))[:CLASSIFIED]] for table in (x, y))
    found = two_sample_test(x, y, model="trees", seed=seed)
    return found.auc, found.jsd, found.p_value


def _around(value: float, deviation: float) -> tuple[float, float, float, float]:
    return value, value - deviation, value + deviation, deviation


def _correlations(x: Array, y: Array, rng: np.random.Generator, draws: int = 30) -> Measure:
    def distance(a: Array, b: Array) -> float:
        return float(np.sqrt(np.mean((correlation(a) - correlation(b)) ** 2)))

    def drawn(table: Array, count: int) -> Array:
        return table[rng.integers(len(table), size=count)]

    values = np.array([distance(drawn(x, len(x)), drawn(y, len(y))) for _ in range(draws)])
    null = np.array([distance(drawn(x, len(x)), drawn(x, len(y))) for _ in range(draws)])
    return Measure(*_around(distance(x, y), values.std(ddof=1)), null.mean(), null.std(ddof=1))


def _images(data: Summary, sample: Summary) -> Measure:
    """The floor is what events of even and of odd number differ by, scaled to the counts of both samples; deviations
    are those between even and odd."""
    scale = sum(np.abs(layer).sum() for layer in data.mean) or 1.0

    def distance(a: Sequence[Array], b: Sequence[Array]) -> float:
        return float(sum(np.abs(p - q).sum() for p, q in zip(a, b, strict=True)) / scale)

    halves = [distance([i[odd] for i in data.images], [i[odd] for i in sample.images]) for odd in (0, 1)]
    grown = math.sqrt(1 + len(data.energy) / len(sample.energy)) / 2
    floor = grown * distance([i[0] for i in data.images], [i[1] for i in data.images])
    spread = abs(halves[0] - halves[1]) / 2
    return Measure(*_around(distance(data.mean, sample.mean), spread), floor, spread)


def _responses(samples: Sequence[Sample]) -> dict[str, Resolution]:
    energies = np.concatenate([sample.summary.energy for sample in samples])
    known = energies[np.isfinite(energies) & (energies > 0)]
    if "response" not in samples[0].summary.values or len(known) < len(energies) or np.ptp(known) == 0:
        return {}
    wide = known.max() > 20 * known.min()
    edges = (np.geomspace if wide else np.linspace)(known.min(), np.nextafter(known.max(), np.inf), 9)
    return {s.label: resolution(s.summary.energy, s.summary.values["response"], edges) for s in samples}


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything but the histograms, as plain values; what is not finite is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return plain(value.tolist())
        if hasattr(value, "_asdict"):
            extra = {"differs": value.differs} if isinstance(value, Measure) else {}
            return plain(value._asdict() | extra)
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    def about(sample: Sample) -> dict[str, Any]:
        return {
            "label": sample.label,
            "path": str(sample.path),
            "events": sample.events,
            "used": len(sample.summary.energy),
        }

    return {
        "data": about(comparison.data),
        "samples": [about(sample) for sample in comparison.samples],
        "settings": comparison.settings,
        "units": list(comparison.geometry.units),
        "observables": {
            name: {"unit": what.unit, "meaning": what.meaning, "samples": plain(comparison.verdicts[name])}
            for name, what in comparison.observables.items()
        },
        "together": {"observables": list(comparison.together), "samples": plain(comparison.whole)},
        "response": plain(comparison.responses),
        "refined": plain([closure(comparison, sample.label) for sample in comparison.samples[1:]]),
    }


def closure(comparison: Comparison, label: str) -> dict[str, Any]:
    """What a refined sample did, over all observables."""
    found = {name: by[label].closed for name, by in comparison.verdicts.items()}
    shares = {name: closed.share for name, closed in found.items() if closed is not None and closed.share is not None}
    return {
        "label": label,
        "differing": len(shares),
        "worst": min(shares.values(), default=None),
        "worst_observable": min(shares, key=lambda name: shares[name], default=None),
        "median": float(np.median(list(shares.values()))) if shares else None,
        "closed_70": sum(share >= 0.7 for share in shares.values()),
        "harmed": [name for name, closed in found.items() if closed is not None and closed.harmed],
    }


def write_comparison(comparison: Comparison, path: Path) -> tuple[Path, Path]:
    """Writes `path`, a page that needs nothing else, and beside it the same in JSON. Raises DataError."""
    import jinja2

    from translate.evaluation import compare_plots

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda share: f"{100 * share:.0f} %".replace("-", "−")
    environment.filters["uri"] = lambda svg: "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    text = resources.files("translate.evaluation").joinpath("compare.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(text).render(
        c=comparison,
        closures=[closure(comparison, sample.label) for sample in comparison.samples[1:]],
        plots=compare_plots.draw(comparison),
    )
    beside = path.with_suffix(".json")
    for target, content in (
        (path, page),
        (beside, json.dumps(as_json(comparison), indent=1, ensure_ascii=False, allow_nan=False)),
    ):
        temporary = target.with_name(f".{target.name}.part")
        try:
            temporary.write_text(content, encoding="utf-8")
            temporary.replace(target)
        except OSError as error:
            raise DataError(f"{target}: cannot be written ({error.strerror}); choose another place") from None
    return path, beside


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}").replace("-", "−")
