"""From a PyTorch network to an ONNX graph: N, and the height and width of images, stay free."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from translate.inference.card import Card
from translate.inference.verify import example, shapes
from translate.nn.blocks import BatchNorm, InstanceNorm

OPSET = 18


def trace(network: nn.Module, card: Card, *, half: bool) -> onnx.ModelProto:
    """The graph of a settled network that takes what `card.inputs` names; `half`: float16 inside.

    Each norm by a picture's own statistics is one InstanceNormalization node: tiling edits these.
    """
    inside = copy.deepcopy(network)
    _per_picture(inside)
    graph = _Graph(inside.half() if half else inside, half).eval()
    inputs = example(card, shapes(card)[0])
    with quiet():
        program = torch.export.export(
            graph,
            tuple(torch.from_numpy(array) for array in inputs.values()),
            dynamic_shapes={"inputs": _free(card)},
            strict=False,
        )
        traced = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=["output"],
            verbose=False,
        )
    assert traced is not None
    return tidy(traced.model_proto)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes out what the makers of a graph note on it, local paths among it, and gives the free axes their names."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    del graph.value_info[:]
    names: dict[str, str] = {}
    for value in (*graph.input, *graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=False):
            if axis.dim_param:
                axis.dim_param = names.setdefault(axis.dim_param, name)
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter remarks on its own inner workings; what it makes is verified."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


class _Graph(nn.Module):
    """float32 in and out, whatever is inside."""

    def __init__(self, network: nn.Module, half: bool) -> None:
        super().__init__()
        self.network, self.half_inside = network, half

    def forward(self, *inputs: Tensor) -> Tensor:
        inside = (x.half() if self.half_inside and x.is_floating_point() else x for x in inputs)
        output: Tensor = self.network(*inside)
        return output.float()


class _Norm(nn.Module):
    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor | None, bias: Tensor | None, eps: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.instance_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps, False)


def _per_picture(network: nn.Module) -> None:
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, InstanceNorm):
                setattr(parent, name, _Norm(None, None, layer.eps))
            elif isinstance(layer, BatchNorm) and layer.statistics == "image":
                setattr(parent, name, _Norm(layer.weight.detach(), layer.bias.detach(), layer.eps))


def _free(card: Card) -> tuple[dict[int, Any], ...]:
    """Which axes of each input are free; a size that is a multiple of something is written as one."""
    batch = torch.export.Dim("batch", min=1)
    axes: list[dict[int, Any]] = [{0: batch} for _ in card.inputs]
    if card.latent is None and not card.one_size:
        for axis, name in ((2, "height"), (3, "width")):
            size = card.multiple * torch.export.Dim(name, min=1) if card.multiple > 1 else torch.export.Dim.DYNAMIC
            axes[0][axis] = size
    return tuple(axes)
