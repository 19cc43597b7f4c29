"""TRKX017: number, ranks, element types and axes of inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.axes import Axes
from trkx.export.lint.doors import Dim, Doors, dims_of, doors_of, dtype_of, shown
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.sizes import Size
from trkx.export.lint.walking import dtype_name, on_tensorrt

_TYPES = {"x": onnx.TensorProto.FLOAT, "edge_index": onnx.TensorProto.INT64, "edge_attr": onnx.TensorProto.FLOAT}


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    yield from _count(subject, doors)
    for role, value in doors.roles():
        yield from _type(value, _TYPES[role], role)
        yield from _input_dims(value, role)
    yield from _same_symbol(subject, doors)
    if doors.output is not None:
        yield from _type(doors.output, onnx.TensorProto.FLOAT, "output")
        yield from _output_dims(subject, doors, doors.output)
        yield from _output_axis(doors, doors.output, Axes(subject.graph, doors))


def _count(subject: Subject, doors: Doors) -> Iterator[Remark]:
    roles = [name for name, _ in doors.roles()]
    wanted = ["x", "edge_index"] if doors.classifier else ["x"]
    if subject.target.needs_edge_attr and doors.classifier:
        wanted.append("edge_attr")
    for name in wanted:
        if name not in roles:
            yield Remark(f"there is no input that could be '{name}', and {subject.target.name} feeds one", name)
    known = {id(value) for _, value in doors.roles()}
    for value in doors.inputs:
        if id(value) not in known:
            yield Remark(f"input '{value.name}' is none of x, edge_index, edge_attr: nothing feeds it", value.name)
    if subject.stage == "embedding" and doors.edge_index is not None:
        yield Remark(f"an embedding has no edges yet, but reads '{doors.edge_index.name}'", doors.edge_index.name)
    if not doors.outputs:
        yield Remark("the graph has no output")
    elif len(doors.outputs) > 1:
        names = ", ".join(value.name for value in doors.outputs)
        severity = subject.target.name.startswith("acts")
        message = f"there are {len(doors.outputs)} outputs ({names}), expected one"
        yield Remark(message, doors.outputs[0].name, "error" if severity else "warning")


def _type(value: onnx.ValueInfoProto, wanted: int, role: str) -> Iterator[Remark]:
    found = dtype_of(value)
    if found is None:
        yield Remark(f"'{value.name}' is no tensor, expected {role} of type {dtype_name(wanted)}", value.name)
    elif found != wanted:
        yield Remark(f"'{value.name}' has element type {dtype_name(found)}, expected {dtype_name(wanted)}", value.name)


def _input_dims(value: onnx.ValueInfoProto, role: str) -> Iterator[Remark]:
    dims = dims_of(value)
    if dims is None:
        yield Remark(f"input '{value.name}' declares no shape, so nothing can be checked against it", value.name, "warning")
    elif len(dims) != 2:
        yield Remark(f"input '{value.name}' has rank {len(dims)} {shown(dims)}, expected rank 2", value.name)
    elif role == "edge_index" and isinstance(dims[0], int) and dims[0] != 2:
        yield Remark(f"input '{value.name}' is {shown(dims)}, expected [2, num_edges]", value.name)
    elif role == "edge_index" and dims[1] == 2 and not isinstance(dims[0], int):
        yield Remark(f"input '{value.name}' is {shown(dims)}: transposed, expected [2, num_edges]", value.name)


def _same_symbol(subject: Subject, doors: Doors) -> Iterator[Remark]:
    hits, edges = _symbols(doors)
    if isinstance(hits, str) and hits == edges:
        message = f"hits and edges share the axis name '{hits}', which says that there are as many of one as of the other"
        yield Remark(message, hits, "error" if on_tensorrt(subject.target) else "warning")


def _output_dims(subject: Subject, doors: Doors, value: onnx.ValueInfoProto) -> Iterator[Remark]:
    dims = dims_of(value)
    if dims is None:
        yield Remark(f"output '{value.name}' declares no shape", value.name, "warning")
        return
    ranks = subject.target.output_ranks if doors.classifier else (2,)
    if len(dims) not in ranks:
        wanted = " or ".join(map(str, ranks))
        yield Remark(f"output '{value.name}' has rank {len(dims)}, {subject.target.name} takes {wanted}", value.name)
    elif doors.classifier and len(dims) == 2 and isinstance(dims[1], int) and dims[1] != 1:
        yield Remark(f"output '{value.name}' is {shown(dims)}, expected one logit an edge: [num_edges, 1]", value.name)


def _output_axis(doors: Doors, value: onnx.ValueInfoProto, axes: Axes) -> Iterator[Remark]:
    made = axes.derived.get(value.name)
    first = made[0] if made else None
    rows = Size(edges=1) if doors.classifier else Size(hits=1)
    if first is not None and first.dynamic and first != rows:
        yield Remark(f"output '{value.name}' has {first} rows, expected {rows}", value.name)
        return
    hits, edges = _symbols(doors)
    own, other = (edges, hits) if doors.classifier else (hits, edges)
    declared = (dims_of(value) or (None,))[0]
    if isinstance(declared, str) and declared == other != own:
        yield Remark(f"output '{value.name}' declares the axis '{declared}', expected '{own}'", value.name)


def _symbols(doors: Doors) -> tuple[Dim, Dim]:
    """Return what the doors call the axis of hits and that of edges, None where there is none."""
    hits = (dims_of(doors.x) or (None,))[0] if doors.x is not None else None
    edges = (dims_of(doors.edge_index) or (None,))[-1] if doors.edge_index is not None else None
    return hits, edges


RULE = Rule(
    id="TRKX017",
    name="door-types",
    title="number, rank, element type or axes of inputs and outputs are not those of the contract",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Every consumer feeds x float32 [num_hits, F] and edge_index int64 [2, num_edges] and reads one output, float32 "
        "[num_edges, 1] ([num_hits, D] for an embedding). ACTS's plugin fails on a rank-1 output if an event has no edge or one."
    ),
    affected="all targets; the ranks that a target accepts are in its row",
    fix="Export again with these doors, casts at both ends of half precision. `trkx repair` mends the output's rank.",
    link="https://github.com/acts-project/acts/tree/main/Plugins/Gnn",
    check=_check,
)
