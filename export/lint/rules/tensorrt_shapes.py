"""TRKX031: shapes that are computed from values, which TensorRT does not know when it needs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD, bodies_of, constant, label, on_tensorrt, place
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
    scopes: dict[int, _Scope] = {}
    for graph in subject.graph.all():
        scope = scopes[id(graph)] = _Scope(graph, scopes.get(id(graph.outer)))  # an outer graph comes before its bodies
        for node in graph.nodes:
            if node.domain not in STANDARD:
                continue
            for number in SHAPES.get(node.op_type, ()):
                value = input_of(node, number)
                source = _source(scope, value) if value else ""
                if source:
                    yield Remark(f"{label(node)} takes its shape from values of {source}", place(node))
                    break


class _Scope:
    """One graph, who makes its values, and of what is known already where it comes from: no value is looked at twice."""

    def __init__(self, graph: Graph, outer: _Scope | None) -> None:
        self.graph, self.outer = graph, outer
        self.made = {name: node for node in graph.nodes for name in node.output if name}
        self.inputs = {value.name for value in graph.graph.input}
        self.own = self.made.keys() | self.inputs | {item.name for item in graph.graph.initializer}
        self.known: dict[str, str] = {}

    def home(self, name: str) -> _Scope:
        """Return the graph that a value is of: this one, or the one around it from which a body takes it."""
        scope = self
        while name not in scope.own and scope.outer is not None:
            scope = scope.outer
        return scope

    def step(self, name: str) -> tuple[str, list[str]]:
        """Return (where a value of this graph comes from if that is decided here, else what it is computed from)."""
        node = self.made.get(name)
        if constant(self.graph, name) is not None or (node is not None and node.op_type in _LENGTHS):
            return "", []
        if node is None:  # of a body's input: what it is stands outside
            return (f"input '{name}'" if name in self.inputs and self.outer is None else ""), []
        if node.domain not in STANDARD or node.op_type not in _COMPUTED or any(True for _ in bodies_of(node)):
            return label(node), []
        return "", [item for item in node.input if item]


def _source(scope: _Scope, name: str) -> str:
    """Return where a number comes from that is computed from more than lengths and constants; "" if it is not."""
    waiting: list[tuple[_Scope, str, list[str] | None]] = [(scope.home(name), name, None)]
    while waiting:
        here, current, parts = waiting.pop()
        if parts is not None:  # what it is computed from is known by now
            here.known[current] = next(filter(None, (here.home(part).known[part] for part in parts)), "")
        elif current not in here.known:
            here.known[current], parts = here.step(current)
            if parts:
                waiting.append((here, current, parts))
                waiting += [(here.home(part), part, None) for part in parts]
    return scope.home(name).known[name]


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
