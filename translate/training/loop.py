"""The one training loop."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from translate import checkpoints
from translate.adversarial import Adversary, ImagePool
from translate.config.clock import Clock
from translate.config.run import Player, Run
from translate.data.source import Source, size_of
from translate.data.stream import Stream
from translate.errors import CheckpointError, ConfigError, TrainingError, unknown
from translate.recipes import Recipe
from translate.training.average import Average
from translate.training.devices import Placement
from translate.training.doctor import Doctor
from translate.training.graph import StepGraph, Values, possible
from translate.training.journal import Journal
from translate.training.meter import Meter
from translate.training.progress import Progress
from translate.training.tracking import Tracker
from translate.training.update import Update
from translate.training.validation import Validator, evaluating


class Trainer:
    """A run in progress: everything that a checkpoint holds, and the loop that moves it on."""

    def __init__(self, run: Run, folder: Path, recipe: Recipe, source: Source, placement: Placement) -> None:
        self.run, self.folder, self.source, self.placement = run, folder, source, placement
        self.recipe = placement.place(recipe)
        self.recipe.train()
        self.updates = self._updates()
        self.averages = {name: Average(network, run.ema) for name, network in recipe.deployed().items() if run.ema}
        self.meter = Meter()
        self.graph: StepGraph | None = None
        self.step, self.images, self.seconds = 0, 0, 0.0
        self.best: float | None = None
        per_step = recipe.draws * source.config.batch_size
        self.total = math.ceil(run.schedule.epochs * len(source.train) / per_step)
        self.epoch_steps = max(1, math.ceil(len(source.train) / per_step))
        self.validate = Validator(run, recipe, source, placement)
        self.doctor = Doctor(run, recipe, self.updates, placement, self.validate)
        if run.compile:  # not the discriminators: compiled code cannot be differentiated twice, as penalties are
            for network in recipe.deployed().values():
                network.compile()

    def _updates(self) -> dict[str, Update]:
        run, players = self.run, self.recipe.players()
        for name in run.players:
            if name not in players:
                raise ConfigError(f"players: {unknown('player', name, players)}")
        return {
            name: Update(modules, run.optimizer, self.placement, run.players.get(name, Player()))
            for name, modules in players.items()
        }

    @property
    def clock(self) -> Clock:
        return Clock(self.step, self.images, self.total, len(self.source.train))

    @property
    def epoch(self) -> int:
        """The epoch of the last step, from 1."""
        return min(self.clock.epoch, self.run.schedule.epochs)

    def train(self, journal: Journal | None, progress: Progress, tracker: Tracker, steps: int | None = None) -> bool:
        """Trains up to step `steps` of the schedule, or to its end. Returns whether it got there: a signal ends the
        run after the step in hand, with a checkpoint. Only the first process has a journal.
        """
        end = self.total if steps is None else min(steps, self.total)
        run, source = self.run, self.source
        stream = Stream(
            source.train,
            source.config.batch_size,
            run.seed,
            source.config.workers,
            first=self.images // source.config.batch_size,
            rank=self.placement.rank,
            world=self.placement.world,
            on_error=source.config.on_error,
            pin_memory=self.placement.device.type == "cuda",
        )
        validate_every = run.validation.every or self.epoch_steps
        save_every = run.save_every or validate_every
        reported = 0
        if run.cuda_graph and possible(self.updates, self.placement):
            self.graph = StepGraph(self.play, self.recipe, self.updates, self.placement, progress.note)
        with stream, stop_signals() as stopped:
            incoming = iter(stream)

            def draw() -> Any:
                self.images += source.config.batch_size
                return self.placement.move(next(incoming))

            started, first, since = time.monotonic(), self.seconds, self.images
            stop = False
            while self.step < end and not stop:
                self.one_step(draw)
                stop = self.placement.agree(stopped())
                self.seconds = first + time.monotonic() - started
                last = self.step == end or stop
                if self.step % run.log.every == 0 or last:
                    self.tell(stream.problems[reported:], progress)
                    reported = len(stream.problems)
                    speed = (self.images - since) / max(self.seconds - first, 1e-9)
                    self.log(journal, progress, tracker, speed)
                due = self.step % validate_every == 0
                if self.step == self.total:
                    self.settle(lambda: self.placement.move(next(incoming)), journal, progress, tracker)
                if due or self.step == end:
                    self.evaluate(journal, progress, tracker, due)
                if self.step % save_every == 0 or last:
                    self.save("last")
        return not stop

    def one_step(self, draw: Callable[[], Any]) -> None:
        """Randomness is a function of (seed, step, process): a resumed run needs no generator's state."""
        clock = self.clock
        torch.manual_seed(_seed(self.run.seed, self.step, self.placement.rank))
        for update in self.updates.values():
            update.at(self.run.schedule.factor(clock))
        self.doctor.watch(self.step + 1)
        self.meter.add(*(self.play if self.graph is None else self.graph)(draw, clock))
        self.step += 1
        for average in self.averages.values():
            average.n_averaged.fill_(self.step)  # which a recorded step does not count

    def play(self, draw: Callable[[], Any], clock: Clock) -> Values:
        """What the paper's algorithm does in one step. It may be recorded, and then does not run as Python."""
        told: list[tuple[str, Tensor]] = []
        for turn in self.recipe.step(draw, clock):
            self.updates[turn.player](turn)
            told += [(f"{turn.player}/{name}", loss) for name, loss in turn.losses.items()]
        for name, average in self.averages.items():
            average.update_parameters(self.recipe.deployed()[name])
        for name, module in self.recipe.named_modules():
            if isinstance(module, Adversary):
                told += [(f"{name}/{signal}", value) for signal, value in module.signals().items()]
        names, values = zip(*told, strict=True)
        return names, torch.stack([value.detach().float() for value in values])

    def settle(self, draw: Callable[[], Any], journal: Journal | None, progress: Progress, tracker: Tracker) -> None:
        """What the method does after its last step. Its batches are not counted."""
        networks = self.networks()
        with torch.no_grad(), evaluating(networks, self.run.seed):
            found = self.recipe.settle(networks, draw, self.clock)
        if found:
            progress.note("settled: " + "  ".join(f"{key} {value:.4g}" for key, value in found.items()))
            self.write(journal, tracker, {f"settled/{key}": value for key, value in found.items()})

    def log(self, journal: Journal | None, progress: Progress, tracker: Tracker, speed: float) -> None:
        """Writes the means since the last regular line; a loss that is not finite ends the run."""
        values = self.meter.means()
        if self.step % self.run.log.every == 0:
            self.meter.clear()
        factor = self.run.schedule.factor(self.clock)
        row: dict[str, float | str] = {f"train/{key}": value for key, value in values.items()}
        row |= {f"train/lr/{player}": update.rate_at(factor) for player, update in self.updates.items()}
        row |= self.doctor.at_line(self.step, values, progress.note)
        self.write(journal, tracker, row)
        self.check(values)
        losses = {key: value for key, value in values.items() if key.split("/")[0] in self.updates}
        progress.update(self.epoch, self.run.schedule.epochs, self.step, self.total, speed, losses)

    def tell(self, problems: Sequence[str], progress: Progress) -> None:
        """Names the files that could not be used, on the screen and in problems.txt."""
        for problem in problems:
            progress.note(f"skipped {problem}")
        if problems and self.placement.first:
            with (self.folder / "problems.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{problem}\n" for problem in problems)

    def check(self, values: Mapping[str, float]) -> None:
        """Names every loss that is not finite: one spoils the others within a step. In the order of the turns."""
        bad = [key for key, value in values.items() if not math.isfinite(value)]
        if bad:
            kept = self.folder / "checkpoints" / "last.pt"
            raise TrainingError(
                f"step {self.step}: no longer finite (player/loss): {', '.join(bad)}. "
                + (f"The last good checkpoint is kept: {kept}. " if kept.exists() else "")
                + "Try a lower optimizer.lr, precision: fp32, or a stronger constraint or penalty"
            )

    def evaluate(self, journal: Journal | None, progress: Progress, tracker: Tracker, due: bool) -> None:
        """Metrics and samples of what is deployed; a new best is kept as best.pt. `due`: not just at the end."""
        if journal is not None:
            networks = self.networks()
            metrics = self.validate.metrics(networks)
            picture = self.folder / "samples" / f"step-{self.step:08d}.png"
            self.validate.sample(networks, picture)
            tracker.sample(self.step, picture)
            found = self.doctor.at_validation(self.step, networks, progress.note) if due else {}
            if metrics or found:
                self.write(journal, tracker, metrics | found)
            if metrics:
                shown = {key: value for key, value in metrics.items() if key.count("/") == 1}
                progress.note(f"step {self.step}: " + "  ".join(f"{key} {value:.4g}" for key, value in shown.items()))
        better = None if journal is None else self.validate.better(metrics, self.best)
        if self.placement.agree(better is not None):
            self.best = self.best if better is None else better
            self.save("best")

    def write(self, journal: Journal | None, tracker: Tracker, values: Mapping[str, float | str]) -> None:
        if journal is not None:
            journal.write(self.step, self.epoch, self.images, round(self.seconds, 3), values)
            tracker.log(self.step, values)

    def networks(self) -> dict[str, nn.Module]:
        """What is evaluated: the averaged networks if there are any."""
        return {
            name: self.averages[name].module if self.run.ema else network
            for name, network in self.recipe.deployed().items()
        }

    def save(self, name: str) -> None:
        """All processes take part; the first writes. Losses are checked before: a checkpoint is a good one."""
        self.check(self.meter.means())
        own = {"pools": {key: pool.get_extra_state() for key, pool in self.pools()}, "meter": self.meter.state_dict()}
        everyone = self.placement.gather(own)
        if self.placement.first:
            state = {
                "config": self.run.model_dump(mode="json"),
                "channels": dict(self.source.channels),
                "units": dict(self.source.units),
                "size": size_of(self.source.config),
                "classes": self.source.classes,
                "clock": {"step": self.step, "images": self.images, "total": self.total, "seconds": self.seconds},
                "recipe": self.recipe.state_dict(),
                "average": {name: average.state_dict() for name, average in self.averages.items()},
                "updates": {player: update.state_dict() for player, update in self.updates.items()},
                "processes": everyone,  # what each process has of its own
                "best": self.best,
                "doctor": self.doctor.rules.memory,
            }
            checkpoints.save(self.folder / "checkpoints" / f"{name}.pt", state)
        self.placement.wait()

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint of the same config, to the last bit."""
        self.recipe.load_state_dict(state["recipe"])
        for name, average in self.averages.items():
            average.load_state_dict(state["average"][name])
        for player, update in self.updates.items():
            update.load_state_dict(state["updates"][player])
        if len(state["processes"]) != self.placement.world:
            raise CheckpointError(
                f"{self.folder}: was trained by {len(state['processes'])} processes and goes on, to the last bit, with "
                f"as many, not with {self.placement.world}: run torchrun --nproc-per-node={len(state['processes'])}"
            )
        own = state["processes"][self.placement.rank]
        for key, pool in self.pools():
            pool.set_extra_state(own["pools"][key])
        self.meter.load_state_dict(own["meter"], self.placement.device)
        clock = state["clock"]
        self.step, self.images, self.seconds = clock["step"], clock["images"], clock["seconds"]
        self.best = state["best"]
        self.doctor.rules.memory = state.get("doctor", {})

    def pools(self) -> list[tuple[str, ImagePool]]:
        return [(name, module) for name, module in self.recipe.named_modules() if isinstance(module, ImagePool)]


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM inside are only noted, once; a second one acts as usual."""
    caught = False

    def note(number: int, _: FrameType | None) -> None:
        nonlocal caught
        caught = True
        signal.signal(number, found[number])

    found: dict[int, Any] = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: caught
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
