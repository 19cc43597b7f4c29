"""Small questions about nodes and values that many rules ask. Nothing here recurses over the length of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.export.onnx_graph import Graph
from trkx.export.targets import Target

STANDARD = ("", "ai.onnx")
"""Names of the default operator domain."""
MOVING = frozenset((
    "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Expand", "Slice", "Gather", "Concat", "Split", "Tile",
))
"""Operators that move the values of their first input (all inputs of Concat) and compute nothing."""
FLOATS = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16,
)
FARTHEST = 512
"""Values that `sources` looks at; real indices are a dozen steps from where they come from."""
INTEGERS = (
    onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32, onnx.TensorProto.INT64,
    onnx.TensorProto.UINT8, onnx.TensorProto.UINT16, onnx.TensorProto.UINT32, onnx.TensorProto.UINT64,
)


def on_tensorrt(target: Target) -> bool:
    """Return whether the file goes through TensorRT's ONNX parser."""
    return target.name.endswith("tensorrt")


def dtype_name(dtype: int | None) -> str:
    """Return the name of an element type ("FLOAT16"), "an unknown type" for one that ONNX does not have."""
    return str(onnx.TensorProto.DataType.Name(dtype)) if dtype in onnx.TensorProto.DataType.values() else "an unknown type"


def label(node: onnx.NodeProto) -> str:
    """Return how a message calls a node: operator and name, or operator and first output if it has no name."""
    return f"{node.op_type} '{node.name}'" if node.name else f"{node.op_type} that makes '{place(node)}'"


def place(node: onnx.NodeProto) -> str:
    """Return the name of a node, or of its first output if it has none."""
    return node.name or next((name for name in node.output if name), node.op_type)


def listed(names: Iterable[str], limit: int = 3) -> str:
    """Return names with commas, the first `limit` of them and how many more there are."""
    found = list(names)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more


def constant(graph: Graph, name: str) -> NDArray[Any] | None:
    """Return the value of a constant, through Identity and Cast; None if it is not one, too large, or malformed."""
    casts: list[int] = []
    for _ in range(16):
        try:
            value = graph.constant(name)
        except Exception:  # dims that disagree with the bytes and the like: the checker's business
            return None
        node = graph.producer(name) if value is None else None
        if value is not None:
            return _cast(value, casts)
        if node is None or node.op_type not in ("Identity", "Cast") or not node.input:
            return None
        if node.op_type == "Cast":
            casts.append(next((item.i for item in node.attribute if item.name == "to"), 0))
        name = node.input[0]
    return None


def _cast(value: NDArray[Any], casts: Sequence[int]) -> NDArray[Any] | None:
    try:
        with np.errstate(all="ignore"):
            for dtype in reversed(casts):
                value = value.astype(onnx.helper.tensor_dtype_to_np_dtype(dtype))
    except (KeyError, TypeError, ValueError):
        return None
    return value


def scalar(graph: Graph, name: str) -> float | None:
    """Return the number that a constant of one element holds, None for anything else."""
    value = constant(graph, name)
    if value is None or value.size != 1:
        return None
    try:
        return float(value.reshape(()).astype(np.float64))
    except (TypeError, ValueError):  # text
        return None


def bodies_of(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Yield the graphs inside a node (If, Loop, Scan)."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def reads(node: onnx.NodeProto) -> set[str]:
    """Return every value that a node reads, among them those that its bodies take from outside.

    Bodies are nested at most a few dozen times: protobuf refuses deeper messages.
    """
    names = set(node.input)
    for body in bodies_of(node):
        own = {value.name for value in body.input} | {item.name for item in body.initializer}
        own |= {name for inner in body.node for name in inner.output}
        inside = {value.name for value in body.output}
        for inner in body.node:
            inside |= reads(inner)
        names |= inside - own
    return names - {""}


def sources(graph: Graph, name: str, through: frozenset[str] = MOVING) -> Iterator[tuple[str, onnx.NodeProto | None]]:
    """Yield the values that a value is moved from, with the node that makes each: back through `through`, to where it was made.

    Of a node in `through` the first input is followed, of Concat and of arithmetic all of them; each value is met once. After
    FARTHEST values ("", None) is yielded and the search ends: the rest is unknown.
    """
    waiting, seen = [name], {name}
    while waiting:
        if len(seen) > FARTHEST:
            yield "", None
            return
        current = waiting.pop()
        node = graph.producer(current)
        if node is None or node.op_type not in through or node.domain not in STANDARD:
            yield current, node
            continue
        names = node.input[:1] if node.op_type in (*(MOVING - {"Concat"}), "Cast", "CastLike") else node.input
        for item in names:
            if item and item not in seen:
                seen.add(item)
                waiting.append(item)
