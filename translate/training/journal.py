"""What a run writes down about itself: `metrics.jsonl`, one object a line, and `environment.json`.

Every line is written by one call, so a killed process leaves at most one cut line, the last. The reader skips it and
`Journal.resume` removes it, together with the lines of steps that will be done again.
"""

import contextlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from translate import __version__
from translate.errors import CheckpointError

Row = dict[str, Any]  # step, epoch, images, seconds, then numbers, None for what was not finite; alarms are texts
Curve = list[tuple[int, float | None]]  # (step, value)

POINTS = 500  # of a thinned curve


class Journal:
    """Appends to `path`. Write a step's lines before its checkpoint: what a resumed run keeps is then complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise _unwritable(path, error) from error

    @classmethod
    def resume(cls, path: Path, step: int) -> Self:
        """Go on after the checkpoint of `step`: whole lines up to that step stay, as they are, and nothing else."""
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if (row := _row(line)) is not None and row["step"] <= step]
            if kept != lines:
                replace(path, b"".join(kept))
        return cls(path)

    def write(self, step: int, epoch: int, images: int, seconds: float, values: Mapping[str, float | str]) -> None:
        """`values` such as `train/lr/generator`, `val/psnr`, or an alarm's text; what is not finite becomes null."""
        row: Row = {"step": step, "epoch": epoch, "images": images, "seconds": round(seconds, 3)}
        for key, value in values.items():
            row[key] = value if isinstance(value, str) else float(value) if math.isfinite(value) else None
        line = json.dumps(row, allow_nan=False, ensure_ascii=False).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written != len(line):  # a disk that is filling up takes the first part
                self._file.write(line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise _unwritable(self.path, error) from error

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> list[Row]:
    """The whole lines of a journal; none if there is no file yet."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [row for line in lines if (row := _row(line)) is not None]


def _row(line: bytes) -> Row | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)  # bytes that are no UTF-8 raise a ValueError, too
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def curve(rows: Sequence[Row], key: str) -> Curve:
    """The rows that have `key`; None where its value was not finite."""
    values = [(row["step"], row[key]) for row in rows if isinstance(row.get(key, ""), int | float | None)]
    return [(step, value if value is not None and math.isfinite(value) else None) for step, value in values]


def smooth(values: Curve) -> Curve:
    """Centred moving average over a 25th of the points: it does not lag. At the ends, half of the window."""
    width, result = len(values) // 50, Curve()
    sums, counts = [0.0], [0]
    for _, value in values:
        sums.append(sums[-1] + (value or 0.0))
        counts.append(counts[-1] + (value is not None))
    for index, (step, value) in enumerate(values):
        low, high = max(index - width, 0), min(index + width + 1, len(values))
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


def replace(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a machine that lost power, finds the old file or the new one, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(f"{path}: cannot be written ({error.strerror}); make room or access, then use --resume")


def environment() -> dict[str, Any]:
    """Where and how this process runs, for `environment.json`."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("Apple MPS")
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "package": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "gpu": ", ".join(gpus) or None,
    }


def _commit() -> str | None:
    """The commit of the package's own source, with `-dirty` if it was changed; None for an installed package."""
    if _ask("git", "ls-files", "--error-unmatch", "errors.py") is None:
        return None
    return _ask("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _cpu() -> str | None:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    if not names and sys.platform == "darwin":
        return _ask("sysctl", "-n", "machdep.cpu.brand_string")
    return names[0] if names else platform.processor() or platform.machine() or None


def _ask(*command: str) -> str | None:
    """What a program answers when run in the package's folder, if it exists and succeeds."""
    folder = Path(__file__).parent.parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
