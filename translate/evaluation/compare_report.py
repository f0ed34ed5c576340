"""What a comparison writes: a page that needs nothing else, and the same numbers in JSON."""

import base64
import json
import math
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from translate.errors import DataError
from translate.evaluation import NEEDED
from translate.evaluation.compare import Comparison, Sample
from translate.evaluation.compare_whole import Measure


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
        "few": few(comparison),
        "common": comparison.common,
        "refined": plain([closure(comparison, sample.label) for sample in comparison.samples[1:]]),
    }


def few(comparison: Comparison) -> dict[str, int]:
    """The metrics that want more events than the smallest sample has, and how many."""
    least = min(len(sample.summary.energy) for sample in (comparison.data, *comparison.samples))
    used = ("separation", "wasserstein", "kolmogorov_smirnov", "chi_squared", "two_sample_test", "kpd", "fpd")
    return {name: NEEDED[name] for name in used if least < NEEDED[name]}


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
        few=few(comparison),
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
