"""The pictures of a comparison, as SVG: the data filled, others as steps, below them the ratio to the data."""

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from translate.detector.observables import correlation
from translate.evaluation.compare import Comparison, Sample
from translate.evaluation.observables import histogram

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#be185d", "#0e7490")
DATA = "#cbd5e1"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.formatter.limits": (-3, 4),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "translate",  # the same picture is the same file
}
LAYERS = 12  # of which mean images are drawn


def draw(comparison: Comparison) -> dict[str, Any]:
    """By kind: `observables` (by name), `profiles`, `response`, `correlations`, `images`."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        return {
            "observables": {name: _svg(_ratio_plot(comparison, name)) for name in comparison.observables},
            "profiles": [_svg(figure) for figure in _profiles(comparison)],
            "response": [_svg(figure) for figure in _response(comparison)],
            "correlations": _svg(_correlations(comparison)) if len(comparison.together) > 1 else None,
            "images": {sample.label: _svg(_images(comparison, sample)) for sample in comparison.samples},
        }


def _figure(width: float, height: float, *, ratio: bool) -> tuple["Figure", Any]:
    """Without pyplot, which keeps every figure and looks for a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.15, 0.14, 0.98, 0.94, hspace=0.06)
    return figure, figure.subplots(2, sharex=True, height_ratios=[3, 1]) if ratio else figure.subplots()


