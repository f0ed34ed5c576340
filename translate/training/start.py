"""`translate train`: from a config or a run folder to a finished run."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch

from translate import checkpoints
from translate.config.load import dump, load, parse
from translate.config.run import Export, Run
from translate.data import find as find_data
from translate.data.source import Source, SourceConfig, size_of
from translate.errors import CheckpointError, ConfigError, TrainingError
from translate.nn.blocks import Dropout
from translate.recipes import find as find_recipe
from translate.training.devices import Placement, placement
from translate.training.journal import Journal, environment, replace
from translate.training.loop import Trainer
from translate.training.progress import Progress
from translate.training.report import write_report
from translate.training.tracking import Tracker


class Ended(NamedTuple):
    finished: bool  # by itself and not by a signal
    folder: Path
    export: Export | None  # what is to be exported now: of a finished run, by its first process


def train(
    config: str | None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    resume: Path | None = None,
    steps: int | None = None,
    dry_run: bool = False,
) -> Ended:
    """Trains the experiment that `config` names into `out`, or goes on with the run folder `resume`.

    Raises TranslateError for all that the user can mend.
    """
    state: dict[str, Any] | None = None
    if resume is not None:
        if out is not None:
            raise ConfigError("--out: a resumed run goes on in its own folder; leave --out away")
        run, state = _saved(resume, overrides)
        name, folder = resume.resolve().name, resume
    else:
        assert config is not None
        run, name = load(config, overrides), Path(config).stem
        folder = out or Path("runs") / f"{name}-{datetime.now().strftime('%Y%m%d-%H%M%S')}"
    with placement(run) as place:
        if place.first:
            print(dump(run), end="", flush=True)
        if dry_run:
            return Ended(True, folder, None)
        if place.first and resume is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"--out: {folder} is there already: choose another, or go on with --resume {folder}")
        trainer = _build(run, folder, place)
        if state is not None:
            trainer.restore(state)
        finished = _run(trainer, name, steps, resumed=state is not None)
        return Ended(finished, folder, run.export if finished and place.first else None)


def _build(run: Run, folder: Path, place: Placement) -> Trainer:
    """Opens the data, checks them against the recipe, and makes the networks from the seed."""
    method = find_recipe(run.recipe.kind)
    assert isinstance(run.data, SourceConfig)
    if place.first:
        run.data.prepare()
    place.wait()
    source: Source = find_data(run.data.kind)(run.data, method.multiple(run.recipe))
    taken = method.batch_type if isinstance(method.batch_type, tuple) else (method.batch_type,)
    if source.batch_type not in taken:
        raise ConfigError(
            f"data.kind: {run.data.kind} gives {source.batch_type.__name__} images, "
            f"but recipe.kind: {run.recipe.kind} takes {' or '.join(kind.__name__ for kind in taken)} ones"
        )
    torch.manual_seed(run.seed)
    recipe = method(run.recipe, source.channels, size_of(run.data), source.classes)
    if run.export and run.export.noise and not any(isinstance(layer, Dropout) for layer in recipe.modules()):
        raise ConfigError("export.noise: these networks have no dropout that could be the noise; set it to false")
    return Trainer(run, folder, recipe, source, place)


def _run(trainer: Trainer, name: str, steps: int | None, resumed: bool) -> bool:
    place, folder = trainer.placement, trainer.folder
    journal: Journal | None = None
    if place.first:
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            replace(folder / "config.yaml", f"# {name}\n{dump(trainer.run)}".encode())
            replace(folder / "environment.json", json.dumps(environment(), indent=2).encode())
        metrics = folder / "metrics.jsonl"
        journal = Journal.resume(metrics, trainer.step) if resumed else Journal(metrics)
    settings = trainer.run.model_dump(mode="json")
    with (
        journal or nullcontext(),
        Progress(place.rank, trainer.step) as progress,
        Tracker(trainer.run.log.wandb, folder, name, settings, place.rank, progress.note) as tracker,
    ):
        progress.note(f"{trainer.source.describe()}")
        progress.note(
            f"{folder}: step {trainer.step} of {trainer.total} on {place.device}, "
            f"{str(place.dtype or torch.float32).removeprefix('torch.')}, {torch.get_num_threads()} threads"
        )
        try:
            finished = trainer.train(journal, progress, tracker, steps)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"step {trainer.step}: the memory of {place.device} is full ({str(error).split('. ')[0]}): lower "
                "data.batch_size or the size of the images, or wait until other programs leave it"
            ) from None
        if journal is not None:
            progress.note(f"report: {write_report(folder)}")
        if not finished:
            progress.note(f"stopped at step {trainer.step}: go on with --resume {folder}")
        return finished


def _saved(folder: Path, overrides: Sequence[str]) -> tuple[Run, dict[str, Any]]:
    """The config and the last checkpoint of a run."""
    path = folder / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"--resume: {folder} is not a run folder: it has no config.yaml")
    run = parse(path.read_text(encoding="utf-8"), str(path), overrides)
    last = folder / "checkpoints" / "last.pt"
    state = checkpoints.load(last)
    now = run.model_dump(mode="json")
    changed = [key for key in ("recipe", "data", "optimizer") if state["config"][key] != now[key]]
    if changed:
        raise CheckpointError(
            f"{last}: was trained with another {' and '.join(changed)} than {path} (with --set) now says: "
            "undo the change, or start a new run"
        )
    return run, state
