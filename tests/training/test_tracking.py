import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from translate.errors import ConfigError
from translate.training.tracking import Tracker


def _python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """wandb starts a service and changes the process: it runs in one of its own, with no home and no network."""
    base = {"PATH": "/usr/bin:/bin", "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=base | environment,
        cwd=Path(__file__).parents[2],
    )


def test_off_does_nothing_and_imports_nothing(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from translate.training.tracking import Tracker
for mode, rank in (("off", 0), ("online", 1), ("offline", 1)):
    with Tracker(mode, Path(sys.argv[1]), "name", {}, rank=rank) as tracker:
        tracker.log(1, {"train/generator/l1": 1.0})
        tracker.sample(1, Path("none.png"))
assert not {"wandb", "torch", "matplotlib"} & set(sys.modules)
"""
    done = _python(code, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_offline_needs_no_account_and_resumes_the_same_run(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "step-00000001.png")
    code = """
import sys
from pathlib import Path
from translate.training.tracking import Tracker
run = Path(sys.argv[1])
with Tracker("offline", run, "emoji", {"seed": 0, "optimizer": {"lr": 2e-4}}) as tracker:
    tracker.log(int(sys.argv[2]), {"train/generator/l1": 1.0, "train/lr/generator": 2e-4})
    tracker.sample(int(sys.argv[2]), run / "step-00000001.png", "step 1")
"""
    for step in ("1", "2"):
        done = _python(code, str(tmp_path), step, HOME=str(tmp_path / "home"))
        assert done.returncode == 0, done.stderr
        assert done.stdout + done.stderr == ""
    identity = json.loads((tmp_path / "wandb.json").read_text())["id"]
    runs = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert len(runs) == 2
    for run in runs:
        assert run.name.endswith(identity)
        assert b"train/generator/l1" in (run / f"run-{identity}.wandb").read_bytes()
        assert list(run.glob("files/media/images/*.png"))


@pytest.mark.slow
def test_online_without_a_login_says_what_to_do(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from translate.errors import ConfigError
from translate.training.tracking import Tracker
try:
    Tracker("online", Path(sys.argv[1]), "emoji", {})
except ConfigError as error:
    print(error)
"""
    done = _python(code, str(tmp_path), HOME=str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "log.wandb: online needs a login: run `wandb login`, or set log.wandb: offline\n"


class _Run:
    """What wandb.init returns, breaking at the second call."""

    def __init__(self) -> None:
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished: int | None = None

    def log(self, values: dict[str, float], step: int) -> None:
        if self.logged:
            raise RuntimeError("the service\nwent away")
        self.logged.append((values, step))

    def finish(self, exit_code: int) -> None:
        self.finished = exit_code


def _started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: _Run) -> tuple[Tracker, list[str]]:
    notes: list[str] = []
    monkeypatch.setattr("translate.training.tracking._start", lambda *_: run)
    return Tracker("online", tmp_path, "name", {}, note=notes.append), notes


def test_a_failure_in_mid_run_is_told_once_and_ends_only_the_tracking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _Run()
    tracker, notes = _started(tmp_path, monkeypatch, run)
    with tracker:
        for step in range(1, 5):
            tracker.log(step, {"train/generator/l1": 1.0})
    assert run.logged == [({"train/generator/l1": 1.0}, 1)]
    assert notes == ["wandb failed (the service went away): nothing more is logged to it, training goes on"]


def test_a_run_that_failed_is_marked_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = _Run(), _Run()
    with _started(tmp_path, monkeypatch, good)[0]:
        pass
    with pytest.raises(ZeroDivisionError), _started(tmp_path, monkeypatch, bad)[0]:
        raise ZeroDivisionError
    assert (good.finished, bad.finished) == (0, 1)


def test_a_start_that_fails_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        Settings = dict

        def setup(self, settings: object) -> None:
            raise RuntimeError("no service")

    monkeypatch.setitem(sys.modules, "wandb", Broken())
    with pytest.raises(ConfigError, match=r"log\.wandb: online: wandb did not start \(no service\); .*: offline"):
        Tracker("online", tmp_path, "name", {})
