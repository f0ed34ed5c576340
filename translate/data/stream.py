"""Endless, deterministic, resumable batches.

The samples are an endless sequence: one permutation of the split after the other, each a function of (seed, epoch);
the split may prefer some (`Split.order`).
Batch k holds the positions k·B … (k+1)·B − 1 of it, so there is no partial batch, and the random numbers of a sample
are a function of (seed, epoch, index). So nothing depends on the number of workers, and the place in the sequence, one
number, is all that a checkpoint has to keep.
"""

import atexit
import multiprocessing
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from translate.data.source import ArraySplit, Batch, Split
from translate.errors import ConfigError, DataError, ImageError, TranslateError

TRIES = 100  # unreadable files in a row before something else must be wrong

Place = tuple[int, int]  # epoch and index of a sample


class _Delivery(NamedTuple):
    """What travels from a worker: a batch or the error that stands for it, and the files skipped on the way."""

    tensors: tuple[Tensor, ...]
    problems: tuple[str, ...]
    error: TranslateError | None


class _Samples(Dataset[Any]):
    """Reads a batch at a time, so that errors come back as values and not as a worker's traceback."""

    def __init__(self, split: Split, seed: int, on_error: Literal["skip", "fail"]) -> None:
        self.split = split
        self.seed = seed
        self.on_error = on_error
        self._table = -1, np.empty((0, 0))  # an epoch and its random numbers

    def __getitems__(self, places: Sequence[Place]) -> _Delivery:
        problems: list[str] = []
        try:
            if isinstance(self.split, ArraySplit):
                return _Delivery(self._batch(self.split, places), (), None)
            samples = [self._sample(epoch, index, problems) for epoch, index in places]
            return _Delivery(collate(samples), tuple(problems), None)
        except TranslateError as error:
            return _Delivery((), tuple(problems), error)

    def _batch(self, split: ArraySplit, places: Sequence[Place]) -> tuple[Tensor, ...]:
        epochs, indices = np.array(places).T
        return split.batch(
            indices, np.concatenate([self._numbers(split, e)[indices[epochs == e]] for e in np.unique(epochs)])
        )

    def _numbers(self, split: ArraySplit, epoch: int) -> NDArray[np.float64]:
        """Those of all samples of an epoch, [len(split), split.numbers]."""
        if self._table[0] != epoch:
            rng = np.random.default_rng((self.seed, 2, epoch, 1))
            self._table = epoch, rng.random((len(split), split.numbers))
        return self._table[1]

    def _sample(self, epoch: int, index: int, problems: list[str]) -> tuple[Tensor, ...]:
        count = len(self.split)
        for offset in range(min(TRIES, count)):
            place = (index + offset) % count
            try:
                return self.split.sample(place, np.random.default_rng((self.seed, 1, epoch, place)))
            except ImageError as error:
                if self.on_error == "fail":
                    raise
                problems.append(str(error))
        raise DataError(f"{min(TRIES, count)} files in a row cannot be used; the last: {problems[-1]}")


class _Places:
    """The batch sampler: which samples are in batch `first`, `first + 1`, … of this rank."""

    def __init__(self, split: Split, batch_size: int, seed: int, first: int, rank: int, world: int) -> None:
        self.split, self.count = split, len(split)
        self.batch_size = batch_size
        self.seed = seed
        self.first = first
        self.share = batch_size // world
        self.rank = rank

    def __iter__(self) -> Iterator[list[Place]]:
        position = self.first * self.batch_size + self.rank * self.share
        shuffled, order = -1, np.arange(0)
        while True:
            batch = []
            for each in range(position, position + self.share):
                epoch, place = divmod(each, self.count)
                if epoch != shuffled:
                    shuffled, order = epoch, self.split.order(np.random.default_rng((self.seed, epoch)))
                batch.append((epoch, int(order[place])))
            yield batch
            position += self.batch_size


