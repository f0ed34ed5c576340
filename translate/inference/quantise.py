"""Convolutions in eight bits, fitted to real pictures. Shapes: C channels, H x W pixels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

from translate.data import find as find_data
from translate.data.stream import batches
from translate.errors import DataError, ModelError
from translate.inference.card import Card
from translate.inference.latents import draw
from translate.inference.networks import data_of
from translate.inference.trace import quiet
from translate.inference.verify import Array, Feed, feed

PICTURES = 16


def quantise(model: onnx.ModelProto, card: Card, pictures: Sequence[Array]) -> onnx.ModelProto:
    """Inputs and outputs of convolutions as uint8, their weights as int8 a channel.

    Measured on trained networks, against float32: the extremes seen serve as well as percentiles or entropy; the first
    and the last convolution cost 5 to 10 dB and hardly any time; ONNX Runtime computes transposed convolutions in
    float32 all the same, so that these would only lose (2 to 6 dB). Raises ModelError where nothing is left to do.
    """
    ends = [node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    inner = [node.name for node in model.graph.node if node.op_type == "Conv" and node.name not in (ends[0], ends[-1])]
    if not inner:
        raise ModelError(f"{card.name}, {card.network}: has no inner convolution for int8: choose fp16 or fp32")
    with TemporaryDirectory() as folder, quiet():
        whole, small = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, whole)
        quantize_static(
            whole,
            small,
            _Reader(feed(card, picture[None]) for picture in pictures),
            nodes_to_quantize=inner,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(small)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterator[Feed]) -> None:
        self.feeds = feeds

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def pictures_of(source: Path, card: Card) -> list[Array]:
    """The first test pictures of a run, or training pictures where there are no others, that a network takes.

    For one that starts from noise, noise. Raises ModelError where the pictures are not there any more.
    """
    if card.source is None:
        return list(draw(card, PICTURES, 0))
    found = data_of(source, card.network)
    if found is None:
        raise ModelError(f"{source}: int8 is fitted to pictures of the training; none are known: choose fp16 or fp32")
    config, side = found
    try:
        data = find_data(config.kind)(config, card.multiple)
    except DataError as error:
        raise ModelError(
            f"{source}: int8 is fitted to pictures of the training ({error}); put them back, or choose fp16 or fp32"
        ) from None
    pictures = [getattr(batch, str(side))[0].numpy() for _, batch in batches(data.test or data.train, 1, PICTURES)]
    if not pictures:
        raise ModelError(f"{source}: {data.describe()}: no picture can be read to fit int8 to: choose fp16 or fp32")
    return pictures
