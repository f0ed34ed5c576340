"""One cell of the table: a variant trained from one seed, and everything measured of it."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from translate import checkpoints
from translate.config.load import dump
from translate.config.run import Run
from translate.data import find as find_data
from translate.data.adaptation import Domains
from translate.data.source import Source, SourceConfig, size_of
from translate.inference.networks import load_networks
from translate.recipes import find as find_recipe
from translate.recipes.dann import DANN
from translate.study.domains import MemorySource, apart, halves, recoded, translated, unlabelled
from translate.study.measures import labelled, unlabelled_measures
from translate.study.variants import Variant
from translate.training.devices import placement
from translate.training.journal import Journal, replace
from translate.training.loop import Trainer
from translate.training.progress import Progress
from translate.training.report import write_report
from translate.training.tracking import Tracker


class Task(NamedTuple):
    """What a process needs to know to train a cell, or, where `variant` is None, a translator."""

    folder: Path
    seed: int
    data: SourceConfig
    variant: Variant | None
    translator: Run | None  # its config
    steps: int | None
    threads: int | None

    @property
    def done(self) -> bool:
        return (self.folder / "cell.json").is_file()

    @property
    def of_translator(self) -> Path:
        return self.folder.with_name(f"translator-{self.seed}")


def work(task: Task) -> bool:
    """Trains, or goes on with what is there, and measures. Returns whether it came to its end."""
    if task.threads:
        torch.set_num_threads(task.threads)
    original: Source = find_data(task.data.kind)(task.data)
    domains = original.domains()
    if task.variant is None:
        assert task.translator is not None
        other = task.translator.data
        assert isinstance(other, SourceConfig)
        source = MemorySource(original, Domains(*(recoded(part, task.data, other) for part in domains)), other)
        return _train(task, task.translator, source, None)
    match task.variant.domains:
        case "target":
            domains = domains._replace(source=domains.target, source_test=domains.target_test)
        case "halves":
            domains = halves(domains)
    if task.variant.translated:
        torch.manual_seed(task.seed)  # translators may have noise
        network = next(iter(load_networks(task.of_translator).values())).network
        assert task.translator is not None
        assert isinstance(task.translator.data, SourceConfig)
        domains = translated(domains, network, task.data, task.translator.data)
    return _train(task, task.variant.run, MemorySource(original, unlabelled(domains)), domains)


def _train(task: Task, run: Run, source: MemorySource, domains: Domains | None) -> bool:
    run = run.model_copy(update={"seed": task.seed})
    with placement(run) as place:
        torch.manual_seed(task.seed)
        recipe = find_recipe(run.recipe.kind)(run.recipe, source.channels, size_of(source.config), source.classes)
        trainer = Trainer(run, task.folder, recipe, source, place)
        last = task.folder / "checkpoints" / "last.pt"
        task.folder.mkdir(parents=True, exist_ok=True)
        replace(task.folder / "config.yaml", f"# {task.folder.name}\n{dump(run)}".encode())
        if last.is_file():
            trainer.restore(checkpoints.load(last, place.device))
        metrics = task.folder / "metrics.jsonl"
        with (
            Journal.resume(metrics, trainer.step) if last.is_file() else Journal(metrics) as journal,
            Progress(1) as progress,
            Tracker("off", task.folder, task.folder.name, {}) as tracker,
        ):
            finished = trainer.train(journal, progress, tracker, task.steps)
        write_report(task.folder)
        if not finished:
            return False
        cell: dict[str, Any] = {"seed": task.seed, "steps": trainer.step, "seconds": round(trainer.seconds, 1)}
        if domains is not None:
            assert isinstance(recipe, DANN)
            started = time.monotonic()
            networks = trainer.networks()
            cell["unlabelled"] = unlabelled_measures(recipe, networks, place, unlabelled(apart(domains)), task.seed)
            cell["labelled"] = labelled(recipe, networks, place, domains)
            cell["measured in"] = round(time.monotonic() - started, 1)
        replace(task.folder / "cell.json", json.dumps(cell, indent=1).encode())
        return True
