"""Weights & Biases, if `log.wandb` asks for it: losses, learning rates and sample grids."""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from translate.errors import ConfigError
from translate.training.journal import replace

Mode = Literal["off", "online", "offline"]


class Tracker:
    """Sends what the journal holds to wandb as well; with `off`, and on every rank but 0, it does and imports nothing.

    `offline` needs neither account nor network: `wandb sync RUN/wandb/offline-run-*` sends it later. The id of the
    wandb run stands in RUN/wandb.json, so a resumed run goes on in the same one. What breaks after the start is told
    once through `note` and ends the tracking, not the training.
    """

    def __init__(
        self,
        mode: Mode,
        run: Path,
        name: str,
        config: Mapping[str, Any],
        rank: int = 0,
        note: Callable[[str], None] = print,
    ) -> None:
        self._note = note
        self._run: Any = None
        if mode != "off" and rank == 0:
            self._run = _start(mode, run, name, dict(config))

    def log(self, step: int, values: Mapping[str, float | str]) -> None:
        """The journal's keys and values. wandb wants steps in order: after a resume it keeps what it has."""
        self._try(lambda: self._run.log(dict(values), step=step))

    def sample(self, step: int, path: Path, caption: str = "") -> None:
        """A grid of pictures, copied at once."""

        def send() -> None:
            import wandb

            self._run.log({"samples": wandb.Image(str(path), caption=caption or None)}, step=step)

        self._try(send)

    def close(self, failed: bool = False) -> None:
        self._try(lambda: self._run.finish(exit_code=int(failed)))
        self._run = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def _try(self, action: Callable[[], object]) -> None:
        if self._run is None:
            return
        try:
            action()
        except Exception as error:
            self._run = None
            self._note(f"wandb failed ({_line(error)}): nothing more is logged to it, training goes on")


def _start(mode: Literal["online", "offline"], run: Path, name: str, config: dict[str, Any]) -> Any:
    if mode == "offline":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports need a network, too
    import wandb

    quiet = wandb.Settings(silent=True, console="off", x_save_requirements=False, finish_timeout=600)
    try:
        wandb.setup(settings=quiet)
        if mode == "online" and not wandb.login(prompt=False, verify=False):
            raise ConfigError("log.wandb: online needs a login: run `wandb login`, or set log.wandb: offline")
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "translate"),
            name=name,
            id=_identity(run / "wandb.json"),
            resume="allow" if mode == "online" else None,  # offline, the same id is enough
            dir=run,
            config=config,
            mode=mode,
            settings=quiet,
        )
    except ConfigError:
        raise
    except Exception as error:
        other = "offline" if mode == "online" else "'off'"
        raise ConfigError(f"log.wandb: {mode}: wandb did not start ({_line(error)}); set log.wandb: {other}") from error


def _identity(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_bytes())["id"])
    identity = secrets.token_hex(4)
    replace(path, json.dumps({"id": identity}).encode() + b"\n")
    return identity


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
