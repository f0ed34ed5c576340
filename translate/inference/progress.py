"""How far a batch is, and what became of it."""

import sys
import threading
import time
from collections import Counter
from typing import Any

from translate.inference.inputs import Inputs
from translate.inference.manifest import Manifest, Row, Status

_SHOWN = 5  # failures, at the end


class Progress:
    """Counts what became of the inputs, tells the manifest, and shows a bar where there is a terminal.

    `stop` is set at the first failure where `on_error` is "fail".
    """

    def __init__(self, inputs: Inputs, manifest: Manifest | None, on_error: str, stop: threading.Event) -> None:
        self.counts: Counter[Status] = Counter()
        self.failures: list[str] = []
        self._inputs, self._manifest, self._start = inputs, manifest, time.perf_counter()
        self._stop = stop if on_error == "fail" else threading.Event()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt}, {rate_noinv_fmt}, {remaining} left"
            self._bar = tqdm(total=inputs.total, unit=" images", bar_format=form, dynamic_ncols=True)

    def add(self, row: Row) -> None:
        if self._manifest is not None:
            self._manifest.add(row)
        if row.status == "failed":
            self._stop.set()
            error = " ".join((row.error or "").split())
            if len(self.failures) < _SHOWN:
                self.failures.append(error if row.input in error else f"{row.input}: {error}")
        self.count(row.status)

    def count(self, status: Status) -> None:
        self.counts[status] += 1
        if self._bar is not None:
            self._bar.total = self._inputs.total
            self._bar.update()

    def close(self) -> None:
        """Says what became of them all."""
        if self._bar is not None:
            self._bar.close()
        failed = self.counts["failed"]
        for failure in self.failures:
            print(f"failed: {failure}", file=sys.stderr)
        if failed > len(self.failures):
            where = f", see {self._manifest.path}" if self._manifest is not None else ""
            print(f"failed: {failed - len(self.failures)} more{where}", file=sys.stderr)
        rate = self.counts["done"] / (time.perf_counter() - self._start)
        print(f"done {self.counts['done']}, skipped {self.counts['skipped']}, failed {failed}; {rate:.2f} images/s")
