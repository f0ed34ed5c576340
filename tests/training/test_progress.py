import io
import re
import time

import pytest
from rich.console import Console

from translate.training.progress import Progress, summary

LOSSES = {"generator/adversarial": 0.93, "generator/l1": 7.28, "discriminators/adversarial": 0.61}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(Terminal):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def _terminal(file: io.StringIO, width: int = 100) -> Console:
    return Console(file=file, force_terminal=True, width=width, legacy_windows=False, _environ={"TERM": "xterm"})


def _show(progress: Progress) -> None:
    with progress:
        progress.update(3, 40, 200, 4000, 41.2, LOSSES)
        progress.note("skipped [bold]a.png[/bold]: truncated :smile:")
        progress.update(3, 40, 250, 4000, 41.2, LOSSES)


def test_summary_adds_the_terms_of_a_player() -> None:
    assert summary(LOSSES) == ["generator 8.21 (adversarial 0.93, l1 7.28)", "discriminators 0.61"]
    assert summary({"critic/loss": -3.1e-5, "critic/penalty": 12345.0}) == [
        "critic 1.2e+04 (loss -3.1e-05, penalty 1.2e+04)"
    ]
    assert summary({"loss": 0.0, "bad/loss": float("nan")}) == ["loss 0.00", "bad nan"]
    assert summary({}) == []


def test_a_log_file_gets_one_plain_line_an_interval() -> None:
    out = io.StringIO()
    _show(Progress(console=Console(file=out, width=20)))
    first, note, second = out.getvalue().splitlines()
    assert re.fullmatch(
        r"step 200/4000  epoch 3/40  41\.2 images/s  eta \d+:\d\d:\d\d  "
        r"generator 8\.21 \(adversarial 0\.93, l1 7\.28\)  discriminators 0\.61",
        first,
    )
    assert note == "skipped [bold]a.png[/bold]: truncated :smile:"
    assert second.startswith("step 250/4000")


def test_by_default_it_speaks_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    _show(Progress())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 3


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_a_terminal_gets_a_bar_and_lasting_notes(width: int) -> None:
    out = Terminal()
    _show(Progress(console=_terminal(out, width)))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert text.count("skipped [bold]a.png[/bold]") == 1
    assert "\x1b[" in out.getvalue()
    if width >= 80:
        for part in ("epoch 3/40", "200/4000", "41.2 images/s", "eta ", "generator 8.21", "━"):
            assert part in text


def test_forced_colours_do_not_turn_a_log_file_into_a_bar() -> None:
    out = io.StringIO()
    _show(Progress(console=_terminal(out)))
    assert out.getvalue().count("\n") == 3


def test_other_ranks_are_silent() -> None:
    out, terminal = io.StringIO(), Terminal()
    _show(Progress(rank=1, console=Console(file=out)))
    _show(Progress(rank=1, console=_terminal(terminal)))
    assert out.getvalue() == terminal.getvalue() == ""


def test_a_terminal_that_went_away_does_not_end_training() -> None:
    out = Terminal()
    console = _terminal(out)
    progress = Progress(console=console)
    with progress:
        progress.update(1, 2, 1, 10, 1.0, LOSSES)
        console.file = Gone()
        progress.update(1, 2, 2, 10, 1.0, LOSSES)
        progress.note("still here")


def test_the_bar_is_gone_after_an_error() -> None:
    out = Terminal()
    progress = Progress(console=_terminal(out))
    with pytest.raises(KeyboardInterrupt), progress:
        raise KeyboardInterrupt
    assert out.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_eta_counts_from_the_resumed_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    out = io.StringIO()
    with Progress(start=1000, console=Console(file=out)) as progress:
        progress.update(1, 1, 1000, 2000, 5.0, {})
        now += 50.0
        progress.update(1, 1, 1100, 2000, 5.0, {})
        now += 1.0
        progress.update(1, 1, 2000, 2000, 1234.5, {})
    lines = out.getvalue().splitlines()
    assert "eta -:--:--" in lines[0]
    assert "eta 0:07:30" in lines[1]
    assert "eta 0:00:00" in lines[2]
    assert "1,234 images/s" in lines[2]
