"""report.html: what a run did, in one file that needs nothing else. A pure function of the run folder."""

import base64
import io
import json
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from translate.errors import DataError
from translate.training.journal import Curve, Row, curve, read, replace, smooth, thin

SAMPLES = 12  # sample grids shown: the first, the last and evenly spaced ones between
BUDGET = 3_300_000  # bytes of all pictures together; base64 adds a third
TITLES = {"l1": "L1", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "fid": "FID", "kid": "KID"}
RISING = {  # better when larger
    *("psnr", "ssim", "accuracy", "precision", "recall", "density", "coverage", "inception_score"),
}


def write_report(run: Path) -> Path:
    """Write RUN/report.html anew, from whatever is there: a run may be unfinished, or not have logged anything yet."""
    if not run.is_dir():
        raise DataError(f"{run}: no such run folder")
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = number
    text = resources.files("translate.training").joinpath("report.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(text).render(_contents(run))
    replace(run / "report.html", page.encode("utf-8", "replace"))
    return run / "report.html"


def _contents(run: Path) -> dict[str, Any]:
    rows, config, about = read(run / "metrics.jsonl"), _text(run / "config.yaml"), _json(run / "environment.json")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    curves = {key: curve(rows, key) for key in keys if key.startswith(("train/", "val/"))}
    last, columns = max((row["step"] for row in rows), default=0), _json(run / "samples/columns.json")
    groups = {name: _chart(name, group, last, smoothed=True) for name, group in _groups(curves).items()}
    players = {key.removeprefix("train/lr/") for key in curves if key.startswith("train/lr/")}
    named = re.match(r"# *(\S.*)\n", config)  # the first line of a run's config.yaml is the name of the experiment
    return {
        "title": named[1] if named else run.resolve().name,
        "folder": run.resolve().name,
        "method": _method(config),
        "totals": _totals(rows),
        "validation": _validation(curves, last),
        "players": [chart for name, chart in groups.items() if name in players or not players],
        "signals": [chart for name, chart in groups.items() if players and name not in players],
        "rates": _rates(curves, last),
        "alarms": [(r["step"], key, r[key]) for r in rows for key in r if key.startswith("alarm/")],
        "broken": {k: [s for s, v in c if v is None] for k, c in curves.items() if any(v is None for _, v in c)},
        "samples": _samples(run / "samples"),
        "columns": [str(name) for name in columns] if isinstance(columns, list) else [],
        "config": config,
        "environment": about if isinstance(about, dict) else {},
        "problems": _text(run / "problems.txt").splitlines(),
    }


def _totals(rows: list[Row]) -> dict[str, Any]:
    needed = ("epoch", "images", "seconds")
    last = next((row for row in reversed(rows) if all(isinstance(row.get(k), int | float) for k in needed)), None)
    if last is None:
        return {}
    hours, seconds = divmod(round(last["seconds"]), 3600)
    speed = last["images"] / last["seconds"] if last["seconds"] else None
    time = f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
    return {"steps": last["step"], "epoch": last["epoch"], "images": last["images"], "time": time, "speed": speed}


def number(value: Any) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


class Axis(NamedTuple):
    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Percent of the way from low to high."""
        low, high, value = (math.log10(max(v, 1e-300)) if self.log else v for v in (self.low, self.high, value))
        return 100 * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            factors = (1, 2, 5) if self.high < 200 * self.low else (1,)
            every = max(1, (last - first) // 5)
            values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
            return [value for value in values if self.low <= value <= self.high]
        raw = (self.high - self.low) / 5
        power = 10 ** math.floor(math.log10(raw))
        unit = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        return [unit * i for i in range(math.ceil(self.low / unit - 1e-9), math.floor(self.high / unit + 1e-9) + 1)]


def axis(curves: list[Curve], also: tuple[float, ...] = (), zero: bool = False) -> Axis:
    """Holds every smooth curve and all but the outermost hundredth of the raw points; log where those span 20 times."""
    values = sorted(value for line in curves for _, value in line if value is not None)
    cut = len(values) // 100
    middles = [value for line in curves for _, value in smooth(line) if value is not None]
    inner = [*values[cut : len(values) - cut], *middles, *also] or [0.0, 1.0]
    low, high = min(inner), max(inner)
    if low > 0 and high / low > 20 and not zero:
        return Axis(low / 1.1, high * 1.1, log=True)
    low = min(low, 0.0) if zero or 0 < low < 0.25 * high else low
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(low - (margin if low != 0 else 0), high + margin)


def _chart(
    title: str,
    lines: dict[str, Curve],
    last: int,
    base: float | None = None,
    smoothed: bool = False,
    zero: bool = False,
) -> dict[str, Any]:
    """What the template draws: paths in a box of 1000 x 1000 stretched over the plot, everything else in percent."""
    across, drawn = Axis(0, max(last, 1)), []
    up = axis(list(lines.values()), () if base is None else (base,), zero)
    for label, raw in lines.items():
        line = smooth(raw) if smoothed else raw
        shape, final = thin(line), next((value for _, value in reversed(line) if value is not None), None)
        points = [[step, None if value is None else float(f"{value:.4g}")] for step, value in shape]
        faint = _path(thin(raw), across, up) if line != raw else None
        drawn.append({"label": label, "raw": faint, "path": _path(shape, across, up), "points": points, "final": final})
    return {
        "title": title,
        "lines": drawn,
        "up": up,
        "across": across,
        "y": [(100 - up.at(value), number(float(f"{value:.6g}"))) for value in up.ticks()],
        "x": [(across.at(value), number(round(value))) for value in across.ticks() if value == round(value)],
        "base": {"top": 100 - up.at(base), "value": base} if base is not None else None,
        "best": None,
    }


def _path(values: Curve, across: Axis, up: Axis) -> str:
    """SVG path data; the pen is lifted over gaps, and a lone point becomes a dot."""
    parts, pen = [], False
    for step, value in values:
        if value is not None:
            left, top = 10 * across.at(step), 1000 - 10 * min(max(up.at(value), -50.0), 150.0)
            parts.append(f"L{left:.1f} {top:.1f}" if pen else f"M{left:.1f} {top:.1f}h0")
        pen = value is not None
    return "".join(parts)


def _groups(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """What is logged in training by the second part of its key: a player's loss terms, a discriminator's signals."""
    groups: dict[str, dict[str, Curve]] = {}
    for key, values in curves.items():
        kind, _, name = key.partition("/")
        player, _, term = name.removeprefix("doctor/").partition("/") if "/" in name else ("", "", name)
        if kind == "train" and player != "lr":
            groups.setdefault(player or "other", {})[term] = values
    return groups


def _rates(curves: dict[str, Curve], last: int) -> dict[str, Any] | None:
    """Learning rates; players that share one share a line."""
    shared: dict[str, Curve] = {}
    for key, values in curves.items():
        if key.startswith("train/lr/"):
            twin = next((name for name, other in shared.items() if other == values), None)
            name = key.removeprefix("train/lr/")
            shared[f"{twin}, {name}" if twin else name] = shared.pop(twin) if twin else values
    return _chart("Learning rate", shared, last, zero=True) if shared else None


def _validation(curves: dict[str, Curve], last: int) -> list[dict[str, Any]]:
    """A chart a metric. The mean of all directions, val/NAME, stands first and has its best value marked; val/a2b/NAME
    joins it, and so does the metric of the unchanged input, val/input/NAME.
    """
    metrics: dict[str, dict[str, Curve]] = {}
    for key, values in curves.items():
        kind, *path, name = key.split("/")
        if kind == "val" and "input" not in path:
            metrics.setdefault(name, {})[" ".join(path) or "model"] = values
    charts = []
    for name, lines in metrics.items():
        if len(lines) > 1 and "model" in lines:
            lines = {"mean": lines.pop("model"), **lines}
        base = next((v for _, v in reversed(curves.get(f"val/input/{name}", [])) if v is not None), None)
        chart, rising = _chart(TITLES.get(name, name), lines, last, base), name.partition("[")[0] in RISING
        for line, values in zip(chart["lines"], lines.values(), strict=True):
            known = [(value, step) for step, value in values if value is not None]
            value, step = (max if rising else min)(known, key=lambda point: point[0]) if known else (None, None)
            line |= {"best": value, "step": step}
        first = chart["lines"][0]
        if first["best"] is not None:
            chart["best"] = {"left": chart["across"].at(first["step"]), "top": 100 - chart["up"].at(first["best"])}
        charts.append({**chart, "rising": rising, "unit": "dB" if name == "psnr" else ""})
    return charts


def _samples(folder: Path) -> list[dict[str, Any]]:
    files = sorted(path for path in folder.glob("step-*.png") if path.stem.removeprefix("step-").isdigit())
    if len(files) > SAMPLES:
        files = [files[round(index * (len(files) - 1) / (SAMPLES - 1))] for index in range(SAMPLES)]
    pictures = [(path, _picture(path, BUDGET // len(files))) for path in files]
    return [{"step": int(path.stem.removeprefix("step-")), **picture} for path, picture in pictures if picture]


def _picture(path: Path, budget: int) -> dict[str, Any] | None:
    """A data URI of about `budget` bytes at most: the file if that fits, else WebP, else smaller. None: damaged."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    kind, content = "png", path.read_bytes()
    for quality, shrink in ((90, 1.0), (75, 1.0), (75, 0.7), (75, 0.5), (60, 0.3)):
        if len(content) > budget:
            size, buffer = (int(image.width * shrink) or 1, int(image.height * shrink) or 1), io.BytesIO()
            image.resize(size).save(buffer, "WEBP", quality=quality)
            kind, content = "webp", buffer.getvalue()
    uri = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return {"uri": uri, "width": image.width, "height": image.height}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError:
        return None


def _method(config: str) -> str | None:
    import yaml

    try:
        return str(yaml.safe_load(config)["recipe"]["kind"])
    except (yaml.YAMLError, TypeError, KeyError):
        return None
