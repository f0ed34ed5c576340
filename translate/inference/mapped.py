"""ONNX files whose weights ONNX Runtime maps into memory where they are, in place of reading and copying them.

ONNX knows weights in a file beside the model, and ONNX Runtime maps such files. Here that file is the model itself: of
its protobuf (onnx.proto3) large `raw_data` are replaced by where they are. A U-Net of 218 MB then opens in 10 ms, and
not in 400. Only weights that lie in the file as arrays do in memory are taken, and `aligned` puts them so.
"""

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

_GRAPH, _INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
_RAW_DATA, _DOC_STRING, _EXTERNAL_DATA, _DATA_LOCATION = 9, 12, 13, 14  # of TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_EXTERNAL = 1
_LEAST = 4096  # bytes of weights that are worth it
_MOST = 100_000  # fields of one message, of which a network has hundreds: else a file of others would take minutes
_ALIGNMENT = 64  # bytes, as of ONNX Runtime's own arrays
_LENGTH = 5  # bytes of a length that is known only after what it counts: a protobuf may write 3 as 0x83 0x80 … 0x00

_Model = bytes | mmap.mmap


class _Field(NamedTuple):
    number: int
    wire: int
    start: int  # of its tag
    value: int
    end: int


_Write = Callable[[bytearray, _Model, list[_Field]], None]  # a tensor of those fields


def without_weights(path: Path) -> bytes:
    """The model, with references into the file `path.name` for large weights. ValueError where it is no protobuf."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as model:
        return bytes(_rewritten(model, partial(_refer, path.name.encode())))


def aligned(model: bytes) -> bytearray:
    """The same model, with large weights at multiples of 64 bytes."""
    return _rewritten(model, _align)


def _rewritten(model: _Model, write: _Write) -> bytearray:
    out = bytearray()
    for field in _fields(model, 0, len(model)):
        if field.number != _GRAPH:
            out += model[field.start : field.end]
            continue
        with _message(out, _GRAPH):
            for part in _fields(model, field.value, field.end):
                if part.number == _INITIALIZER and part.end - part.value > _LEAST:
                    with _message(out, _INITIALIZER):
                        write(out, model, list(_fields(model, part.value, part.end)))
                else:
                    out += model[part.start : part.end]
    return out


def _refer(name: bytes, out: bytearray, model: _Model, tensor: list[_Field]) -> None:
    for field in tensor:
        if field.number != _RAW_DATA or field.value % _ALIGNMENT:
            out += model[field.start : field.end]
            continue
        where = {b"location": name, b"offset": b"%d" % field.value, b"length": b"%d" % (field.end - field.value)}
        for entry in where.items():  # StringStringEntryProto
            with _message(out, _EXTERNAL_DATA):
                for number, text in enumerate(entry, 1):
                    with _message(out, number):
                        out += text
        out += _tag(_DATA_LOCATION, _VARINT) + bytes([_EXTERNAL])


def _align(out: bytearray, model: _Model, tensor: list[_Field]) -> None:
    for field in tensor:
        if field.number == _RAW_DATA:
            head = model[field.start : field.value]
            out += _tag(_DOC_STRING, _BYTES)
            spaces = -(len(out) + 1 + len(head)) % _ALIGNMENT
            out += bytes([spaces]) + b" " * spaces
        out += model[field.start : field.end]


def _fields(model: _Model, at: int, end: int) -> Iterator[_Field]:
    for _ in range(_MOST):
        if at == end:
            return
        start = at
        tag, at = _number(model, at, end)
        wire = tag & 7
        if wire == _BYTES:
            length, value = _number(model, at, end)
            at = value + length
        elif wire == _VARINT:
            value, (_, at) = at, _number(model, at, end)
        elif wire in (_FIXED32, _FIXED64):
            value, at = at, at + (4 if wire == _FIXED32 else 8)
        else:
            raise ValueError(f"byte {start}: no field of a protobuf")
        if at > end:
            raise ValueError(f"byte {start}: the field ends after what it is part of")
        yield _Field(tag >> 3, wire, start, value, at)
    raise ValueError(f"byte {at}: more fields than a network has")


def _number(model: _Model, at: int, end: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = 0
    for place, byte in enumerate(model[at : min(at + 10, end)]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"byte {at}: no number of a protobuf")


@contextmanager
def _message(out: bytearray, number: int) -> Iterator[None]:
    """A field of the bytes that are written meanwhile."""
    out += _tag(number, _BYTES) + bytes(_LENGTH)
    start = len(out)
    yield
    length = len(out) - start
    digits = [length >> 7 * place & 0x7F | 0x80 for place in range(_LENGTH)]
    digits[-1] &= 0x7F
    out[start - _LENGTH : start] = bytes(digits)


def _tag(number: int, wire: int) -> bytes:
    return bytes([number << 3 | wire])  # of fields up to 15