def _grid(width: float, height: float, rows: int, columns: int) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _svg(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _ratio_plot(comparison: Comparison, name: str) -> "Figure":
    """Shares of each sample; the outermost bins, on grey, hold all that is beyond."""
    what, edges = comparison.observables[name], comparison.edges[name]
    figure, (above, below) = _figure(4.4, 3.5, ratio=True)
    logarithmic = edges[0] > 0 and np.allclose(edges[1:] / edges[:-1], edges[1] / edges[0])
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    flat = scale(edges)
    wide = 1.5 * (flat[-1] - flat[0]) / (len(flat) - 1)
    flat = np.concatenate([[flat[0] - wide], flat, [flat[-1] + wide]])  # with a bin at either end
    drawn, middles = back(flat), back((flat[1:] + flat[:-1]) / 2)
    x = comparison.data.summary.values[name]
    counts = histogram(x, x, edges).x
    shares, errors = _shares(counts)
    above.stairs(shares, drawn, fill=True, color=DATA, label=comparison.data.label)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(counts > 0, errors / shares, np.nan)
        below.stairs(1 + relative, drawn, baseline=1 - relative, fill=True, color=DATA)
        lowest, highest = [shares[shares > 0].min()], [shares.max()]
        for colour, sample in zip(COLOURS * 9, comparison.samples, strict=False):
            other, error = _shares(histogram(x, sample.summary.values[name], edges).y)
            above.stairs(other, drawn, color=colour, linewidth=1.4, label=sample.label)
            below.errorbar(middles, other / shares, error / shares, fmt="o", ms=2, lw=0.8, color=colour)
            lowest.append(other[other > 0].min())
            highest.append(other.max())
    if max(highest) > 20 * float(np.median(shares[shares > 0])):
        above.set_yscale("log")
        above.set_ylim(min(lowest) / 2, max(highest) * 6)
    else:
        above.set_ylim(0, max(highest) * 1.35)
    above.set_ylabel("share of events")
    above.legend(loc="upper right", ncols=min(3, len(comparison.samples) + 1), fontsize=8)
    below.axhline(1, color="#64748b", lw=0.8)
    below.set_ylim(0.4, 1.6)
    below.set_ylabel("ratio")
    below.set_xlabel(f"{name} [{what.unit}]" if what.unit else name)
    for axis in (above, below):
        for beyond in ((drawn[0], edges[0]), (edges[-1], drawn[-1])):
            axis.axvspan(*beyond, color="#f1f5f9", zorder=0)
        axis.set_xlim(drawn[0], drawn[-1])
    if logarithmic:
        below.set_xscale("log")
    else:
        below.locator_params(axis="x", nbins=7)
    return figure


def _shares(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """And their deviation, as of Poisson counts."""
    total = counts.sum()
    return counts / total, np.sqrt(counts) / total


def _profiles(comparison: Comparison) -> list["Figure"]:
    figures = []
    for family, title, label in (
        ("fraction", "longitudinal profile: mean share", "layer"),
        ("ring", "radial profile: mean share", f"ring about the centre [{comparison.geometry.length}]"),
    ):
        names = [name for name in comparison.observables if name.rpartition("_")[0] == family]
        if len(names) > 1:
            figures.append(_profile(comparison, names, title, label, family == "ring"))
    return figures


def _profile(comparison: Comparison, names: Sequence[str], title: str, label: str, rings: bool) -> "Figure":
    figure, (above, below) = _figure(4.8, 3.6, ratio=True)

    def mean(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = [sample.summary.values[name] for name in names]
        means = np.array([np.nanmean(value) for value in values])
        return means, np.array([np.nanstd(v) / np.sqrt(np.isfinite(v).sum()) for v in values])

    place, (reference, error) = np.arange(len(names)), mean(comparison.data)
    edges = np.arange(len(names) + 1) - 0.5
    above.stairs(reference, edges, fill=True, color=DATA, label=comparison.data.label)
    with np.errstate(divide="ignore", invalid="ignore"):
        below.stairs(1 + error / reference, edges, baseline=1 - error / reference, fill=True, color=DATA)
        for colour, sample in zip(COLOURS * 9, comparison.samples, strict=False):
            values, errors = mean(sample)
            above.stairs(values, edges, color=colour, linewidth=1.4, label=sample.label)
            below.errorbar(place, values / reference, errors / reference, fmt="o", ms=3, color=colour)
    if reference.min() > 0 and reference.max() > 50 * np.median(reference):
        above.set_yscale("log")
    above.set_title(title, fontsize=9, loc="left")
    above.legend(fontsize=8)
    below.axhline(1, color="#64748b", lw=0.8)
    below.set_ylabel("ratio")
    below.set_xlabel(label)
    below.set_xticks(place)
    if rings:
        limits = comparison.geometry.rings
        below.set_xticklabels(
            [f"{a:.3g} to {b:.3g}" if np.isfinite(b) else f"> {a:.3g}" for a, b in pairwise(limits)], fontsize=7
        )
    return figure


def _response(comparison: Comparison) -> list["Figure"]:
    figures = []
    unit = comparison.observables["response"].unit if "response" in comparison.observables else ""
    for key, label in (
        ("response", f"mean response [{unit}]" if unit else "mean response R"),
        ("resolution", "resolution σ(R) / mean R"),
    ):
        if not comparison.responses:
            continue
        figure, axis = _figure(4.8, 3.6, ratio=False)
        for place, (name, found) in enumerate(comparison.responses.items()):
            colour = "#475569" if place == 0 else COLOURS[(place - 1) % len(COLOURS)]
            value, error = getattr(found, key), getattr(found, f"{key}_error")
            axis.errorbar(
                found.energy, value, error, fmt="s-" if place == 0 else "o-", ms=3, lw=1, color=colour, label=name
            )
        energies = comparison.responses[comparison.data.label].energy
        if np.nanmax(energies) > 10 * np.nanmin(energies):
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter("")
        axis.set_xlabel("incident energy [GeV]")
        axis.set_ylabel(label)
        axis.legend(fontsize=8)
        figures.append(figure)
    return figures


def _correlations(comparison: Comparison) -> "Figure":
    names = list(comparison.together)
    reference = correlation(comparison.data.summary.table(names))
    matrices = [(comparison.data.label, reference)]
    for sample in comparison.samples:
        matrices.append((_difference(comparison, sample), correlation(sample.summary.table(names)) - reference))
    size = 1.2 + 0.105 * len(names)
    figure, axes = _grid((size + 0.3) * len(matrices) + 0.9, size + 0.4, 1, len(matrices))
    differences = max(float(np.abs(matrix).max()) for _, matrix in matrices[1:])
    for place, (axis, (title, matrix)) in enumerate(zip(axes[0], matrices, strict=True)):
        limit = 1 if place == 0 else max(differences, 0.01)
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set_title(title, fontsize=8, loc="left")
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
        axis.set_yticks(range(len(names)), names if place == 0 else [], fontsize=5)
        figure.colorbar(image, ax=axis, shrink=0.7)
    return figure


def _difference(comparison: Comparison, sample: Sample) -> str:
    return f"{sample.label} − {comparison.data.label}"


def _images(comparison: Comparison, sample: Sample) -> "Figure":
    """Rows: the mean of the data, of the sample, and their difference; a column a layer."""
    layers = len(comparison.geometry.units)
    shown = np.unique(np.linspace(0, layers - 1, min(layers, LAYERS)).round().astype(int))
    figure, axes = _grid(max(3.4, 1.05 * len(shown) + 1.0), 3.6, 3, len(shown))
    for column, layer in enumerate(shown):
        data, other = comparison.data.summary.mean[layer], sample.summary.mean[layer]
        top, gap = max(data.max(), other.max(), 1e-30), max(np.abs(other - data).max(), 1e-30)
        for row, (picture, limits, colours) in enumerate(
            ((data, (0, top), "viridis"), (other, (0, top), "viridis"), (other - data, (-gap, gap), "RdBu_r"))
        ):
            axis = axes[row][column]
            shape = "equal" if max(picture.shape) < 3 * min(picture.shape) else "auto"
            axis.imshow(picture, cmap=colours, vmin=limits[0], vmax=limits[1], aspect=shape, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0][column].set_title(f"layer {layer}\n≤ {top:.3g}", fontsize=7)
        axes[2][column].set_xlabel(f"± {gap:.2g}", fontsize=7)
    for axis, label in zip(
        axes[:, 0], (comparison.data.label, sample.label, _difference(comparison, sample)), strict=True
    ):
        axis.set_ylabel(label, fontsize=7)
    return figure
