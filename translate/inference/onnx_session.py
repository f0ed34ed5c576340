"""A Session that is an ONNX file: with ONNX Runtime; and what that has in common with OpenVINO."""

import tempfile
import threading
from abc import abstractmethod
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from translate.errors import ModelError
from translate.inference import statistics as graphs
from translate.inference.card import PROPERTY, Card
from translate.inference.runtime import Compiled, Network, compile_onnx
from translate.inference.session import Arithmetic, Inputs, Session, Statistics, explained


class OnnxSession(Session):
    """Opens the file as it is; its variants with statistics are compiled when first asked for, and kept."""

    def __init__(self, path: Path) -> None:
        with explained(f"{path}: damaged, or not a model that {self.backend} can run", "export it again"):
            self._plain, text = self._compile(path)
        if text is None:
            raise ModelError(
                f"{path}: not exported by this program: it has no metadata {PROPERTY!r}. Make a file from the trained "
                "network with translate export, or from published weights with translate import"
            )
        super().__init__(path, Card.parse(text, str(path)))
        self._variants: dict[graphs.Variant, Network] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def _compile(self, path: Path) -> tuple[Network, str | None]:
        """The network and the text of its card, if it has one."""

    def _run(self, inputs: Inputs, statistics: Statistics) -> NDArray[np.float32]:
        if not statistics:
            return self._plain(dict(inputs))[0]
        feeds = dict(inputs)
        for number, array in enumerate(statistics):
            feeds |= graphs.feeds(number, array)
        return self._variant("fixed")(feeds)[0]

    def _measure(self, inputs: Inputs) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        output, *statistics = self._variant("measuring")(dict(inputs))
        return output, statistics

    def _variant(self, variant: graphs.Variant) -> Network:
        with self._lock:
            if variant not in self._variants:
                # Through a file: ONNX Runtime would hold on to the bytes, as much again as the weights.
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                    edited = Path(folder) / "model.onnx"
                    graphs.edit(self.path, variant, edited)
                    self._variants[variant], _ = self._compile(edited)
            return self._variants[variant]


class OnnxRuntimeSession(OnnxSession):
    """On the GPU if there is one, else on the CPU, where with one thread each caller computes in its own."""

    backend = "onnxruntime"

    def __init__(
        self,
        path: Path,
        precision: Arithmetic,
        threads: int,
        once: bool = False,
        opened: "Future[Compiled] | None" = None,  # the same, begun before
    ) -> None:
        if precision == "bf16":
            raise ModelError("precision: onnxruntime has no bf16: take auto, or openvino or torch as the backend")
        self._threads, self._exact, self._once, self._opened = threads, precision == "fp32", once, opened
        super().__init__(path)
        if precision == "fp16" and self.card.precision != "fp16":
            raise ModelError(
                f"{path}: holds an {self.card.precision} network: for fp16, export it with --precision fp16"
            )

    def _compile(self, path: Path) -> tuple[Network, str | None]:
        opened, self._opened = self._opened, None
        network, metadata = opened.result() if opened else compile_onnx(path, self._threads, self._exact, self._once)
        return network, metadata.get(PROPERTY)
