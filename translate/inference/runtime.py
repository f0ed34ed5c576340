"""A network in ONNX Runtime. This needs nothing but that, so that it can begin before the rest is imported."""

import ctypes
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from translate.inference.mapped import without_weights

_HEAVY = 100_000_000  # bytes of weights that take longer to arrange than that saves in one picture (a U-Net's 218 MB)

Feeds = dict[str, NDArray[Any]]
Network = Callable[[Feeds], list[NDArray[np.float32]]]  # inputs by name → outputs in order; any number of threads


class Compiled(NamedTuple):
    network: Network
    metadata: dict[str, str]  # of the file


def compile_onnx(path: Path, threads: int, exact: bool, once: bool) -> Compiled:
    """On the GPU if there is one, else on the CPU. Raises whatever ONNX Runtime does."""
    import onnxruntime

    providers: list[Any] = ["CPUExecutionProvider"]
    on_gpu = gpu_available()
    if on_gpu:
        onnxruntime.preload_dlls()  # those that were installed as Python packages
        settings = {
            "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all algorithms for each new size
            "arena_extend_strategy": "kSameAsRequested",
            "use_tf32": str(int(not exact)),
        }
        providers.insert(0, ("CUDAExecutionProvider", settings))
    arranged = not once or path.stat().st_size <= _HEAVY
    session = _mapped(path, _options(threads, arranged)) if once and not on_gpu else None
    if session is None:
        options = _options(threads, arranged)
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
    return Compiled(network, session.get_modelmeta().custom_metadata_map)


def _options(threads: int, arranged: bool) -> Any:
    """`arranged`: the weights as the processor likes them, which takes time and memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, too
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # plans one block for each size that it ever saw
    if not arranged:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _mapped(path: Path, options: Any) -> Any:
    """Not for long: a file that is written over meanwhile changes the weights. None where it cannot be opened so."""
    import onnxruntime

    with suppress(Exception):  # opening it the usual way says what is wrong
        path = path.resolve()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        return onnxruntime.InferenceSession(without_weights(path), options, ["CPUExecutionProvider"])
    return None


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
