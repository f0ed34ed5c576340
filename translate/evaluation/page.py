"""What a person sees of an evaluation: the table on the terminal, and a page that needs nothing else."""

import base64
import io
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from translate.data.channels import Pixels, to_channels
from translate.evaluation.diversity import nearest
from translate.evaluation.manifolds import prd
from translate.evaluation.spaces import eight_bit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from translate.evaluation.command import Evaluation
    from translate.evaluation.measure import Row
    from translate.evaluation.pictures import Pictures

SHOWN, EXTREMES, SIDE, POINTS = 40, 6, 160, 1000  # pictures; best and worst; pixels a side; points in a plot
WIDTH = 140  # of the table where there is no terminal
REAL, MADE = "#667085", "#2563eb"


def show(found: "Evaluation") -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    table = Table("metric", "value", "95 % interval", "real against real", "pictures", box=None, header_style="bold")
    for name, row in found.rows.items():
        table.add_row(*(Text(cell) for cell in (name, *cells(row))))
    console.print(table)
    for name, row in found.rows.items():
        if row.warning:
            console.print(f"{name}: {row.warning}", style="yellow", markup=False, highlight=False)
    for name, verdict in found.report.get("against", {}).get("metrics", {}).items():
        console.print(f"{name}: {against(verdict)}", markup=False, highlight=False)


def cells(row: "Row") -> tuple[str, str, str, str]:
    arrow = {True: " ↑", False: " ↓", None: ""}[row.rising]
    interval = "" if row.low is None or row.high is None else f"{number(row.low)} to {number(row.high)}"
    beside = ""
    if row.beside is not None:
        kind = "" if row.beside.what == "real against real" else f" ({row.beside.what})"
        sure = "" if row.beside.deviation is None else f" ± {number(row.beside.deviation)}"
        beside = f"{number(row.beside.value)}{sure}{kind or f' of {row.beside.pictures:,}'}"
    counts = f"{row.generated:,}" + (f" / {row.reference:,}" if row.reference != row.generated else "")
    return number(row.value) + arrow, interval, beside, counts


def against(verdict: dict[str, Any]) -> str:
    """One line of the comparison with another model."""
    other = "–" if verdict["other"] is None else number(verdict["other"])
    if "difference" not in verdict:
        return f"the other has {other}: {verdict['note']}"
    return (
        f"the other has {other}: difference {number(verdict['difference'])} ± {number(verdict['noise'])}, "
        f"{verdict['note']}"
    )


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def page(found: "Evaluation") -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    text = resources.files("translate.evaluation").joinpath("evaluation.html.j2").read_text(encoding="utf-8")
    rows = [(name, *cells(row), row.warning) for name, row in found.rows.items()]
    verdicts = found.report.get("against", {"file": "", "metrics": {}})
    return environment.from_string(text).render(
        report=found.report,
        rows=rows,
        against={name: against(verdict) for name, verdict in verdicts["metrics"].items()},
        other=verdicts["file"],
        plots=_plots(found),
        groups=_groups(found),
    )


def _groups(found: "Evaluation") -> list[dict[str, Any]]:
    """Pictures to look at: title, what stands under each other, columns."""
    groups = []
    if found.places is not None and found.values:
        name, rising = ("psnr", True) if "psnr" in found.values else next((n, r.rising) for n, r in found.rows.items())
        order = np.argsort(found.values[name], kind="stable")[:: -1 if rising else 1]
        for title, chosen in (("Best", order[:EXTREMES]), ("Worst", order[::-1][:EXTREMES])):
            groups.append(_group(found, f"{title} by {name}", chosen.tolist(), found.values[name]))
    for title, pictures in (("Generated", found.generated), ("Reference", found.reference)):
        chosen = np.unique(np.linspace(0, len(pictures) - 1, SHOWN).astype(int)).tolist()
        columns = [{"title": pictures.name(p), "images": [_uri(pictures, p)]} for p in chosen]
        groups.append({"title": f"{title}: {len(chosen)} of {len(pictures):,}, evenly spaced", "columns": columns})
    if found.training is not None:
        groups += [_neighbours(found, name) for name in list(found.features)[:1]]
    return groups


