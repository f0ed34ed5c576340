"""`translate evaluate`: from two sets of pictures to a table, evaluation.json and evaluation.html."""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from translate import __version__
from translate.errors import EvaluationError, unknown
from translate.evaluation import pairs
from translate.evaluation.measure import DEFAULT, LEVEL, METRICS, Labelled, Row, measure, of_values
from translate.evaluation.pictures import Generated, Pictures, Translated, matched, open_pictures
from translate.evaluation.spaces import INCEPTION, MOST, NoWeightsError, Space, open_space
from translate.evaluation.statistics import cache_folder, extract
from translate.inference.writing import write

VERSION = 1  # of evaluation.json
PAIRED = ("l1", "psnr", "ssim", "ms_ssim")
INPUTS, SEEDS = 32, 4  # of a stochastic translator: what its spread is measured on
Json = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """As on the command line."""

    reference: str
    generated: str | None = None
    model: Path | None = None
    input: str | None = None
    count: int | None = None
    direction: str | None = None
    training: str | None = None
    paired: bool = False
    metrics: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    palette: Path | None = None
    against: Path | None = None
    output: Path = Path("evaluation")
    cache: str | None = None  # "off"
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Everything that the page shows; `report` alone is the JSON."""

    report: Json
    rows: dict[str, Row]
    values: pairs.Values  # a picture
    features: dict[str, tuple[Labelled, Labelled, Labelled | None]]  # by space: reference, generated, training
    classes: dict[str, tuple[str, ...]]  # by space
    generated: Pictures
    reference: Pictures
    training: Pictures | None
    places: list[int] | None  # of the partners


def evaluate(options: Options) -> Path:
    """Prints the table, and returns the page that it wrote. Raises TranslateError for what the user can mend."""
    wanted = _names(options)
    theirs = _read(options.against) if options.against else None
    found = _evaluated(options, wanted)
    if theirs is not None:
        found.report["against"] = {"file": str(options.against)} | compare(found.report, theirs)
    from translate.evaluation.page import page, show

    try:
        write(options.output / "evaluation.json", json.dumps(found.report, indent=1, allow_nan=False).encode() + b"\n")
        write(options.output / "evaluation.html", page(found).encode())
    except OSError as error:
        raise EvaluationError(f"{options.output}: cannot be written ({error.strerror}); choose another -o") from None
    show(found)
    return options.output / "evaluation.html"


def _names(options: Options) -> tuple[str, ...]:
    known = (*METRICS, "gan_test", *PAIRED, "lpips", "spread")
    if options.metrics is None:
        return (*(PAIRED if options.paired else DEFAULT), "spread")
    names = known if options.metrics == ("all",) else options.metrics
    for name in names:
        if name.partition("@")[0] not in known:
            raise EvaluationError(f"--metrics: {unknown('metric', name, (*known, 'all'))}")
        if not options.paired and name.partition("@")[0] in pairs.RISING and options.metrics != ("all",):
            raise EvaluationError(f"--metrics: {name} compares pictures with their partners: add --paired")
        if name == "copying" and not options.training and options.metrics != ("all",):
            raise EvaluationError("--metrics: copying needs the pictures that were trained on: give --training")
    return tuple(names)


def _evaluated(options: Options, names: Sequence[str]) -> Evaluation:
    reference, generated = open_pictures(options.reference), _generated(options)
    training = open_pictures(options.training) if options.training else None
    places = matched(generated, reference) if options.paired else None
    channels = max(reference.channels(), generated.channels())
    notes: list[str] = []
    spaces = _spaces(options, names, reference, notes)
    cache = None if options.cache == "off" else Path(options.cache) if options.cache else cache_folder()
    real = extract(reference, spaces, channels, title="reference", cache=cache)
    made = extract(generated, spaces, channels, title="generated")
    seen = extract(training, spaces, channels, title="training", cache=cache) if training else {}
    rows: dict[str, Row] = {}
    features = {}
    for space in spaces:
        sets = [
            Labelled(found[space.name], _labels(pictures, space.classes or reference.classes))
            for found, pictures in ((real, reference), (made, generated))
        ]
        known = Labelled(seen[space.name]) if training else None
        features[space.name] = sets[0], sets[1], known
        rows |= measure([n for n in names if n in METRICS or n == "gan_test"], space.name, sets[0], sets[1], known)
    values: pairs.Values = {}
    if places is not None:
        values, unchanged = _pairwise(names, generated, reference, places, channels, notes)
        rows = pairs.rows(values, unchanged) | rows
    if places is not None and options.palette is not None:
        scores, lines = pairs.label_rows(options.palette, generated, reference, places)
        rows, notes = scores | rows, [*notes, *lines]
    if "spread" in names and isinstance(generated, Translated) and generated.translator.card.noise:
        rows["spread"] = _spread(generated)
    if not rows:
        raise EvaluationError("nothing could be measured: " + ("; ".join(notes) or "choose other --metrics"))
    report: Json = {
        "version": VERSION,
        "program": __version__,
        "generated": _facts(generated),
        "reference": _facts(reference),
        "training": _facts(training) if training else None,
        "channels": channels,
        "decoding": "as stored; 16 bits and floats rounded to 8 where a space says so; alpha on white",
        "spaces": {space.name: {"version": space.version, "preparation": space.preparation} for space in spaces},
        "metrics": {name: _plain(row) for name, row in rows.items()},
        "per_picture": _per_picture(generated, values),
        "notes": notes,
    }
    classes = {space.name: space.classes for space in spaces}
    return Evaluation(report, rows, values, features, classes, generated, reference, training, places)


def _generated(options: Options) -> Pictures:
    if options.generated is not None:
        return open_pictures(options.generated)
    if options.model is None or (options.input is None) == (options.count is None):
        raise EvaluationError("give --generated, or --model with --input (a translator) or --count (a generator)")
    if options.count is not None:
        return Generated(options.model, options.count, seed=options.seed)
    assert options.input is not None
    return Translated(options.model, open_pictures(options.input), direction=options.direction, seed=options.seed)


def _spaces(options: Options, names: Sequence[str], reference: Pictures, notes: list[str]) -> list[Space]:
    """Those that were asked for and can be had; by default Inception's, of pairs none. What is missing is noted."""
    if not any(name in METRICS or name == "gan_test" for name in names):
        return []
    if options.features is None and options.paired and options.metrics is None:
        return []
    spaces = []
    for text in options.features or (INCEPTION,):
        try:
            spaces.append(open_space(text))
        except NoWeightsError as error:
            notes.append(f"left out: {error}")
            print(f"left out: {error}", file=sys.stderr)
    if not spaces:
        (first,) = reference.read([0])
        pixels = "pixels" if first.size <= MOST else "pixels:32"
        notes.append(f"without those weights: distances of the {pixels} themselves, which see no content")
        print(notes[-1], file=sys.stderr)
        spaces.append(open_space(pixels))
    return list({space.name: space for space in spaces}.values())


