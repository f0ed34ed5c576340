"""report.html: what a run did, in one file that needs nothing else. A pure function of the run folder."""

import base64
import io
import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from translate.errors import DataError
from translate.training.journal import Row, read, replace

SAMPLES = 12  # sample grids shown: the first, the last and evenly spaced ones between
BUDGET = 3_300_000  # bytes of all pictures together; base64 adds a third
POINTS = 500  # points of one drawn curve
TITLES = {"l1": "L1", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "fid": "FID", "kid": "KID"}
RISING = {"psnr", "ssim", "accuracy"}  # better when larger

Curve = list[tuple[int, float | None]]  # (step, value); None where it was not finite
Ticks = list[tuple[float, str]]  # (percent of the axis from the left or the top, label)


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
    settings, last = _settings(config), max((row["step"] for row in rows), default=0)
    validation = [_metric(name, curves, last) for name in dict.fromkeys(_metric_name(k) for k in curves) if name]
    recipe = settings.get("recipe")
    return {
        "title": str(settings.get("name") or run.resolve().name),
        "folder": run.resolve().name,
        "method": str(recipe.get("kind", "?")) if isinstance(recipe, dict) else None,
        "totals": _totals(rows),
        "validation": validation,
        "players": [_losses(name, group, last) for name, group in _players(curves).items()],
        "rates": _rates(curves, last),
        "broken": {k: [s for s, v in c if v is None] for k, c in curves.items() if any(v is None for _, v in c)},
        "samples": _samples(run / "samples"),
        "columns": [str(name) for name in columns] if isinstance(columns := _json(run / "samples/columns.json"), list) else [],
        "config": config,
        "environment": about if isinstance(about, dict) else {},
        "problems": _text(run / "problems.txt").splitlines(),
    }


def _totals(rows: list[Row]) -> dict[str, Any]:
    whole = [row for row in rows if all(isinstance(row.get(key), int | float) for key in ("epoch", "images", "seconds"))]
    if not whole:
        return {}
    last = whole[-1]
    hours, seconds = divmod(round(last["seconds"]), 3600)
    speed = last["images"] / last["seconds"] if last["seconds"] else None
    time = f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
    return {"steps": last["step"], "epochs": last["epoch"], "images": last["images"], "time": time, "speed": speed}


def curve(rows: Sequence[Row], key: str) -> Curve:
    return [(row["step"], row[key]) for row in rows if isinstance(row.get(key, ""), int | float | None)]


def smooth(values: Curve) -> Curve:
    """Centred moving average over a 25th of the points: it does not lag, and its window shrinks at both ends."""
    width, result = len(values) // 50, Curve()
    sums, counts = [0.0], [0]
    for _, value in values:
        sums.append(sums[-1] + (value or 0.0))
        counts.append(counts[-1] + (value is not None))
    for index, (step, value) in enumerate(values):
        reach = min(width, index, len(values) - 1 - index)
        low, high = index - reach, index + reach + 1
        mean = (sums[high] - sums[low]) / max(counts[high] - counts[low], 1)
        result.append((step, mean if value is not None else None))
    return result


