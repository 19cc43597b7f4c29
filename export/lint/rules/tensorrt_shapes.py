"""TRKX031: shapes that are computed from values, which TensorRT does not know when it needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import FARTHEST, STANDARD, bodies_of, constant, label, on_tensorrt, place
from trkx.export.onnx_graph import Graph

SHAPES: Mapping[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Tile": (1,), "Slice": (1, 2, 4), "Pad": (1,),
    "TopK": (1,), "Split": (1,), "Resize": (2, 3), "CenterCropPad": (1,),
}
"""Operator to its inputs that decide about the shape of its result."""
_LENGTHS = frozenset(("Shape", "Size"))
_COMPUTED = frozenset((
    "Identity", "Cast", "CastLike", "Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Min", "Max", "Ceil", "Floor", "Sqrt",
    "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Expand", "Split", "Where", "Equal", "Less",
    "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Not", "ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin",
    "ConstantOfShape", "Range", "Tile", "Transpose", "Pad", "Pow", "Sum", "Mean", "CumSum", "Sign", "Clip",
))
"""Operators of which a length comes out if lengths and constants go in."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or not on_tensorrt(subject.target):
        return
    for graph in subject.graph.all():
        known: dict[str, str] = {}
        for node in graph.nodes:
            if node.domain not in STANDARD:
                continue
            for number in SHAPES.get(node.op_type, ()):
                value = input_of(node, number)
                source = _values(graph, value, known) if value else ""
                if source:
                    yield Remark(f"{label(node)} takes its shape from values of {source}", place(node))
                    break


def _values(graph: Graph, name: str, known: dict[str, str]) -> str:
    """Return where a number comes from that is computed from more than lengths and constants; "" if it is not."""
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        if len(seen) > FARTHEST or known.get(current) == "":
            continue
        found = known.get(current, "")
        node = graph.producer(current)
        if found or constant(graph, current) is not None or (node is not None and node.op_type in _LENGTHS):
            if found:
                return found
            continue
        if any(value.name == current for value in graph.graph.input):
            if graph.outer is None:
                known[name] = f"input '{current}'"
                return known[name]
            continue  # of a body: what it is stands outside
        if node is None:
            continue
        if node.domain not in STANDARD or node.op_type not in _COMPUTED or any(True for _ in bodies_of(node)):
            known[name] = f"{label(node)}"
            return known[name]
        fresh = [item for item in node.input if item and item not in seen]
        seen.update(fresh)
        waiting += fresh
    known[name] = ""
    return ""


RULE = Rule(
    id="TRKX031",
    name="tensorrt-shapes",
    title="a shape that depends on values",
    severity="error",
    kinds=("onnx",),
    reason=(
        "TensorRT computes all shapes from the shapes of the inputs before it computes any value. A slice whose end is a sum of "
        "degrees, or a range up to the largest index, has no shape then: parsing or building fails, on the machine with the GPU."
    ),
    affected="TensorRT, all versions; of our lowerings `buckets`",
    fix="Let all shapes follow from the numbers of hits and edges; for sums over edges export with --lowering segments.",
    link="https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html",
    check=_check,
)
