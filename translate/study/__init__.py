"""`translate study`: whether a classifier carries over to a domain without labels, with the evidence.

Trains source-only, each adapted variant, translated images with and without adaptation, the labelled target and a null
test, from several seeds on the same network, and tabulates them.
"""

import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from translate.config.load import dump, load
from translate.data import find as find_data
from translate.data.source import SourceConfig
from translate.errors import ConfigError
from translate.study.cells import Task, work
from translate.study.report import write
from translate.study.variants import Variant, select, translator, variants
from translate.training.journal import replace


def study(
    config: str,
    overrides: Sequence[str] = (),
    *,
    seeds: int = 5,
    out: Path | None = None,
    chosen: Sequence[str] = (),
    steps: int | None = None,
    jobs: int = 1,
) -> Path | None:
    """Writes study.json and study.html into `out` and returns the page; None if a signal ended it.

    What is finished in `out` is not trained again, and what is not goes on. Raises TranslateError for all that the user
    can mend.
    """
    run = load(config, overrides)
    if run.recipe.kind != "dann":
        raise ConfigError(f"recipe.kind: a study is of dann, not of {run.recipe.kind}")
    data = run.data
    assert isinstance(data, SourceConfig)
    data.prepare()
    folder = out or Path("runs") / f"study-{Path(config).stem}"
    _claim(folder, f"{dump(run)}steps: {steps}\n")
    source = find_data(data.kind)(data)
    if not source.classes:
        raise ConfigError("data: a study is of classes, and these data have none")
    known, with_translator = variants(run), translator(run)
    found = select(known, chosen)
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None

    def task(variant: Variant | None, seed: int) -> Task:
        name = variant.name if variant else "translator"
        return Task(folder / "cells" / f"{name}-{seed}", seed, data, variant, with_translator, steps, threads)

    wanted = any(variant.translated for variant in found)
    first = [task(None, seed) for seed in range(seeds)] if wanted else []
    then = [task(variant, seed) for seed in range(seeds) for variant in found]
    if not (_all(first, jobs) and _all(then, jobs)):
        print(f"stopped: the same command with --out {folder} goes on")
        return None
    cells: dict[str, dict[int, Any]] = {}
    for variant in known:  # of earlier calls, too
        tasks = [task(variant, seed) for seed in range(seeds)]
        if all(each.done for each in tasks):
            cells[variant.name] = {each.seed: json.loads((each.folder / "cell.json").read_bytes()) for each in tasks}
    shown = [variant for variant in known if variant.name in cells]
    return write(folder, run, source, shown, cells)


def _claim(folder: Path, settings: str) -> None:
    """A folder holds one study; more seeds and variants may join it."""
    path = folder / "study.yaml"
    if path.is_file() and path.read_text(encoding="utf-8") != settings:
        raise ConfigError(f"--out: {folder} holds a study with other settings: choose another, or undo the change")
    if not path.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"--out: {folder} is there already, and is no study: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    replace(path, settings.encode())


def _all(tasks: Sequence[Task], jobs: int) -> bool:
    """Whether all came to their end."""
    left = [task for task in tasks if not task.done]
    if jobs == 1 or len(left) < 2:
        return all(_told(task, work(task)) for task in left)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return all(_told(task, finished) for task, finished in zip(left, pool.map(work, left), strict=True))


def _told(task: Task, finished: bool) -> bool:
    if finished:
        cell = json.loads((task.folder / "cell.json").read_bytes())
        accuracy = f", accuracy {cell['labelled']['accuracy']:.2%}" if "labelled" in cell else ""
        print(f"{task.folder.name}: {cell['steps']} steps in {cell['seconds']:.0f} s{accuracy}", flush=True)
    return finished
