"""Runs ONNX files with ONNX Runtime; and what that has in common with OpenVINO."""

import ctypes
import os
import tempfile
import threading
import warnings
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from translate.errors import ModelError
from translate.inference import statistics as graphs
from translate.inference.card import PROPERTY, Card
from translate.inference.session import Arithmetic, Inputs, Session, Statistics, explained

_HEAVY = 100_000_000  # bytes of weights that take longer to arrange than that saves in one picture (a U-Net's 218 MB)

Feeds = dict[str, NDArray[Any]]
Network = Callable[[Feeds], list[NDArray[np.float32]]]  # inputs by name → outputs in order; any number of threads


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

    def __init__(self, path: Path, precision: Arithmetic, threads: int, once: bool = False) -> None:
        if precision == "bf16":
            raise ModelError("precision: onnxruntime has no bf16: take auto, or openvino or torch as the backend")
        self._threads, self._exact, self._once = threads, precision == "fp32", once
        super().__init__(path)
        if precision == "fp16" and self.card.precision != "fp16":
            raise ModelError(
                f"{path}: holds an {self.card.precision} network: for fp16, export it with --precision fp16"
            )

    def _compile(self, path: Path) -> tuple[Network, str | None]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails is raised, too
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # plans one block for each size that it ever saw
        if self._once:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
            if path.stat().st_size > _HEAVY:
                options.add_session_config_entry("session.disable_prepacking", "1")
        providers: list[Any] = ["CPUExecutionProvider"]
        on_gpu = gpu_available()
        if on_gpu:
            onnxruntime.preload_dlls()  # those that were installed as Python packages
            settings = {
                "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all algorithms for each new size
                "arena_extend_strategy": "kSameAsRequested",
                "use_tf32": str(int(not self._exact)),
            }
            providers.insert(0, ("CUDAExecutionProvider", settings))
        session = onnxruntime.InferenceSession(path, options, providers, enable_fallback=on_gpu)  # which prints
        if on_gpu and "CUDAExecutionProvider" not in session.get_providers():
            warnings.warn(
                "computing on the CPU, although there is a GPU: ONNX Runtime could not load CUDA and cuDNN; "
                "pip install onnxruntime-gpu[cuda,cudnn]",
                RuntimeWarning,
                stacklevel=2,
            )
            on_gpu = False
        network = (lambda feeds: run_bound(session, feeds, "cuda")) if on_gpu else CpuNetwork(session)
        return network, session.get_modelmeta().custom_metadata_map.get(PROPERTY)


class CpuNetwork:
    """Keeps the memory of one run for the next while the size stays; else gives it back.

    The arena never shrinks by itself, and would come to fit the largest picture of all; without it a U-Net at 512²
    takes 5 % longer, to get fresh pages.
    """

    def __init__(self, session: Any) -> None:
        import onnxruntime

        self._session = session
        self._shapes: list[tuple[int, ...]] = []
        self._shrink = onnxruntime.RunOptions()
        self._shrink.log_severity_level = 4
        self._shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, feeds: Feeds) -> list[NDArray[np.float32]]:
        shapes = [array.shape for array in feeds.values()]
        options = None if shapes == self._shapes else self._shrink
        self._shapes = shapes
        outputs: list[NDArray[np.float32]] = self._session.run(None, feeds, options)
        return outputs


def run_bound(session: Any, feeds: Feeds, device: str) -> list[NDArray[np.float32]]:
    """Inputs go to the device once, outputs come back once."""
    import onnxruntime

    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device, 0)
    session.run_with_iobinding(binding)
    outputs: list[NDArray[np.float32]] = binding.copy_outputs_to_cpu()
    return outputs


def gpu_available() -> bool:
    """Whether ONNX Runtime has CUDA and the driver sees a GPU. Trying it out would print errors where there is none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