def _labels(pictures: Pictures, classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    """As numbers of `classes`; None where there are none, or others."""
    if pictures.labels is None or not pictures.classes or not classes:
        return pictures.labels
    known = [_plainly(name) for name in classes]
    if not {_plainly(name) for name in pictures.classes} <= set(known):
        return None
    return np.array([known.index(_plainly(name)) for name in pictures.classes], np.int64)[pictures.labels]


def _plainly(name: str) -> str:
    """Folders are not called as classes may be: T-shirt/top."""
    return re.sub(r"\W+", "_", name)


def _pairwise(
    names: Sequence[str],
    generated: Pictures,
    reference: Pictures,
    places: Sequence[int],
    channels: int,
    notes: list[str],
) -> tuple[pairs.Values, pairs.Values]:
    """Of the pictures, and of the unchanged inputs where a translator was given some of the same size."""
    names = [name for name in names if name.partition("@")[0] in pairs.RISING]
    try:
        values = pairs.per_picture(names, generated, reference, places, channels)
    except EvaluationError as error:  # LPIPS without weights
        notes.append(f"left out: {error}")
        print(f"left out: {error}", file=sys.stderr)
        names = [name for name in names if not name.startswith("lpips")]
        values = pairs.per_picture(names, generated, reference, places, channels)
    if not isinstance(generated, Translated) or generated.inputs.channels() not in (1, 3, channels):
        return values, {}
    return values, pairs.per_picture(names, generated.inputs, reference, places, channels)


def _spread(generated: Translated) -> Row:
    """Of an input's outputs over seeds: the mean absolute difference of two, from 0 to 1."""
    from translate.data.channels import maximum
    from translate.evaluation.diversity import spread

    places = np.unique(np.linspace(0, len(generated) - 1, INPUTS).astype(int)).tolist()
    values = []
    for place in places:
        outputs = [generated.variant([place], seed)[0] for seed in range(SEEDS)]
        values.append(spread(np.stack(outputs)[None] / maximum(outputs[0]))[0])
    return of_values(np.array(values), rising=True)


def _facts(pictures: Pictures) -> Json:
    heights, widths = zip(*(picture.shape[:2] for picture in pictures.read([0, len(pictures) - 1])), strict=True)
    same = len({*zip(heights, widths, strict=True)}) == 1
    size = f"{widths[0]}x{heights[0]}" if same else "of several sizes"
    return {"what": pictures.what, "count": len(pictures), "size": size, "sha256": pictures.digest()}


def _per_picture(generated: Pictures, values: pairs.Values) -> Json | None:
    if not values:
        return None
    count = len(next(iter(values.values())))
    names = [generated.name(place) for place in range(count)]
    return {"names": names, **{name: each.tolist() for name, each in values.items()}}


def _plain(row: Row) -> Json:
    found: Json = row._asdict() | {"beside": row.beside._asdict() if row.beside else None}
    return {key: None if isinstance(each, float) and not math.isfinite(each) else each for key, each in found.items()}


def _read(path: Path) -> Json:
    try:
        report = json.loads(path.read_bytes())
        if report["version"] != VERSION or not isinstance(report["metrics"], dict):
            raise ValueError(f"is of version {report['version']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"--against: {path}: {error}; give an evaluation.json of this program") from None
    assert isinstance(report, dict)
    return report


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Json:
    """Whether the metrics of two reports differ by more than the noise: 1.96 deviations of the difference.

    Of metrics that are a mean over the same pictures the pictures' own differences count; else the deviations of both,
    as if nothing were shared, so that the verdict errs to caution. Raises EvaluationError for other reference pictures.
    """
    if ours["reference"]["sha256"] != theirs["reference"]["sha256"]:
        raise EvaluationError("--against: was measured with other reference pictures; measure both with the same")
    found: Json = {}
    for name, row in ours["metrics"].items():
        other = theirs["metrics"].get(name)
        space = name.partition("[")[2].rstrip("]")
        if other is None or ours["spaces"].get(space) != theirs["spaces"].get(space):
            continue
        if row["depends_on_count"] and row["generated"] != other["generated"]:
            note = f"not comparable: of {row['generated']:,} and {other['generated']:,} pictures"
            found[name] = {"other": other["value"], "note": note}
            continue
        noise = _paired_noise(name, ours, theirs)
        if noise is None and row["deviation"] is not None and other["deviation"] is not None:
            noise = math.hypot(row["deviation"], other["deviation"])
        if noise is None or row["value"] is None or other["value"] is None:
            continue
        difference = row["value"] - other["value"]
        real, better = abs(difference) > LEVEL * noise, (difference > 0) == row["rising"]
        verdict = ("better" if better else "worse") if row["rising"] is not None else "different"
        note = verdict if real else "no more than the noise"
        found[name] = {"other": other["value"], "difference": difference, "noise": noise, "note": note}
    return {"metrics": found}


def _paired_noise(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float | None:
    """The deviation of the mean difference over the same pictures."""
    a, b = ours["per_picture"] or {}, theirs["per_picture"] or {}
    if name not in a or name not in b or a["names"] != b["names"] or len(a["names"]) < 2:
        return None
    return float(np.subtract(a[name], b[name]).std(ddof=1) / math.sqrt(len(a["names"])))
