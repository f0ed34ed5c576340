"""What a person sees while training runs: a live bar on a terminal, plain lines in a log."""

import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress:
    """Shows progress on stderr; silent on every rank but 0.

    Drawn only when told something new: no thread runs beside the training, and worker processes can be forked freely.
    A terminal that went away (a closed window under nohup) ends the display, not the training.
    """

    def __init__(self, rank: int = 0, start: int = 0, console: Console | None = None) -> None:
        """`start`: steps that were done before, by the run that is resumed."""
        self._console = console or Console(stderr=True)
        self._silent = rank != 0
        terminal = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if terminal and not self._silent else None
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), start)], maxlen=20)

    def __enter__(self) -> Self:
        self._marks[0] = (time.monotonic(), self._marks[0][1])
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            try:
                self._live.stop()
            except OSError:
                self._silent = True

    def update(
        self,
        epoch: int,
        epochs: int,
        step: int,
        total: int,
        images_per_second: float,
        losses: Mapping[str, float],
    ) -> None:
        """`losses` by `player/term`, as they are minimised: a player's loss is the sum of its terms."""
        if self._silent:
            return
        self._marks.append((time.monotonic(), step))
        eta, speed = self._eta(total), f"{images_per_second:.3g} images/s"
        if images_per_second >= 100:
            speed = f"{images_per_second:,.0f} images/s"
        if self._live is None:
            facts = [f"step {step}/{total}", f"epoch {epoch}/{epochs}", speed, f"eta {eta}", *summary(losses)]
            self._print("  ".join(facts))
            return
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text(f"epoch {epoch}/{epochs}", style="bold"),
            ProgressBar(total=max(total, 1), completed=step, width=max(10, min(40, self._console.width - 70))),
            Text(f"{step}/{total}", style="green"),
            Text(speed, style="cyan"),
            Text(f"eta {eta}", style="yellow"),
        )
        self._live.update(Group(bar, Text("  ".join(summary(losses)), style="dim")))
        try:
            self._live.refresh()
        except OSError:
            self._silent = True

    def note(self, message: str) -> None:
        """One line that stays: a skipped file, a validation result, an alarm."""
        if not self._silent:
            self._print(message)

    def _print(self, message: str) -> None:
        try:
            self._console.print(message, markup=False, highlight=False, emoji=False, soft_wrap=True)
        except OSError:
            self._silent = True

    def _eta(self, total: int) -> str:
        """From the speed of the last few intervals: it forgets the slow start and follows a change."""
        (begin, first), (end, last) = self._marks[0], self._marks[-1]
        if last <= first:
            return "-:--:--"
        return str(timedelta(seconds=round((end - begin) / (last - first) * max(total - last, 0))))


def summary(losses: Mapping[str, float]) -> list[str]:
    """`{"g/adversarial": 0.93, "g/l1": 7.28, "d/real": 0.61}` → `["g 8.21 (adversarial 0.93, l1 7.28)", "d 0.61"]`."""
    players: dict[str, dict[str, float]] = {}
    for key, value in losses.items():
        player, _, term = key.partition("/")
        players.setdefault(player, {})[term] = value
    lines = []
    for player, terms in players.items():
        parts = ", ".join(f"{term} {_short(value)}" for term, value in terms.items())
        lines.append(f"{player} {_short(sum(terms.values()))}" + (f" ({parts})" if len(terms) > 1 else ""))
    return lines


def _short(value: float) -> str:
    return f"{value:.2f}" if value == 0 or 0.1 <= abs(value) < 1000 else f"{value:.2g}"
