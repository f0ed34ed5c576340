"""What takes long outside Python's lock, begun before the rest of the program is imported: hashing a model, opening it.

Of a single picture that is a third of the time. Importing this imports nothing that takes long.
"""

import hashlib
import importlib
import importlib.util
import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from translate.inference.runtime import Compiled

_BLOCK = 1 << 23  # bytes: after each, a thread waits for Python's lock, up to 5 ms while others import
_ARRAYS = (".npy", ".npz", ".h5", ".hdf5")  # which hold any number of pictures


class Ahead(NamedTuple):
    once: bool  # whether there is one picture, of a few tiles at most
    model_hash: "Future[str] | None"  # SHA-256 of a file; of a run folder it is not yet known which file is used
    opened: "Future[Compiled] | None"  # by ONNX Runtime, as for a single picture


def begin(model: Path, input: str, backend: str, precision: str) -> Ahead:
    """As on the command line. What goes wrong is raised by whoever asks for the results."""
    pool = ThreadPoolExecutor(2)
    model_hash = pool.submit(file_hash, model) if _size(model) else None
    once = 0 < _size(Path(input)) < 1 << 20 and not input.lower().endswith(_ARRAYS)
    opened = None
    if once and model.suffix.lower() == ".onnx" and _size(model) and backend in ("auto", "onnxruntime"):
        from translate.inference.runtime import compile_onnx, gpu_available

        if backend == "onnxruntime" or importlib.util.find_spec("openvino") is None or gpu_available():
            importlib.import_module("onnxruntime")  # here: two threads that import are in each other's way
            opened = pool.submit(compile_onnx, model, threads=cores(), exact=precision == "fp32", once=True)
    pool.shutdown(wait=False)
    return Ahead(once, model_hash, opened)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _size(path: Path) -> int:
    """Of a file in bytes; 0 where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def file_hash(path: Path) -> str:
    """SHA-256 of a model, or of the checkpoint that stands for a run folder."""
    if path.is_dir():  # a run, of which PyTorch takes a checkpoint
        best, last = (path / "checkpoints" / f"{name}.pt" for name in ("best", "last"))
        path = best if best.is_file() else last
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()
