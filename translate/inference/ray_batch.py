"""`translate batch --ray`: the same work on a cluster, whose machines see the same files under the same paths.

Each actor holds a worker with one thread and writes its outputs itself; this process keeps the manifest.
"""

import logging
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from translate.errors import ConfigError, DataError
from translate.inference.batch import Options, load
from translate.inference.inputs import Item
from translate.inference.progress import Progress

_ROWS = "rows"
_MEMORY = 128 << 20  # bytes of a local object store: only names pass through it
_PORTIONS = 8  # a task; its rows arrive together


class _Actor:
    def __init__(self, options: Options) -> None:
        self.worker = load(options, lanes=1, threads=1, stopped=lambda: False)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (portion,) = batch["item"]
        try:
            rows: Any = self.worker(pickle.loads(portion))
        except OSError as error:  # the disk takes no more
            rows = error
        return {_ROWS: [pickle.dumps(rows)]}


def run_on_ray(options: Options, portions: Iterator[list[Item]], progress: Progress, stop: threading.Event) -> None:
    """Raises ConfigError where there is no Ray or no such cluster, DataError where the cluster gives up."""
    todo = [pickle.dumps([item._replace(path=item.path.absolute()) for item in portion]) for portion in portions]
    if not todo:
        return
    with _cluster(str(options.ray)):
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # which importing it has set
        resources = ray.cluster_resources()
        kind = "GPU" if resources.get("GPU") else "CPU"
        actors = min(options.workers or int(resources[kind]), len(todo))
        there = replace(
            options,
            input=str(Path(options.input).absolute()),
            output=options.output.absolute(),
            model=options.model.absolute(),
        )
        blocks = min(len(todo), max(4 * actors, len(todo) // _PORTIONS))
        rows = ray.data.from_items(todo, override_num_blocks=blocks).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(there,),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
            num_cpus=1,
            num_gpus=1 if kind == "GPU" else None,
        )
        try:
            for row in rows.iter_rows():
                result = pickle.loads(row[_ROWS])
                if isinstance(result, OSError):
                    raise result
                for one in result:
                    progress.add(one)
                if stop.is_set():
                    break
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise DataError(f"--ray: the cluster gave up ({last}); run the same command again to go on") from error


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Connected to the one at `address`; "auto" starts one on this machine where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it calls the actors of Ray Data an error
    try:
        import ray.data
    except ImportError:
        raise ConfigError("--ray: the package ray is missing: install the extra, translate[ray]") from None

    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)  # which ray would replace
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        try:
            ray.init(address=address, **quiet)
        except ConnectionError:
            if address != "auto":
                raise
            ray.init(address="local", include_dashboard=False, object_store_memory=_MEMORY, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--ray {address}: no cluster answers there ({error})") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()
