"""study.json and study.html, in one file that needs nothing else."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from translate.config.load import dump
from translate.config.run import Run
from translate.data.source import Source
from translate.study import summary
from translate.study.summary import Cells
from translate.study.variants import BASELINE, CEILING, NULL, NULL_BASELINE, Variant
from translate.training.journal import environment, replace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#2563eb", "#e8590c", "#0d9467", "#9333ea", "#d6336c", "#0e7490", "#8a6d3b", "#667085")


def write(folder: Path, run: Run, source: Source, variants: Sequence[Variant], cells: Cells) -> Path:
    rows = summary.table(cells)
    contents: dict[str, Any] = {
        "name": folder.resolve().name,
        "data": source.describe(),
        "classes": list(source.classes),
        "config": run.model_dump(mode="json"),
        "environment": environment(),
        "table": rows,
        "gap closed": {name: summary.closed(rows, name) for name in rows},
        "selection": summary.selection(cells, variants),
        "alarms": summary.alarms(cells, variants),
        "cells": cells,
    }
    replace(folder / "study.json", json.dumps(contents, indent=1).encode())
    import jinja2

    environment_ = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment_.filters |= {"percent": percent, "plain": plain}
    text = resources.files("translate.study").joinpath("study.html.j2").read_text(encoding="utf-8")
    page = environment_.from_string(text).render(
        **{key.replace(" ", "_"): value for key, value in contents.items() if key != "config"},
        yaml=dump(run),
        plots=[_accuracies(rows), _distances(rows, variants), _choices(cells, variants)],
        remarks={BASELINE: "trained on the source alone", CEILING: "the labelled target: the ceiling"}
        | {
            NULL_BASELINE: "half the source, the target never seen",
            NULL: "half the source as the target: nothing to find",
        },
    )
    replace(folder / "study.html", page.encode("utf-8", "replace"))
    return folder / "study.html"


def percent(value: Any) -> str:
    """`{mean, deviation}` or a share as percent: `97.15 ± 0.31`."""
    if value is None:
        return "–"
    if not isinstance(value, dict):
        return f"{100 * value:.1f}"
    return f"{100 * value['mean']:.2f}" + (
        f" ± {100 * value['deviation']:.2f}" if value["deviation"] is not None else ""
    )


def plain(value: dict[str, Any]) -> str:
    def short(number: float, digits: int) -> str:
        return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.{digits}g}"

    return short(value["mean"], 3) + (f" ± {short(value['deviation'], 2)}" if value["deviation"] is not None else "")


def _accuracies(rows: dict[str, dict[str, Any]]) -> str:
    axes, finish = _figure("Accuracy on the held-out target, %")
    for place, row in enumerate(rows.values()):
        values, colour = [100 * v for v in row["accuracy"]["values"]], COLOURS[place % len(COLOURS)]
        axes.scatter(values, [place] * len(values), s=26, color=colour, alpha=0.55, linewidths=0)
        deviation = 100 * (row["accuracy"]["deviation"] or 0)
        axes.errorbar(100 * row["accuracy"]["mean"], place, xerr=deviation, fmt="|", ms=16, color=colour, capsize=4)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    return finish("each point a seed; mean ± deviation")


def _distances(rows: dict[str, dict[str, Any]], variants: Sequence[Variant]) -> str:
    axes, finish = _figure("Accuracy, % against distance of the domains")
    for place, variant in enumerate(variants):
        row, colour = rows[variant.name], COLOURS[place % len(COLOURS)]
        accuracy = [100 * value for value in row["accuracy"]["values"]]
        axes.scatter(row["logistic distance"]["values"], accuracy, s=30, color=colour, label=variant.name)
        axes.scatter(row["trees distance"]["values"], accuracy, s=30, marker="^", facecolors="none", edgecolors=colour)
    axes.axvline(0, color="#98a2b3", lw=0.8)
    axes.legend(fontsize=7)
    return finish("proxy A-distance of held-out features: ● logistic, △ trees")


def _choices(cells: Cells, variants: Sequence[Variant]) -> str:
    axes, finish = _figure("Accuracy, % against what is known without labels")
    for place, variant in enumerate(variants):
        found = [cell for cell in cells[variant.name].values() if variant.adapted or variant.name == BASELINE]
        information = [cell["unlabelled"]["information"] for cell in found]
        accuracy = [100 * cell["labelled"]["accuracy"] for cell in found]
        if found:
            axes.scatter(information, accuracy, s=30, color=COLOURS[place % len(COLOURS)], label=variant.name)
    if axes.collections:
        axes.legend(fontsize=7)
    return finish("H(mean p) − mean H(p) on unlabelled target images, nats")


def _figure(title: str) -> tuple["Axes", Callable[[str], str]]:
    """Axes, and what makes them a data URI under a caption of the x axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)

    def finish(caption: str) -> str:
        axes.set_xlabel(caption, fontsize=8)
        content = io.BytesIO()
        figure.savefig(content, format="png")
        return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"

    return axes, finish