def _group(found: "Evaluation", title: str, places: Sequence[int], values: NDArray[np.float64]) -> dict[str, Any]:
    from translate.evaluation.pictures import Translated

    assert found.places is not None
    sets: list[tuple[Pictures, Sequence[int]]] = [
        (found.generated, places),
        (found.reference, [found.places[place] for place in places]),
    ]
    rows = "output, truth"
    if isinstance(found.generated, Translated):
        sets, rows = [(found.generated.inputs, places), *sets], "input, output, truth"
    columns = [
        {
            "title": f"{found.generated.name(place)}: {number(values[place])}",
            "images": [_uri(pictures, chosen[column]) for pictures, chosen in sets],
        }
        for column, place in enumerate(places)
    ]
    return {"title": f"{title} ({rows}, from the top)", "columns": columns}


def _neighbours(found: "Evaluation", space: str) -> dict[str, Any]:
    """The generated pictures that are nearest to training pictures, over these."""
    _, generated, training = found.features[space]
    assert training is not None
    assert found.training is not None
    near = nearest(generated.features.values, training.features.values)
    order = np.argsort(near.distances[:, 0], kind="stable")[: 2 * EXTREMES].tolist()
    columns = [
        {
            "title": number(float(near.distances[place, 0])),
            "images": [_uri(found.generated, place), _uri(found.training, int(near.indices[place, 0]))],
        }
        for place in order
    ]
    return {"title": f"Nearest to training pictures, which are below [{space}]", "columns": columns}


def _uri(pictures: "Pictures", place: int) -> str:
    (pixels,) = pictures.read([place])
    image = Image.fromarray(_colour(eight_bit(pixels)))
    image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _colour(pixels: Pixels) -> Pixels:
    return to_channels(pixels if pixels.shape[2] <= 4 else pixels[..., :3], 3)


def _plots(found: "Evaluation") -> list[tuple[str, str]]:
    """Title and data URI."""
    plots = []
    for space, (reference, generated, _) in found.features.items():
        x, y = reference.features.values, generated.features.values
        plots.append(
            (f"Two principal axes of the reference [{space}]", _plot(lambda axes, x=x, y=y: _axes(axes, x, y)))
        )
        if any(name.startswith("prd") for name in found.rows):
            plots.append((f"Precision and recall of PRD [{space}]", _plot(lambda axes, x=x, y=y: _prd(axes, x, y))))
        likely, ours = reference.features.probabilities, generated.features.probabilities
        if likely is not None and ours is not None and likely.shape[1] <= 100:
            names = found.classes[space]
            shares = [np.bincount(each.argmax(1), minlength=each.shape[1]) / len(each) for each in (likely, ours)]
            plots.append(
                (f"Shares of the classes, as named by {space}", _plot(lambda a, s=shares, n=names: _bars(a, s, n)))
            )
    for name, values in found.values.items():
        plots.append(
            (f"{name} of {len(values):,} pictures", _plot(lambda axes, values=values: _histogram(axes, values)))
        )
    return plots


def _plot(draw: Any) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _axes(axes: "Axes", x: NDArray[Any], y: NDArray[Any]) -> None:
    x, y = (sample[np.linspace(0, len(sample) - 1, POINTS).astype(int)] for sample in (x, y))
    centre = x.mean(0, dtype=np.float64)
    _, _, directions = np.linalg.svd(x - centre, full_matrices=False)
    for sample, label, colour in ((x, "reference", REAL), (y, "generated", MADE)):
        points = (sample - centre) @ directions[:2].T
        flat = points[:, 1] if points.shape[1] > 1 else np.zeros(len(points))
        axes.scatter(points[:, 0], flat, s=4, alpha=0.5, linewidths=0, label=label, color=colour)
    axes.legend(markerscale=3)


def _prd(axes: "Axes", x: NDArray[Any], y: NDArray[Any]) -> None:
    curve = prd(x, y)
    axes.plot(curve.recall, curve.precision, color=MADE)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision", aspect="equal")


def _bars(axes: "Axes", shares: Sequence[NDArray[Any]], names: Sequence[str]) -> None:
    places = np.arange(len(shares[0]))
    for offset, share, label, colour in ((-0.2, shares[0], "reference", REAL), (0.2, shares[1], "generated", MADE)):
        axes.bar(places + offset, share, 0.4, label=label, color=colour)
    if len(names) <= 20:
        axes.set_xticks(places, names or places.astype(str), rotation=45, ha="right", fontsize=8)
    axes.legend()


def _histogram(axes: "Axes", values: NDArray[Any]) -> None:
    axes.hist(values, bins="auto" if np.ptp(values) > 0 else 1, color=MADE)
    axes.set(ylabel="pictures")
