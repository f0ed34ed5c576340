"""ONNX graphs that tell the statistics of their per-picture norms, or are told them.

In an exported graph each such norm is one InstanceNormalization node; both variants replace it by a function.
Shapes: N pictures, C channels.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Variant = Literal["measuring", "fixed"]

_DOMAIN = "translate"
_FUNCTIONS: dict[Variant, str] = {
    # Also the mean and the mean of squares of x [N, C, H, W], as [N, 2, C], in float32 whatever the type of x is; the
    # latter as variance + mean², which is more exact where the variance is small.
    "measuring": """
        measuring <epsilon> (x, scale, bias) => (y, statistics) {
            y = InstanceNormalization <epsilon: float = @epsilon> (x, scale, bias)
            wide = Cast <to = 1> (x)
            pixels = Constant <value_ints = [2, 3]> ()
            two = Constant <value_ints = [2]> ()
            mean = ReduceMean (wide, pixels)
            centred = Sub (wide, mean)
            deviation = Mul (centred, centred)
            variance = ReduceMean (deviation, pixels)
            square = Mul (mean, mean)
            squares = Add (variance, square)
            both = Concat <axis = 3> (mean, squares)
            column = Squeeze (both, two)
            statistics = Transpose <perm = [0, 2, 1]> (column)
        }""",
    # (x − mean) / √(variance + ε) · scale + bias, with mean and variance [N, C, 1, 1] from outside.
    "fixed": """
        fixed <epsilon> (x, scale, bias, mean, variance) => (y) {
            e = Constant <value_float: float = @epsilon> ()
            above = Add (variance, e)
            deviation = Sqrt (above)
            pixels = Constant <value_ints = [1, 2]> ()
            wide_scale = Cast <to = 1> (scale)
            column_scale = Unsqueeze (wide_scale, pixels)
            factor = Div (column_scale, deviation)
            wide_bias = Cast <to = 1> (bias)
            column_bias = Unsqueeze (wide_bias, pixels)
            wide = Cast <to = 1> (x)
            centred = Sub (wide, mean)
            scaled = Mul (centred, factor)
            shifted = Add (scaled, column_bias)
            y = CastLike (shifted, x)
        }""",
}


def edit(path: Path, variant: Variant, out: Path) -> None:
    """Writes to `out` what the model at `path` becomes.

    "measuring" has one further output [N, 2, C] for each norm, "fixed" the further inputs that `feeds` gives.
    """
    import onnx
    from onnx import TensorProto, helper, inliner, parser

    model = onnx.load(path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    header = f'<opset_import: ["": {opset}], domain: "{_DOMAIN}">'
    model.functions.append(parser.parse_function(header + _FUNCTIONS[variant]))
    model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    for number, node in enumerate(norms):
        node.op_type, node.domain = variant, _DOMAIN
        if not node.attribute:  # a default of a function is lost when it is inlined
            node.attribute.append(helper.make_attribute("epsilon", 1e-5))
        if variant == "measuring":
            name = f"statistics_{number}"
            node.output.append(name)
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2, None]))
        else:
            for name in _names(number):
                node.input.append(name)
                model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", None, 1, 1]))
    weights = list(model.graph.initializer)
    del model.graph.initializer[:]  # the inliner would copy them four times
    model = inliner.inline_local_functions(model)  # OpenVINO knows no functions
    model.graph.initializer.extend(weights)
    onnx.save(model, out)


def feeds(number: int, statistics: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What the norm of that number in a "fixed" graph takes."""
    return dict(zip(_names(number), moments(statistics), strict=True))


def moments(statistics: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and variance, each [N, C, 1, 1], from mean and mean of squares [N, 2, C].

    The difference E[x²] − mean² is taken in double precision, and never negative.
    """
    mean, squares = statistics.astype(np.float64).transpose(1, 0, 2)[..., None, None]
    return mean.astype(np.float32), np.maximum(squares - mean**2, 0).astype(np.float32)


def _names(number: int) -> tuple[str, str]:
    return f"mean_{number}", f"variance_{number}"
