"""Folders of pictures through one network, at the speed of the network: `translate batch`.

A pool of threads shares one Translator. Each thread decodes, translates and encodes one picture (or `batch_size` of
them) at a time; that happens outside Python's lock, so that all cores are busy without queues between the stages. The
main thread hands out the pictures, two portions a thread at most, and keeps the manifest.
"""

import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from translate.data.decode import MAX_PIXELS
from translate.errors import ConfigError, ModelError
from translate.inference.ahead import Ahead, begin, cores, file_hash
from translate.inference.inputs import Inputs, Item, find
from translate.inference.manifest import Manifest, Row, unwritable
from translate.inference.progress import Progress
from translate.inference.session import Arithmetic, Backend
from translate.inference.tiling import Tile
from translate.inference.translator import Translator
from translate.inference.worker import Interruptible, Stopped, Worker
from translate.inference.writing import Format, format_of, remove_leftovers


@dataclass(frozen=True)
class Options:
    """As on the command line."""

    input: str
    output: Path
    model: Path
    direction: str | None = None
    recursive: bool = False
    seed: int = 0
    tile: Tile = "auto"
    precision: Arithmetic = "auto"
    backend: Backend = "auto"
    batch_size: int = 1
    workers: int | None = None
    format: Format = "keep"
    skip_existing: bool = False
    on_error: Literal["skip", "fail"] = "skip"
    side_by_side: bool = False
    max_megapixels: int = MAX_PIXELS // 1_000_000
    ray: str | None = None


def run_batch(options: Options, ahead: Ahead | None = None) -> int:
    """Exit status: 0, or 1 if an input failed. `ahead`: what was begun before this was imported.

    Raises a TranslateError where nothing can be begun or the disk takes no more, KeyboardInterrupt after SIGINT or
    SIGTERM; the outputs are whole then, and the same call goes on.
    """
    ahead = ahead or begin(options.model, options.input, options.backend, options.precision)
    inputs = _inputs(options)
    stop = threading.Event()
    workers = len(list(islice(inputs, options.workers or cores())))
    worker = load(options, lanes=workers, ahead=ahead, stopped=stop.is_set)
    with ExitStack() as stack:
        manifest = None
        try:
            if not _to_file(options):
                manifest = stack.enter_context(Manifest(worker.folder, _run_of(options, worker)))
                remove_leftovers(worker.folder)
            progress = Progress(inputs, manifest, options.on_error, stop)
            stack.callback(progress.close)
            stack.enter_context(_until_signal(stop))
            portions = _portions(_left(options, inputs, worker, manifest, progress), options.batch_size)
            if options.ray is None:
                _run_here(portions, worker, workers, progress, stop)
            else:
                from translate.inference.ray_batch import run_on_ray

                run_on_ray(options, portions, progress, stop)
        except OSError as error:
            raise unwritable(worker.folder, error) from error
    return 1 if progress.counts["failed"] else 0


def load(
    options: Options, *, lanes: int, threads: int | None = None, ahead: Ahead | None = None, stopped: Callable[[], bool]
) -> Worker:
    """A worker for `lanes` threads, each of which has `threads` (all cores shared out) for its network.

    Raises ModelError or CheckpointError where the model cannot be used.
    """
    ahead = ahead or Ahead(False, None, None)
    translator = Translator.load(
        options.model,
        direction=options.direction,
        backend=options.backend,
        precision=options.precision,
        threads=threads,
        lanes=lanes,
        once=ahead.once,
        opened=ahead.opened,
        batch_size=options.batch_size,
        tile=options.tile,
    )
    model_hash = ahead.model_hash
    if model_hash is None:
        model_hash = Future()
        model_hash.set_result(file_hash(translator.session.path))
    if translator.card.source is None:
        raise ModelError(f"{options.model}: makes pictures from random numbers and takes none")
    session = Interruptible(translator.session, stopped)
    folder = options.output.parent if _to_file(options) else options.output
    return Worker(
        replace(translator, session=session),
        model_hash,
        folder,
        seed=options.seed,
        side_by_side=options.side_by_side,
        max_pixels=options.max_megapixels * 1_000_000,
    )


def _inputs(options: Options) -> Inputs:
    output, path = options.output, Path(options.input)
    if not _to_file(options):
        if output.exists() and not output.is_dir():
            raise ConfigError(f"{output}: is a file; for several inputs OUTPUT is a folder")
        return find(options.input, output, options.format, recursive=options.recursive)
    format = format_of(output.name)
    if format is None or options.format not in ("keep", format):
        raise ConfigError(f"--format {options.format}: but OUTPUT is {output.name}; leave one of them away")
    if output.resolve() == path.resolve():
        raise ConfigError(f"{output}: is the input; choose another OUTPUT")
    inputs = Inputs(path.parent, [path.name], format, output=output.name)
    if len(list(islice(inputs, 2))) > 1:
        raise ConfigError(f"{path}: holds several pictures; OUTPUT must be a folder, not {output}")
    return inputs


def _to_file(options: Options) -> bool:
    """Whether OUTPUT is the file for a single INPUT; there is no manifest then."""
    path, output = Path(options.input), options.output
    single = os.path.lexists(path) and not path.is_dir()
    return single and format_of(output.name) is not None and not output.is_dir()


def _run_of(options: Options, worker: Worker) -> dict[str, Any]:
    card = worker.translator.card
    return {
        "model": card.name,
        "network": card.network,
        "model_hash": worker.model_hash.result(),
        "config_hash": card.config_hash,
        "settings": {
            "format": options.format,
            "tile": options.tile,
            "precision": options.precision,
            "backend": options.backend,
            "side_by_side": options.side_by_side,
        },
    }


def _left(
    options: Options, inputs: Inputs, worker: Worker, manifest: Manifest | None, progress: Progress
) -> Iterator[Item]:
    """What is to be done; the rest is counted as skipped."""
    for item in inputs:
        seed = worker.seed_of(item)
        if manifest is not None and manifest.finished(item, seed):
            progress.count("skipped")
        elif options.skip_existing and item.error is None and (worker.folder / item.output).exists():
            progress.add(Row(item.name, item.output, "skipped", 0.0, None, None, item.size, item.modified))
        else:
            yield item


def _portions(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while portion := list(islice(items, size)):
        yield portion


def _run_here(
    portions: Iterator[list[Item]], worker: Worker, workers: int, progress: Progress, stop: threading.Event
) -> None:
    pending: set[Future[list[Row]]] = set()
    # Decoders silence warnings for a moment, each thread for all: what one restores must not wake up another's.
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("ignore")
        try:
            while not stop.is_set():
                pending |= {pool.submit(worker, portion) for portion in islice(portions, 2 * workers - len(pending))}
                if not pending:
                    break
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    _take(future, progress)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    for future in pending:  # what was in hand when it stopped
        _take(future, progress)


def _take(future: Future[list[Row]], progress: Progress) -> None:
    if not future.cancelled() and not isinstance(future.exception(), Stopped):
        for row in future.result():
            progress.add(row)


@contextmanager
def _until_signal(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set `stop`; a KeyboardInterrupt is raised at the end. A second signal ends it at once."""
    caught = False

    def note(number: int, _frame: Any) -> None:
        nonlocal caught
        caught = True
        stop.set()
        signal.signal(number, signal.default_int_handler)

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt
