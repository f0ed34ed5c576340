"""From cells to a table, a choice without labels, and alarms."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from translate.study.variants import BASELINE, CEILING, NULL, NULL_BASELINE, Variant

Cells = Mapping[str, Mapping[int, Mapping[str, Any]]]  # variant → seed → what cell.json holds

GATE = 0.02  # how much source accuracy a variant may lose and still be chosen
COLLAPSED = 0.1  # a class that is predicted so seldom, in units of its share in the source
APART = 0.1  # a proxy A-distance, at its lower end, that a null test must not find
SHIFTED = 0.2  # what is taken for a difference of class priors: ½ Σ |q − p|, by both estimates
CRITERIA = {  # name → where it stands in a cell, and whether more is better
    "information": (("information",), True),
    "dev": (("dev", "value"), False),
    "entropy": (("entropy",), False),
}
COLUMNS = {  # of the table: name → where it stands in a cell
    "accuracy": ("labelled", "accuracy"),
    "calibration": ("labelled", "calibration"),
    "source accuracy": ("unlabelled", "source", "accuracy"),
    "source calibration": ("unlabelled", "source", "calibration"),
    "logistic distance": ("unlabelled", "logistic", "distance"),
    "trees distance": ("unlabelled", "trees", "distance"),
    "information": ("unlabelled", "information"),
    "dev": ("unlabelled", "dev", "value"),
    "dev effective": ("unlabelled", "dev", "effective"),
    "entropy": ("unlabelled", "entropy"),
    "seconds": ("seconds",),
}


def number(cell: Mapping[str, Any], path: Sequence[str]) -> float:
    found: Any = cell
    for key in path:
        found = found[key]
    return float(found)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample deviation; none of one value."""
    return {"mean": mean(values), "deviation": stdev(values) if len(values) > 1 else None, "values": list(values)}


def table(cells: Cells) -> dict[str, dict[str, Any]]:
    """Over seeds, by variant; `classes`: the mean accuracy in each class of the target."""
    rows = {}
    for name, seeds in cells.items():
        found = list(seeds.values())
        classes = zip(*(cell["labelled"]["classes"] for cell in found), strict=True)
        known = ([value for value in column if value is not None] for column in classes)
        rows[name] = {
            **{column: spread([number(cell, path) for cell in found]) for column, path in COLUMNS.items()},
            "classes": [mean(column) if column else None for column in known],
        }
    return rows


def selection(cells: Cells, variants: Sequence[Variant]) -> dict[str, Any]:
    """By each criterion the adapted variant chosen for each seed, and the accuracy on the target that it turns out to
    have. Whoever lost more than `GATE` of the source-only accuracy on the source is out, if there is anyone else.

    The choice uses no label of the target; `entropy` is shown as a warning: it prefers models that collapsed. Where
    class priors are others in the target, H(mean p) in `information` would reward even ones: then −KL(mean p ‖ q) is in
    its place, q being the shares that the unadapted network finds. For even q both choose alike.
    """
    names = [variant.name for variant in variants if variant.adapted and variant.name in cells]
    result: dict[str, Any] = {}
    for criterion, (path, rising) in CRITERIA.items() if names else ():
        chosen = {}
        for seed in cells[names[0]]:
            able = [name for name in names if kept(cells, name, seed)] or names
            best = max if rising else min
            values = {name: number(cells[name][seed]["unlabelled"], path) for name in able}
            if criterion == "information" and BASELINE in cells:
                values = {name: value + expected(cells, name, seed) for name, value in values.items()}
            chosen[seed] = best(able, key=values.__getitem__)
        accuracies = [float(cells[name][seed]["labelled"]["accuracy"]) for seed, name in chosen.items()]
        result[criterion] = {"chosen": chosen, "accuracy": spread(accuracies)}
    return result


def expected(cells: Cells, name: str, seed: int) -> float:
    """Σ p ln q of the shares p of classes that a variant finds, q those by an unadapted network; 0 if these are the
    source's."""
    baseline, shares = cells[BASELINE][seed]["unlabelled"], cells[name][seed]["unlabelled"]["shares"]
    if shift(baseline) < SHIFTED:
        return 0.0
    pairs = zip(shares, baseline["priors"]["em"], strict=True)
    return math.fsum(p * math.log(max(q, 1e-3)) for p, q in pairs)