def thin(values: Curve) -> Curve:
    """At most POINTS points that keep each stretch's lowest and highest value, so that spikes stay visible."""
    if len(values) <= POINTS:
        return values
    size, result = math.ceil(len(values) / (POINTS // 2)), Curve()
    for start in range(0, len(values), size):
        part = range(start, min(start + size, len(values)))
        known = [index for index in part if values[index][1] is not None] or [part[0]]
        ends = {min(known, key=lambda i: values[i][1] or 0.0), max(known, key=lambda i: values[i][1] or 0.0)}
        result += [values[index] for index in sorted(ends)]
    return result


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
            factors = (1, 2, 5) if last - first < 3 else (1,)
            every = max(1, (last - first) // 5)
            values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
            return [value for value in values if self.low <= value <= self.high]
        raw = (self.high - self.low) / 4
        power = 10 ** math.floor(math.log10(raw))
        unit = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
        return [unit * i for i in range(math.ceil(self.low / unit - 1e-9), math.floor(self.high / unit + 1e-9) + 1)]


def axis(curves: Sequence[Curve], also: Sequence[float] = (), zero: bool = False) -> Axis:
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


def _chart(title: str, lines: dict[str, Curve], last: int, base: float | None = None, **more: Any) -> dict[str, Any]:
    """What the template draws: paths in a box of 1000 x 1000 stretched over the plot, everything else in percent."""
    across = Axis(0, max(last, 1))
    up = axis(list(lines.values()), [] if base is None else [base], zero=more.pop("zero", False))
    drawn = [
        {
            "label": label,
            "raw": _path(thin(line), across, up) if len(line) >= 50 else None,
            "path": _path(thin(smooth(line)), across, up),
            "points": [[step, None if v is None else float(f"{v:.4g}")] for step, v in thin(smooth(line))],
            "final": next((v for _, v in reversed(smooth(line)) if v is not None), None),
        }
        for label, line in lines.items()
    ]
    vertical: Ticks = [(100 - up.at(value), number(float(f"{value:.6g}"))) for value in up.ticks()]
    horizontal: Ticks = [(across.at(v), number(round(v))) for v in across.ticks() if v == round(v)]
    line = {"top": 100 - up.at(base), "value": base} if base is not None else None
    chart = {"title": title, "log": up.log, "lines": drawn, "y": vertical, "x": horizontal, "base": line, "best": None}
    if more.get("best"):
        step, value = more["best"]
        more["best"] = {"left": across.at(step), "top": 100 - up.at(value), "step": step, "value": value}
    return {**chart, "last": max(last, 1), **more}


def _path(values: Curve, across: Axis, up: Axis) -> str:
    """SVG path data; the pen is lifted over gaps, and a lone point becomes a dot."""
    parts, pen = [], False
    for step, value in values:
        if value is not None:
            height = min(max(up.at(value), -50.0), 150.0)
            parts.append(f"{'L' if pen else 'M'}{across.at(step) * 10:.1f} {1000 - height * 10:.1f}{'' if pen else 'h0'}")
        pen = value is not None
    return "".join(parts)


def _players(curves: dict[str, Curve]) -> dict[str, dict[str, Curve]]:
    """Loss terms by player; what has no player stands under an empty name."""
    groups: dict[str, dict[str, Curve]] = {}
    for key, values in curves.items():
        kind, _, name = key.partition("/")
        player, _, term = name.partition("/") if "/" in name else ("", "", name)
        if kind == "train" and player != "lr":
            groups.setdefault(player, {})[term] = values
    return groups


def _losses(player: str, terms: dict[str, Curve], last: int) -> dict[str, Any]:
    return _chart(player or "other", terms, last)


def _rates(curves: dict[str, Curve], last: int) -> dict[str, Any] | None:
    """Learning rates; players that share one share a line."""
    shared: dict[str, Curve] = {}
    for key, values in curves.items():
        if key.startswith("train/lr/"):
            twin = next((name for name, other in shared.items() if other == values), None)
            name = key.removeprefix("train/lr/")
            shared[f"{twin}, {name}" if twin else name] = shared.pop(twin) if twin else values
    return _chart("Learning rate", shared, last, zero=True) if shared else None


def _metric_name(key: str) -> str | None:
    return key.removeprefix("val/") if key.startswith("val/") and "input" not in key.split("/") else None


def _metric(name: str, curves: dict[str, Curve], last: int) -> dict[str, Any]:
    """One validation curve, its best value, and the same metric of the unchanged input: val/input/NAME."""
    *path, short = name.split("/")
    known = [(step, value) for step, value in curves[f"val/{name}"] if value is not None]
    rising = short in RISING
    best = (max if rising else min)(known, key=lambda point: point[1]) if known else None
    untouched = [v for _, v in curves.get("/".join(["val", *path, "input", short]), curves.get(f"val/input/{name}", [])) if v is not None]
    title = " ".join([*path, TITLES.get(short, short)])
    more = {"rising": rising, "best": best, "unit": "dB" if short == "psnr" else "", "final": known[-1][1] if known else None}
    return _chart(title, {name: curves[f"val/{name}"]}, last, untouched[-1] if untouched else None, **more)


def _samples(folder: Path) -> list[dict[str, Any]]:
    files = sorted(path for path in folder.glob("step-*.png") if path.stem.removeprefix("step-").isdigit())
    if len(files) > SAMPLES:
        files = [files[round(index * (len(files) - 1) / (SAMPLES - 1))] for index in range(SAMPLES)]
    pictures = [(path, _picture(path, BUDGET // len(files))) for path in files]
    return [{"step": int(path.stem.removeprefix("step-")), **picture} for path, picture in pictures if picture]


def _picture(path: Path, budget: int) -> dict[str, Any] | None:
    """A data URI of at most about `budget` bytes: exact if that fits, else WebP, else smaller; None if cut or damaged."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    width, kind, content = image.width, "webp", b""
    for quality, shrink in ((None, 1.0), (90, 1.0), (75, 1.0), (75, 0.7), (75, 0.5), (60, 0.3)):
        buffer, size = io.BytesIO(), (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
        if quality is None:
            image.save(buffer, "PNG", optimize=True)
        else:
            (image if shrink == 1 else image.resize(size, Image.Resampling.LANCZOS)).save(buffer, "WEBP", quality=quality)
        kind, content = "webp" if quality else "png", buffer.getvalue()
        if len(content) <= budget:
            break
    return {"uri": f"data:image/{kind};base64,{base64.b64encode(content).decode()}", "width": width, "height": image.height}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError:
        return None


def _settings(text: str) -> dict[str, Any]:
    import yaml

    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return settings if isinstance(settings, dict) else {}
