"""Values that are the same number in every element, whatever the inputs are."""

from __future__ import annotations

from trkx.export.lint.intervals import made_by
from trkx.export.lint.walking import MOVING, constant
from trkx.export.onnx_graph import Graph

STEPS_BACK = 40
KEEPING = MOVING - {"Concat", "Split"} | {"GatherElements", "GatherND", "Cast", "CastLike", "Compress"}
_POINTWISE = frozenset(("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Sqrt", "Exp", "Log", "Sigmoid", "Relu", "Not", "Reciprocal"))


def uniform(graph: Graph, name: str, steps: int = STEPS_BACK) -> bool:
    """Return whether all elements of a value are equal: filled with one number, or known to be a single element."""
    value = constant(graph, name)
    if value is not None:
        return bool(value.size <= 1 or (value == value.reshape(-1)[0]).all())
    node = made_by(graph, name)
    if node is None or steps == 0:
        shape = graph.shape(name) if any(item.name == name for item in graph.graph.input) else None
        return shape is not None and all(size == 1 for size in shape)
    if node.op_type == "ConstantOfShape":
        return True
    if node.op_type in KEEPING and node.input:
        return uniform(graph, node.input[0], steps - 1)
    if node.op_type in _POINTWISE and node.input:
        return all(uniform(graph, item, steps // 2) for item in node.input)
    return False