def shift(free: Mapping[str, Any]) -> float:
    """½ Σ |q − p| of the class priors of the target and the source, by the estimate that finds less of it."""
    return min(
        math.fsum(abs(q - p) for q, p in zip(estimate, free["source"]["priors"], strict=True)) / 2
        for estimate in free["priors"].values()
    )


def kept(cells: Cells, name: str, seed: int) -> bool:
    path = ("unlabelled", "source", "accuracy")
    return BASELINE not in cells or number(cells[name][seed], path) >= number(cells[BASELINE][seed], path) - GATE


def alarms(cells: Cells, variants: Sequence[Variant]) -> dict[str, list[str]]:
    """What a reader must not overlook; `labelled` are those that only labels of the target could tell."""
    found: dict[str, list[str]] = {"unlabelled": [], "labelled": []}
    for variant in variants:
        for seed, cell in cells.get(variant.name, {}).items():
            place = f"{variant.name}, seed {seed}"
            found["unlabelled"] += [f"{place}: {text}" for text in _collapsed(cell)]
            if variant.adapted:
                if not kept(cells, variant.name, seed):
                    found["unlabelled"].append(f"{place}: lost more than {GATE:.0%} of the accuracy on the source")
                found["labelled"] += [f"{place}: {text}" for text in _negative(cells, variant.name, seed)]
            if variant.name == BASELINE:
                found["unlabelled"] += [f"{place}: {text}" for text in _shifted(cell)]
            if variant.name == NULL:
                found["unlabelled"] += [f"{place}: {text}" for text in _null(cells, seed)]
    return found


def _collapsed(cell: Mapping[str, Any]) -> list[str]:
    free = cell["unlabelled"]
    pairs = enumerate(zip(free["shares"], free["source"]["priors"], strict=True))
    rare = [str(place) for place, (share, prior) in pairs if share < COLLAPSED * prior]
    return [f"collapse: on the target hardly anything is called class {', '.join(rare)}"] if rare else []


def _shifted(cell: Mapping[str, Any]) -> list[str]:
    """By a network that was not adapted: features that are alike in both domains hide it."""
    apart = shift(cell["unlabelled"])
    if apart < SHIFTED:
        return []
    return [
        f"class priors seem to be others in the target, by {apart:.2f}: features that do not tell the domains apart "
        "would be wrong; compare with recipe.class_weighting=true"
    ]


def _negative(cells: Cells, name: str, seed: int) -> list[str]:
    """Below source-only of the same seed by more than two deviations of the difference of both counts."""
    if BASELINE not in cells:
        return []
    a, b = (cells[which][seed]["labelled"] for which in (name, BASELINE))
    noise = math.sqrt(sum(part["accuracy"] * (1 - part["accuracy"]) / part["of"] for part in (a, b)))
    lost = b["accuracy"] - a["accuracy"]
    return [f"negative transfer: {lost:.1%} below source-only"] if lost > 2 * noise else []


def _null(cells: Cells, seed: int) -> list[str]:
    """Nothing may be lost, and nothing found, where there are no two domains."""
    cell, texts = cells[NULL][seed], []
    for model in ("logistic", "trees"):
        if cell["unlabelled"][model]["low"] > APART:
            texts.append(f"the {model} probe tells equal domains apart: {cell['unlabelled'][model]['distance']:.2f}")
    if NULL_BASELINE in cells:
        path = ("unlabelled", "source", "accuracy")
        lost = number(cells[NULL_BASELINE][seed], path) - number(cell, path)
        if lost > GATE:
            texts.append(f"adaptation to the same domain cost {lost:.1%} of the accuracy")
    return texts


def closed(rows: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """The share of the gap between source-only and target-supervised accuracy that a variant closes."""
    if BASELINE not in rows or CEILING not in rows:
        return None
    low, high, value = (rows[which]["accuracy"]["mean"] for which in (BASELINE, CEILING, name))
    return float((value - low) / (high - low)) if high > low else None
