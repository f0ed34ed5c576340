"""One network, ready to run, whatever runs it: ONNX Runtime, OpenVINO or PyTorch. Importing this imports none of them.

Shapes: N pictures, C channels, H x W pixels.
"""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from translate.errors import ModelError
from translate.inference.ahead import cores
from translate.inference.card import SEEDS, Card

if TYPE_CHECKING:
    from translate.inference.runtime import Compiled

Backend = Literal["auto", "onnxruntime", "openvino", "torch"]
Arithmetic = Literal["auto", "fp32", "bf16", "fp16"]
Inputs = Mapping[str, NDArray[Any]]  # as the card says: `image` or `latent`, `label`, `seed`
Statistics = Sequence[NDArray[np.float32]]  # [N, 2, C] for each per-picture norm: mean and mean of squares of its input


class Session(ABC):
    """Runs one network. Any number of threads may call it at once.

    Raises ModelError for inputs that the network does not take, and for what its runtime cannot do (out of memory).
    """

    backend: str  # "onnxruntime", "openvino" or "torch"

    def __init__(self, path: Path, card: Card) -> None:
        self.path, self.card = path, card

    def run(self, inputs: Inputs, statistics: Statistics | None = None) -> NDArray[np.float32]:
        """The output [N, C', H', W'].

        Given `statistics`, as `measure` returns them, the norms use these in place of those of their own input: so a
        tile can be normalised like the whole picture.
        """
        self._check(inputs)
        with explained(f"{self.path}: {self.backend} failed", "smaller tiles or batches need less memory"):
            return self._run(inputs, statistics or ())

    def measure(self, inputs: Inputs) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """The output, and the statistics of each per-picture norm in order of execution, if there are any."""
        self._check(inputs)
        with explained(f"{self.path}: {self.backend} failed", "smaller tiles or batches need less memory"):
            return self._measure(inputs)

    @abstractmethod
    def _run(self, inputs: Inputs, statistics: Statistics) -> NDArray[np.float32]: ...

    @abstractmethod
    def _measure(self, inputs: Inputs) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]: ...

    def _check(self, inputs: Inputs) -> None:
        card = self.card
        if set(inputs) != set(card.inputs):
            raise ModelError(f"{self.path}: takes {', '.join(card.inputs)}; given: {', '.join(inputs) or 'nothing'}")
        count = inputs[card.inputs[0]].shape[:1]
        for name, array in inputs.items():
            if name == "image":
                channels = None if card.source is None else card.source.channels
                size = card.trained_size if card.one_size else None
                sizes = "{}, {}]".format(*size) if size else f"H, W], H and W multiples of {card.multiple}"
                wanted = f"float32 [N, {channels}, {sizes}"
                fits = array.dtype == np.float32 and array.ndim == 4 and array.shape[1] == channels
                fits = fits and all(side > 0 and side % card.multiple == 0 for side in array.shape[2:])
                fits = fits and (size is None or array.shape[2:] == size)
            elif name == "latent":
                wanted = f"float32 [N, {card.latent}]"
                fits = array.dtype == np.float32 and array.shape[1:] == (card.latent,)
            else:
                limit = SEEDS if name == "seed" else len(card.labels)
                wanted = f"int64 [N], from 0 to {limit - 1}"
                fits = array.dtype == np.int64 and array.ndim == 1
                fits = fits and bool(((array >= 0) & (array < limit)).all())
            if not fits or array.shape[:1] != count or count == (0,):
                shape = ", ".join(map(str, array.shape))
                raise ModelError(f"{self.path}: {name} must be {wanted}, one N for all; not {array.dtype} [{shape}]")


@contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Whatever a runtime throws, and they throw exceptions of many types, becomes a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) < 250 else f"… {reason[-250:]}"  # they say where, and then what
        raise ModelError(f"{what} ({reason}); {remedy}") from error


def open_session(
    path: Path,
    *,
    direction: str | None = None,
    backend: Backend = "auto",
    precision: Arithmetic = "auto",
    threads: int | None = None,
    lanes: int = 1,
    once: bool = False,
    opened: "Future[Compiled] | None" = None,
) -> Session:
    """A session for an .onnx file, a checkpoint or a run folder.

    A run folder stands for `export/NETWORK.onnx` in it where that is no older than its checkpoint, else for its
    checkpoint, which PyTorch runs. `direction` names the network of a run that has several. `threads` compute one call
    of `run`; `lanes` is how many threads will call it at once (the default: all cores, divided among the lanes).

    `once`: for a run or two, what opens sooner and then is a little slower. `opened`: the .onnx file, which somebody
    began to open in ONNX Runtime with the same settings (`ahead.begin`). `precision`: "auto" is the fastest that
    differs from float32 by 40 dB or more. Raises ModelError for what cannot be used, CheckpointError for a checkpoint
    that cannot be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = _file(path, direction, backend, precision)
        else:
            path.open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{path}: {reason}; a model is an .onnx file, a checkpoint or a run folder") from None
    threads = threads or max(1, cores() // lanes)
    if path.suffix.lower() != ".onnx":
        if backend not in ("auto", "torch"):
            raise ModelError(f"{path}: {backend} takes .onnx files: make one with translate export {path}")
        from translate.inference.torch_session import TorchSession

        return TorchSession.open(path, direction, precision, threads)
    if backend == "torch":
        raise ModelError(f"{path}: torch takes run folders and checkpoints; for an .onnx file choose another backend")
    session = _open_onnx(path, backend, precision, threads, lanes, once, opened)
    if direction not in (None, session.card.network):
        raise ModelError(f"{path}: is {session.card.network}, not {direction}: give the file of that direction")
    return session


def _open_onnx(
    path: Path,
    backend: Backend,
    precision: Arithmetic,
    threads: int,
    lanes: int,
    once: bool,
    opened: "Future[Compiled] | None",
) -> Session:
    from translate.inference.onnx_session import OnnxRuntimeSession
    from translate.inference.runtime import gpu_available

    if backend == "auto":
        there = importlib.util.find_spec("openvino") is not None and not gpu_available()
        backend = "openvino" if there else "onnxruntime"
    if backend == "onnxruntime":
        return OnnxRuntimeSession(path, precision, threads, once, opened)
    from translate.inference.openvino_session import OpenVINOSession

    return OpenVINOSession(path, precision, threads, lanes, once)


def _file(run: Path, direction: str | None, backend: Backend, precision: Arithmetic) -> Path:
    """The .onnx file of a run's network if one is there that is up to date, else its checkpoint, else the folder."""
    kept = (run / "checkpoints" / name for name in ("best.pt", "last.pt"))  # as load_networks chooses
    checkpoint = next((file for file in kept if file.is_file()), None)
    age = checkpoint.stat().st_mtime if checkpoint else 0.0
    files = [file for file in sorted((run / "export").glob("*.onnx")) if file.stat().st_mtime >= age]
    networks = {file.stem: file for file in files if "-" not in file.stem}
    if precision == "fp16":
        networks |= {file.stem.removesuffix("-fp16"): file for file in files if file.stem.endswith("-fp16")}
    if backend == "torch" or not networks:
        return checkpoint or run
    if direction is None and len(networks) > 1:
        raise ModelError(f"{run}: has several networks: choose a direction of {', '.join(networks)}")
    return networks.get(direction or next(iter(networks)), checkpoint or run)
