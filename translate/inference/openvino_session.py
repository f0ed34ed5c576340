"""Runs ONNX files with OpenVINO on the CPU, in bf16 where that is native: the extra `openvino`."""

import contextlib
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from translate.errors import ModelError
from translate.inference.card import PROPERTY
from translate.inference.onnx_session import OnnxSession
from translate.inference.runtime import Feeds, Network
from translate.inference.session import Arithmetic


class OpenVINOSession(OnnxSession):
    backend = "openvino"

    def __init__(self, path: Path, precision: Arithmetic, threads: int, lanes: int, once: bool = False) -> None:
        openvino = import_openvino()
        self._core = core()
        self._reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")  # read_model tries all formats
        self._settings: dict[str, Any] = {
            "NUM_STREAMS": lanes,
            "INFERENCE_NUM_THREADS": threads * lanes,
            "ENABLE_CPU_PINNING": False,  # two processes would get the same cores
        }
        able = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision != "auto":  # which is bf16 on a CPU that computes in it, else fp32
            if precision.upper() not in able:
                raise ModelError(f"precision: this CPU has no {precision} for openvino; it has {', '.join(able)}")
            self._settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}[precision]
        self._rewritten = precision in ("auto", "bf16") and "BF16" in able and not once  # it takes a second
        super().__init__(path)

    def _compile(self, path: Path) -> tuple[Network, str | None]:
        model = self._reader.convert(self._reader.load(path))
        if self._rewritten:
            upsample_by_convolutions(model)
        found = ["framework", PROPERTY]  # where the metadata of ONNX files go
        text = model.get_rt_info(found).astype(str) if model.has_rt_info(found) else None
        return PooledNetwork(self._core.compile_model(model, "CPU", self._settings)), text


class PooledNetwork:
    """One request for each thread that is running the network at a time, taken up again by the next."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []

    def __call__(self, feeds: Feeds) -> list[NDArray[np.float32]]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        results = request.infer(feeds, share_inputs=True)
        outputs = [results[output] for output in self._compiled.outputs]
        self._idle.append(request)
        return outputs


def upsample_by_convolutions(model: Any) -> None:
    """Writes transposed convolutions that double the size as convolutions whose channels become pixels: equal sums.

    OpenVINO 2026.4 computes transposed ones in float32 even where it has bf16: 70 % of a U-Net's time. With kernel w of
    4 (or 3 and a zero) pixel 2m + a of the result, from -1 on, is x[m] w[a] + x[m - 1] w[a + 2], in both directions.
    """
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "ConvolutionBackpropData" or node.get_input_size() != 2:
            continue
        how, weights = node.get_attributes(), node.input_value(1).get_node()
        numbers = [set(how[key]) for key in ("strides", "pads_begin", "pads_end", "dilations")]
        side = {(0, 0): 4, (1, 1): 3}.get(tuple(how["output_padding"]))
        if side is None or numbers != [{2}, {1}, {1}, {1}] or weights.get_type_name() != "Constant":
            continue
        w = np.asarray(weights.data)  # [C, C', k, k]
        if w.shape[2:] != (side, side):
            continue
        w = np.pad(w, ((0, 0), (0, 0), (0, 4 - side), (0, 4 - side))).reshape(*w.shape[:2], 2, 2, 2, 2)
        taps = w[:, :, ::-1, :, ::-1].transpose(3, 5, 1, 0, 2, 4)  # [a, b, C', C, 2, 2]
        taps = np.ascontiguousarray(taps).reshape(4 * w.shape[1], w.shape[0], 2, 2)
        ones = [1, 1]
        wide = ops.convolution(node.input_value(0), ops.constant(taps), ones, ones, ones, ones)  # [N, 4C', H + 1, …]
        image = ops.depth_to_space(wide, "blocks_first", 2)
        cropped = ops.slice(image, *(ops.constant(np.array(v)) for v in ([1, 1], [-1, -1], [1, 1], [2, 3])))
        node.output(0).replace(cropped.output(0))


@cache
def core() -> Any:
    """The `openvino.Core` of this process, never let go: its CPU plugin gives the thread that makes it a stack for
    signals, and frees that stack in whatever thread drops the last core. The next signal would end the process.
    """
    made = import_openvino().Core()
    # What it keeps for each size of picture, 5000 entries by default: 1 to 2 MB for every new size. No version must
    # know this setting.
    with contextlib.suppress(RuntimeError):
        made.set_property("CPU", {"CPU_RUNTIME_CACHE_CAPACITY": 256})
    return made


def import_openvino() -> Any:
    """Imports it without its conversion tools: importing these reports it to a statistics server on the internet."""
    tools = "openvino.tools.ovc"
    modules: dict[str, Any] = sys.modules
    hidden = tools not in modules
    if hidden:
        modules[tools] = None  # so its import fails, which openvino provides for
    try:
        import openvino
    except ImportError as error:
        raise ModelError(f"openvino cannot be used ({error}): pip install 'translate[openvino]'") from None
    finally:
        if hidden:
            del modules[tools]
    return openvino
