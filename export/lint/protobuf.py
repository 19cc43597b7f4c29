"""The outermost fields of an ONNX file, walked without parsing it: what is no ONNX, truncated or a bomb is refused early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO

from trkx.errors import ExportError

VARINT, BYTES = 0, 2
FIELDS: Mapping[int, int] = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES, 14: BYTES,
                             20: BYTES, 25: BYTES, 26: BYTES}
"""Fields of ModelProto to how they are written; https://github.com/onnx/onnx/blob/main/onnx/onnx.proto."""
GRAPH = 7
MOST_FIELDS = 20_000
MOST_GRAPH_FIELDS = 1_000_000
"""Nodes, weights and values of one graph: what parsing takes is a multiple of their number, not of the file's size."""


def starts_like_onnx(head: bytes) -> bool:
    """Return whether the first bytes are a field of an ONNX model."""
    try:
        tag, _ = _varint(head, 0)
    except IndexError:
        return False
    return FIELDS.get(tag >> 3) == tag & 7


def check_fields(file: IO[bytes], size: int, where: str) -> None:
    """Check that the file is a sequence of ModelProto's fields up to its end; only their heads are read.

    Raises:
        ExportError: it is something else, or ends in the middle of a field.
    """
    position = 0
    count = 0
    while position < size:
        file.seek(position)
        head = file.read(20)
        count += 1
        try:
            tag, at = _varint(head, 0)
            value, at = _varint(head, at)
        except IndexError:
            raise ExportError(f"{where}: not an ONNX model, or truncated: nothing readable at byte {position}.") from None
        if FIELDS.get(tag >> 3) != tag & 7 or count > MOST_FIELDS:
            raise ExportError(f"{where}: not an ONNX model: what is at byte {position} is no part of one. "
                              "trkx reads ONNX, TorchScript and AOTInductor files.")
        end = position + at + (value if tag & 7 == BYTES else 0)
        if end > size:
            raise ExportError(f"{where}: truncated: a part of the model ends at byte {end}, the file at {size}; copy it again.")
        position = end


def check_graph_size(data: bytes, where: str) -> None:
    """Refuse a graph of so many tiny parts that parsing it would take far more memory than the file.

    Raises:
        ExportError: more than MOST_GRAPH_FIELDS nodes, weights and values.
    """
    for tag, start, end in _spans(data, 0, len(data)):
        if tag >> 3 == GRAPH:
            for count, _ in enumerate(_spans(data, start, end)):
                if count >= MOST_GRAPH_FIELDS:
                    raise ExportError(f"{where}: a graph of more than {MOST_GRAPH_FIELDS} parts is no plausible model; "
                                      "it was not read.")


def _spans(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, start, end) of each field, as long as they make sense; the parser says more about the rest."""
    at = start
    while at < end:
        try:
            tag, at = _varint(data, at)
            length = {1: 8, 5: 4}.get(tag & 7)
            if length is None:
                length, at = _varint(data, at)
        except IndexError:
            return
        if tag & 7 not in (0, 1, 2, 5):
            return
        length = 0 if tag & 7 == VARINT else length
        yield tag, at, at + length
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; IndexError if there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError("no number")
