"""What is done to one portion of a batch: read, translate, write, and say what became of each picture."""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from translate.data.channels import Pixels, to_channels
from translate.data.decode import MAX_PIXELS
from translate.errors import ImageError, ModelError, TranslateError
from translate.inference.card import SEEDS, Card
from translate.inference.inputs import Item, Reader
from translate.inference.manifest import Row
from translate.inference.session import Inputs, Session, Statistics
from translate.inference.translator import Translator
from translate.inference.writing import encode, provenance, write

# Of a disk that takes no more: every other output would fail, too.
_FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)


class Stopped(ModelError):
    pass


class Interruptible(Session):
    """Raises Stopped instead of running, once `stopped` says so: a large picture ends with the tile in hand."""

    def __init__(self, session: Session, stopped: Callable[[], bool]) -> None:
        super().__init__(session.path, session.card)
        self.backend, self._session, self._stopped = session.backend, session, stopped

    def _run(self, inputs: Inputs, statistics: Statistics) -> NDArray[np.float32]:
        self._go_on()
        return self._session.run(inputs, statistics)

    def _measure(self, inputs: Inputs) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        self._go_on()
        return self._session.measure(inputs)

    def _go_on(self) -> None:
        if self._stopped():
            raise Stopped("stopped")


@dataclass
class _Task:
    item: Item
    seed: int | None
    pixels: Pixels | None = None
    result: Pixels | None = None
    error: str | None = None
    seconds: float = 0.0

    def row(self) -> Row:
        item, done = self.item, self.error is None
        return Row(
            item.name,
            item.output if done else None,
            "done" if done else "failed",
            round(self.seconds, 4),
            self.error,
            self.seed,
            item.size,
            item.modified,
        )


class Worker:
    """Any number of threads may call it at once. The outputs are written below `folder`."""

    def __init__(
        self,
        translator: Translator,
        model_hash: Future[str],  # waited for when an output is written
        folder: Path,
        *,
        seed: int = 0,
        side_by_side: bool = False,
        max_pixels: int = MAX_PIXELS,  # of a picture in a file
    ) -> None:
        self.translator, self.model_hash, self.folder = translator, model_hash, folder
        self.seed, self.side_by_side = seed, side_by_side
        self._reader = Reader(translator.card.float_range, max_pixels)

    def seed_of(self, item: Item) -> int | None:
        """Of its noise: another for each picture, whatever the order; None where the model has none."""
        if not self.translator.card.noise:
            return None
        digest = hashlib.sha256(f"{self.seed}/".encode() + os.fsencode(item.name)).digest()
        return int.from_bytes(digest[:4], "big") % SEEDS

    def __call__(self, items: Sequence[Item]) -> list[Row]:
        """A row for each. A picture's error, whatever it is, ends up in its row. Raises Stopped, and OSError where the
        disk takes no more.
        """
        tasks = [_Task(item, self.seed_of(item)) for item in items]
        for task in tasks:
            _attempt(self._read, task)
        self._translate_together([task for task in tasks if task.pixels is not None and task.pixels.dtype.kind == "u"])
        for task in tasks:
            _attempt(self._translate, task)
            _attempt(self._write, task)
            task.pixels = task.result = None
        return [task.row() for task in tasks]

    def _read(self, task: _Task) -> None:
        task.pixels = self._reader(task.item)

    def _translate_together(self, tasks: Sequence[_Task]) -> None:
        """Fills in the results if all goes well; else each is translated alone, which shows whose fault it was."""
        if len(tasks) < 2:
            return
        pictures = [task.pixels for task in tasks if task.pixels is not None]
        start = time.perf_counter()
        try:
            results = self.translator(pictures, seed=[task.seed or 0 for task in tasks])
        except Stopped:
            raise
        except Exception:
            return
        for task, result in zip(tasks, results, strict=True):
            task.result = np.asarray(result)
            task.seconds += (time.perf_counter() - start) / len(tasks)

    def _translate(self, task: _Task) -> None:
        assert task.pixels is not None
        if task.result is None:
            task.result = self.translator.pixels(task.pixels, seed=task.seed or 0)
        if self.side_by_side:
            task.result = beside(task.pixels, task.result, self.translator.card)

    def _write(self, task: _Task) -> None:
        assert task.result is not None
        note = provenance(self.translator.card, self.model_hash.result(), task.seed)
        data = encode(task.result, task.item.output, self.translator.card, note)
        try:
            write(self.folder / task.item.output, data)
        except OSError as error:
            if error.errno in _FATAL:
                raise
            raise ImageError(f"{self.folder / task.item.output}: cannot be written ({error.strerror})") from error


def beside(pixels: Pixels, result: Pixels, card: Card) -> Pixels:
    """The input as the network saw it, then the output: [H, 2W, C]. Raises ImageError where no colours fit both."""
    assert card.source is not None
    try:
        right = to_channels(result, 4) if result.shape[2] == 2 else result
        left = to_channels(to_channels(pixels, card.source.channels, card.background), right.shape[2], card.background)
    except ValueError as error:
        raise ImageError(f"input and output cannot be one picture ({error}): leave --side-by-side away") from error
    return np.concatenate([left, right], axis=1)


def _attempt(step: Callable[[_Task], None], task: _Task) -> None:
    if task.error is not None:
        return
    start = time.perf_counter()
    try:
        step(task)
    except Stopped:
        raise
    except TranslateError as error:
        task.error = str(error)
    except MemoryError:
        task.error = "does not fit into memory; try fewer --workers, or a smaller --tile"
    except OSError as error:
        if error.errno in _FATAL:
            raise
        task.error = f"{type(error).__name__}: {error}"
    except Exception as error:  # our bug: the other pictures need not suffer from it
        task.error = f"{type(error).__name__}: {error}"
    task.seconds += time.perf_counter() - start
