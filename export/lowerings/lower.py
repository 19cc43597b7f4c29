"""Rewrites the sums over edges of an ONNX graph, ours or not, into one of the safe lowerings."""

from __future__ import annotations

import onnx

from trkx.export.lowerings.aggregations import Aggregation, aggregations
from trkx.export.lowerings.builder import Builder
from trkx.export.lowerings.table import LOWERINGS, Lowering
from trkx.export.onnx_graph import Graph

OLDEST_OPSET = 18
"""Opset that the lowerings are written in (Shape with start, axes as inputs, scatter with max)."""


def lowered(model: onnx.ModelProto, lowering: Lowering) -> tuple[onnx.ModelProto, int]:
    """Return the model with its sums and maxima over edges rewritten, and how many there were.

    Sums that share their index (and their number of nodes) share its preparation: it is sorted once. The result has no nodes
    that are not needed. A scatter that is not such a sum is left as it is.

    Args:
        model: opset 18 or newer; not changed.
        lowering: a row of LOWERINGS.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = Graph(model)
    if graph.opset < OLDEST_OPSET:
        return result, 0
    found = {item.node.output[0]: item for item in aggregations(graph)}
    if not found:
        return result, 0
    b = Builder("sum", _names(model.graph))
    shared: dict[tuple[str, str, str], object] = {}
    nodes: list[onnx.NodeProto] = []
    for node in result.graph.node:
        item = found.get(node.output[0]) if node.op_type == "ScatterElements" else None
        if item is None:
            nodes.append(node)
            continue
        _written(b, lowering, item, graph, shared)
        b.nodes[-1].output[0] = node.output[0]  # what was written last is the result
        nodes += b.nodes
        b.nodes = []
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(b.initializers)
    _drop_unused(result.graph)
    return result, len(found)


def _written(b: Builder, lowering: Lowering, item: Aggregation, graph: Graph, shared: dict[tuple[str, str, str], object]) -> str:
    row = lowering if item.reduction == "add" or lowering.largest is not None else LOWERINGS["scatter"]
    key = (row.name, item.index, item.size or item.data)
    if key not in shared:
        one = b.constant([1])
        size = b.cut(item.size, b.constant([0]), one) if item.size is not None else b.length(item.data)
        index = item.index
        if graph.dtype(index) != onnx.TensorProto.INT64:
            index = b("Cast", index, to=onnx.TensorProto.INT64)
        shared[key] = row.prepare(b, index, size)
    write = row.total if item.reduction == "add" else row.largest
    assert write is not None
    value = write(b, shared[key], item)
    if item.blank:
        return value
    return b("Add" if item.reduction == "add" else "Max", item.data, value)


def _names(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)}
    for node in graph.node:
        names |= {*node.input, *node.output}
        for item in node.attribute:
            if item.HasField("g"):
                names |= _names(item.g)
    return names


def _used(graph: onnx.GraphProto) -> set[str]:
    names = {value.name for value in graph.output}
    for node in graph.node:
        names |= set(node.input)
        for item in node.attribute:
            for body in (*([item.g] if item.HasField("g") else []), *item.graphs):
                names |= _used(body)
    return names


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initialisers that nothing reads, until nothing is left to remove."""
    while True:
        used = _used(graph)
        kept = [node for node in graph.node if any(name in used for name in node.output)]
        if len(kept) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(kept)
    tensors = [item for item in graph.initializer if item.name in used]
    if len(tensors) != len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(tensors)
