"""Shape inference that a hostile file can't blow up: what would grow without measure is left as the file says it.

onnx's inference follows the values of shapes, so that a kilobyte of Concat that reads its own result twice asks for all memory
there is; so do ranks that double, and constants that declare more elements than they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import onnx

LARGEST_RANK = 1024
LONGEST = 2**20
"""Elements of an integer value that inference may follow."""
MOST = 2**24
"""The same of all values of a file together."""
_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
_KEEPING = frozenset(("Identity", "Cast", "Squeeze", "Unsqueeze", "Slice", "Reshape"))
_POINTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Where", "Equal"))
_SHAPED = {"Reshape": 1, "Expand": 1, "ConstantOfShape": 0}
"""Operator to the input whose length is the rank of its result."""
_HARMLESS = ("No Op registered", "is deprecated")
"""What the checker says of operators that inference passes by."""


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with inferred types and shapes, or as it is where inference fails, or would not end in bounded memory."""
    if not bounded(model) or not _formed(model):
        return model
    try:
        result: onnx.ModelProto = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # the C++ side has its own error classes; what the file says itself still counts
        return model
    return result


def bounded(model: onnx.ModelProto) -> bool:
    """Return whether inference ends in bounded memory. It unfolds local functions, and each may call the next one twice."""
    return not model.functions and plausible(model)


def plausible(model: onnx.ModelProto) -> bool:
    """Return whether ranks and the values that inference follows stay small, by an upper bound on each."""
    if not all(_whole(tensor) for tensor in _tensors(model.graph)):
        return False
    bounds = _Bounds()
    for graph in _graphs(model.graph):
        bounds.enter(graph)
        if not all(bounds.follow(node) for node in graph.node):
            return False
    return True


def _formed(model: onnx.ModelProto) -> bool:
    """Return whether every node has the inputs and attributes that its operator needs: inference crashes where one has not."""
    context = onnx.checker.DEFAULT_CONTEXT.__class__()
    context.ir_version = min(max(model.ir_version, 3), onnx.IR_VERSION)
    context.opset_imports = {item.domain: item.version for item in model.opset_import}
    for node in _nodes(model.graph):
        try:
            if any(_is_body(item) for item in node.attribute):  # what is inside is looked at by itself
                for item in node.attribute:
                    if not _is_body(item):
                        onnx.checker.check_attribute(item, context)
            else:
                onnx.checker.check_node(node, context)
        except Exception as error:  # the checker's own class
            if not any(phrase in str(error) for phrase in _HARMLESS):
                return False
    return True


class _Bounds:
    """Upper bounds of the rank and of the followed elements of values, by name."""

    def __init__(self) -> None:
        self.ranks: dict[str, int] = {}
        self.lengths: dict[str, int] = {}
        self.declared: dict[str, int] = {}
        self.total = 0

    def enter(self, graph: onnx.GraphProto) -> None:
        """Take what a graph declares of its inputs and constants."""
        for value in (*graph.input, *graph.value_info, *graph.output):
            dims = value.type.tensor_type.shape.dim
            self.ranks[value.name] = len(dims)
            if len(dims) == 1 and dims[0].dim_value > 0:
                self.declared[value.name] = dims[0].dim_value
        for tensor in graph.initializer:
            self._hold(tensor.name, tensor)

    def follow(self, node: onnx.NodeProto) -> bool:
        """Bound the results of a node; False if one is too large."""
        if node.op_type == "Constant":
            for item in node.attribute:
                self._hold(node.output[0] if node.output else "", item.t)
            return True
        ranks = [self.ranks.get(name, 0) for name in node.input]
        lengths = [self.lengths.get(name, 0) for name in node.input]
        rank, length = max(ranks, default=0), 0
        if node.op_type in _SHAPED:
            shape = next(iter(node.input[_SHAPED[node.op_type] :]), "")
            rank = max(rank if node.op_type == "Expand" else 0, self.lengths.get(shape, 0), self.declared.get(shape, 0))
        elif node.op_type in ("Gather", "GatherND"):
            rank = max(sum(ranks) - 1, 0)
        elif node.op_type == "Unsqueeze":
            rank += max(sum(len(item.ints) for item in node.attribute), *lengths[1:], 0)
        elif node.op_type in ("Shape", "Range"):
            rank = 1
        elif node.op_type in ("OneHot", "Loop", "Scan", "If", "SequenceInsert", "ConcatFromSequence"):
            rank += 1
        elif node.op_type == "Einsum":
            rank = sum(len(item.s) for item in node.attribute)
        if node.op_type == "Shape":
            length = max(ranks, default=0)
        elif node.op_type == "Concat":
            length = sum(lengths)
        elif node.op_type in _POINTWISE or node.op_type in _KEEPING:
            length = max(lengths if node.op_type in _POINTWISE else lengths[:1], default=0)
        elif node.op_type == "Gather":
            length = max(lengths, default=0)
        self.total += length + rank
        for name in node.output:
            self.ranks[name], self.lengths[name] = rank, length
        return rank <= LARGEST_RANK and length <= LONGEST and self.total <= MOST

    def _hold(self, name: str, tensor: onnx.TensorProto) -> None:
        self.ranks[name] = len(tensor.dims)
        if tensor.data_type in _INTEGERS:
            self.lengths[name] = min(prod(tensor.dims), LONGEST)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for part in _graphs(graph):
        yield from part.initializer
        for node in part.node:
            for item in node.attribute:
                yield from (item.t, *item.tensors)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the bodies in it, each after the graph around it."""
    waiting = [graph]
    while waiting:
        part = waiting.pop()
        yield part
        for node in part.node:
            for item in node.attribute:
                waiting.extend((*item.graphs, *([item.g] if item.HasField("g") else ())))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for part in _graphs(graph):
        yield from part.node


def _is_body(item: onnx.AttributeProto) -> bool:
    return item.HasField("g") or len(item.graphs) > 0


def _whole(tensor: onnx.TensorProto) -> bool:
    """Return whether a tensor holds as many elements as it declares (4 bits may be one)."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return True
    if any(size < 0 for size in tensor.dims):
        return False
    lists: Iterable[int] = (len(item) for item in (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data,
                                                   tensor.uint64_data, tensor.string_data))
    return bool(prod(tensor.dims) <= max(2 * len(tensor.raw_data), 2 * max(lists), 1))