class Stream:
    """Batches number `first`, `first + 1`, … of this rank's share, for ever; `problems` names the files skipped.

    Raises ConfigError where the batch cannot be shared among the processes; while iterating DataError where pictures
    of a batch differ in size, ImageError where a file is unreadable and `on_error` is "fail".
    Close it (or leave its `with` block) to end the workers.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        workers: int = 0,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
        on_error: Literal["skip", "fail"] = "skip",
        pin_memory: bool = False,
    ) -> None:
        if batch_size % world:
            raise ConfigError(f"data.batch_size: {batch_size} cannot be shared equally by {world} processes")
        if len(split) == 0:
            raise DataError("data.root: no images in this split")
        self.batch_type = split.batch_type
        self.problems: list[str] = []
        self._seen: set[str] = set()
        self._children: list[BaseProcess] = []
        self._deliveries: Iterator[_Delivery] | None = None
        with _unwarned():
            self._loader: DataLoader[_Delivery] = DataLoader(
                _Samples(split, seed, on_error),
                batch_sampler=_Places(split, batch_size, seed, first, rank, world),
                num_workers=workers,
                collate_fn=_as_is,
                worker_init_fn=_calm,
                pin_memory=pin_memory,
                prefetch_factor=4 if workers else None,
                generator=torch.Generator(),  # the loader draws a seed: not from the numbers that training uses
            )

    def __iter__(self) -> Iterator[Batch]:
        self.close()
        before = set(multiprocessing.active_children())
        with _unwarned():
            self._deliveries = mine = iter(self._loader)
        self._children = [child for child in multiprocessing.active_children() if child not in before]
        atexit.register(self.close)  # before multiprocessing's own end, which would wait for workers that wait for us
        try:
            while self._deliveries is mine:
                yield self._unpacked(self._next(mine))
        finally:
            if self._deliveries is mine:
                self.close()

    def close(self) -> None:
        """Ends the workers; a new iteration starts again at `first`."""
        deliveries, self._deliveries = self._deliveries, None
        shutdown = getattr(deliveries, "_shutdown_workers", None)  # else only when nothing refers to it any more
        if shutdown is not None:
            shutdown()
        for child in self._children:
            child.join(timeout=5)
            if child.is_alive():
                child.kill()
                child.join()
        self._children = []
        atexit.unregister(self.close)

    def _next(self, deliveries: Iterator[_Delivery]) -> _Delivery:
        try:
            return next(deliveries)
        except (RuntimeError, OSError, EOFError) as error:
            for child in self._children:
                with suppress(RuntimeError):  # torch reports the end of a child wherever the program is
                    child.join(0.2)  # its pipe breaks before its end is known
            if all(child.is_alive() for child in self._children):
                raise
            raise DataError(
                "data.workers: a process that reads images was killed, perhaps for want of memory; free some or "
                "lower data.workers"
            ) from error

    def _unpacked(self, delivery: _Delivery) -> Batch:
        for problem in delivery.problems:
            if problem not in self._seen:
                self._seen.add(problem)
                self.problems.append(problem)
        if delivery.error is not None:
            raise delivery.error
        return self.batch_type(*delivery.tensors)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def collate(samples: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """One [N, C, H, W] per field. Raises DataError where the sizes differ."""
    columns = list(zip(*samples, strict=True))
    for column in columns:
        sizes = sorted({tuple(image.shape[1:]) for image in column})
        if len(sizes) > 1:
            (h1, w1), (h2, w2) = sizes[:2]
            raise DataError(
                f"data.batch_size: pictures of {w1}x{h1} and {w2}x{h2} cannot be in one batch; set it to 1, "
                "or data.preprocess to a mode that crops"
            )
    return tuple(torch.stack(column) for column in columns)  # [N, C, H, W]


def batches(
    split: Split, batch_size: int, count: int | None = None, problems: list[str] | None = None
) -> Iterator[tuple[list[int], Batch]]:
    """The first `count` samples of a test split in order, each with its index; the same numbers in every pass.

    A batch ends early where the size of the pictures changes. Unreadable files are skipped and named in `problems`.
    """
    indices: list[int] = []
    samples: list[tuple[Tensor, ...]] = []
    for index in range(len(split) if count is None else min(count, len(split))):
        try:
            sample = split.sample(index, np.random.default_rng((0, index)))
        except ImageError as error:
            if problems is not None and str(error) not in problems:
                problems.append(str(error))
            continue
        full = len(samples) == batch_size
        if samples and (full or [image.shape for image in sample] != [image.shape for image in samples[0]]):
            yield indices, split.batch_type(*collate(samples))
            indices, samples = [], []
        indices.append(index)
        samples.append(sample)
    if samples:
        yield indices, split.batch_type(*collate(samples))


@contextmanager
def _unwarned() -> Iterator[None]:
    """The loader warns of more workers than processors: that is the user's choice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _as_is(delivery: Any) -> Any:
    return delivery


def _calm(worker: int) -> None:
    """One thread each, and deaf to the signals that end a run: the main process finishes its step with the batches."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
