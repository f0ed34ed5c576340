"""A run that was stopped and resumed is the run that was not, to the last bit."""

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from translate.checkpoints import load
from translate.errors import CheckpointError, ConfigError
from translate.training.journal import read
from translate.training.start import train

Tiny = Callable[..., str]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "translate", "train", *map(str, arguments)]


def same(x: Any, y: Any, path: str = "") -> None:
    """Every tensor and number equal to the last bit, but for the wall-clock time."""
    assert type(x) is type(y), path
    if isinstance(x, torch.Tensor):
        assert torch.equal(x, y), path
        assert x.dtype == y.dtype, path
    elif isinstance(x, dict):
        assert x.keys() == y.keys(), path
        for key in x:
            if key not in ("seconds", "version"):
                same(x[key], y[key], f"{path}.{key}")
    elif isinstance(x, list | tuple):
        assert len(x) == len(y), path
        for index, (a, b) in enumerate(zip(x, y, strict=True)):
            same(a, b, f"{path}.{index}")
    else:
        assert x == y, path


def losses(run: Path) -> dict[int, dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    for row in read(run / "metrics.jsonl"):
        rows.setdefault(row["step"], {}).update({k: v for k, v in row.items() if k != "seconds"})
    return rows


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["pix2pix", "cyclegan"])
def test_resume_is_bit_exact(kind: str, precision: str, tiny: Tiny, tmp_path: Path) -> None:
    config, settings = tiny(kind), [f"precision={precision}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(config, settings, whole, steps=40).finished
    assert train(config, settings, parts, steps=18).finished  # in mid-epoch, between two lines of the journal
    assert train(None, resume=parts, steps=40).finished
    same(load(whole / "checkpoints" / "last.pt"), load(parts / "checkpoints" / "last.pt"))
    a, b = losses(whole), losses(parts)
    assert len(a) == 10
    assert {step: b[step] for step in a} == a
    assert any("val/psnr" in row for row in a.values())


def test_the_number_of_workers_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("pix2pix")
    for workers in (0, 2):
        train(config, [f"data.workers={workers}"], tmp_path / str(workers), steps=6)
    states = [load(tmp_path / str(workers) / "checkpoints" / "last.pt") for workers in (0, 2)]
    same(states[0]["recipe"], states[1]["recipe"])


def test_another_seed_is_another_run(tiny: Tiny, tmp_path: Path) -> None:
    for seed in (0, 1):
        train(tiny("pix2pix"), [f"seed={seed}"], tmp_path / str(seed), steps=2)
    states = [load(tmp_path / str(seed) / "checkpoints" / "last.pt") for seed in (0, 1)]
    with pytest.raises(AssertionError):
        same(states[0]["recipe"], states[1]["recipe"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(number: int, tiny: Tiny, tmp_path: Path) -> None:
    config, run = tiny("cyclegan", ("epochs: 2", "epochs: 2000")), tmp_path / "run"
    process = subprocess.Popen(
        command("--config", config, "--out", run), stderr=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 8/"):
            process.send_signal(number)
            break
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert f"go on with --resume {run}" in rest
    stopped = load(run / "checkpoints" / "last.pt")["clock"]["step"]
    assert stopped >= 8
    assert (run / "report.html").exists()
    assert train(None, resume=run, steps=stopped + 1).finished


def test_kill_9_at_any_moment_leaves_a_loadable_checkpoint(tiny: Tiny) -> None:
    """Three times here; by default the script does it twenty times."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    config = tiny("pix2pix", ("epochs: 4", "epochs: 4000"), ("every: 4", "every: 1"))
    result = subprocess.run(
        [sys.executable, str(script), "--kills", "3", "--config", config], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 kills left a loadable checkpoint" in result.stdout


def test_a_finished_run_stays_as_it_is(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pix2pix"), (), run, steps=4)
    before = load(run / "checkpoints" / "last.pt")
    assert train(None, resume=run, steps=4).finished
    same(before, load(run / "checkpoints" / "last.pt"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"resume": "nowhere"}, "nowhere is not a run folder"),
        ({"resume": "run", "out": "elsewhere"}, "leave --out away"),
        ({"resume": "run", "overrides": ["recipe.generator.width=8"]}, "was trained with another recipe"),
        ({"config": "x", "out": "run"}, "is there already"),
    ],
)
def test_mistakes_of_resuming(arguments: dict[str, Any], message: str, tiny: Tiny, tmp_path: Path) -> None:
    config = tiny("pix2pix")
    train(config, (), tmp_path / "run", steps=1)
    paths = {key: tmp_path / str(arguments[key]) for key in ("resume", "out") if key in arguments}
    overrides: Sequence[str] = arguments.get("overrides", ())
    with pytest.raises((CheckpointError, ConfigError)) as caught:
        train(config if "config" in arguments else None, overrides, **paths)
    assert message in str(caught.value)
