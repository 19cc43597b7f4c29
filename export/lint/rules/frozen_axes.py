"""TRKX012: the number of hits or edges of the traced example is built into the file."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

import onnx

from trkx.export.lint.axes import Axes
from trkx.export.lint.axis_steps import BROADCASTING, input_of, sizes_held
from trkx.export.lint.doors import Doors, dims_of, doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.sizes import MINUS_ONE, Size, Sizes, clash, copied, shown, uncancelled
from trkx.export.lint.walking import MOVING, label, place, sources
from trkx.export.onnx_graph import SCATTERS, Graph, attribute

_INDEXED = ("Gather", "GatherElements", *SCATTERS)


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    yield from _at_the_doors(doors)
    axes = Axes(subject.graph, doors)
    for graph in subject.graph.all():
        for node in graph.nodes:
            found = _frozen(axes, graph, node) or _frozen_table(axes, graph, node, doors)
            if found:
                yield Remark(f"{label(node)} {found}", place(node))


def _at_the_doors(doors: Doors) -> Iterator[Remark]:
    rows = {"x": (0, "num_hits"), "edge_index": (-1, "num_edges"), "edge_attr": (0, "num_edges")}
    for role, value in doors.roles():
        axis, name = rows[role]
        dims = dims_of(value)
        turned = role == "edge_index" and dims and dims[-1] == 2 and not isinstance(dims[0], int)  # [num_edges, 2]: TRKX017
        if dims and isinstance(dims[axis], int) and not turned:
            yield Remark(f"input '{value.name}' has a fixed {name} of {dims[axis]}, expected a dynamic axis", value.name)
    dims = dims_of(doors.output) if doors.output is not None else None
    if doors.output is not None and dims and isinstance(dims[0], int):
        name = "num_edges" if doors.classifier else "num_hits"
        yield Remark(f"output '{doors.output.name}' has a fixed {name} of {dims[0]}, expected a dynamic axis", doors.output.name)


def _frozen(axes: Axes, graph: Graph, node: onnx.NodeProto) -> str:
    """Return what is fixed in a node that reads an axis of the event, "" if nothing provably is."""
    if node.op_type == "Reshape":
        return _frozen_reshape(axes.of(graph, input_of(node, 0)), sizes_held(axes, graph, input_of(node, 1)), node)
    if node.op_type == "Expand":
        wanted = sizes_held(axes, graph, input_of(node, 1))
        pair = clash(axes.of(graph, input_of(node, 0)), wanted)
        return f"expands an axis of length {pair[0]} to {pair[1]}" if pair else ""
    if node.op_type in BROADCASTING:
        for name in node.input[1:]:
            pair = clash(axes.of(graph, node.input[0]), axes.of(graph, name))
            if pair:
                return f"combines an axis of length {pair[0]} with one of fixed length {pair[1]}"
    if node.op_type == "Concat":
        return _frozen_concat([axes.of(graph, name) for name in node.input], attribute(node, "axis", 0))
    return ""


def _frozen_reshape(given: Sizes | None, wanted: Sizes | None, node: onnx.NodeProto) -> str:
    if given is None or wanted is None:
        return ""
    target = copied(given, wanted, bool(attribute(node, "allowzero", 0)))
    rest = uncancelled(given, [size for size in target if size != MINUS_ONE])
    if rest is None or not rest[0]:
        return ""
    moving, have, need = rest
    message = f"reshapes {shown(given)} to {shown(target)}"
    if MINUS_ONE not in target:
        return f"{message}: a fixed number of elements"
    if len(moving) == 1 and need > 0:
        whole = moving[0] * have
        if gcd(whole.edges, whole.hits, whole.fixed) % need:
            return f"{message}: that fits only some numbers of hits or edges"
    return ""


def _frozen_concat(parts: list[Sizes | None], axis: int) -> str:
    known = [part for part in parts if part is not None]
    if len({len(part) for part in known}) != 1:
        return ""
    for k in range(len(known[0])):
        if k == axis % len(known[0]):
            continue
        lengths = [part[k] for part in known]
        moving = next((size for size in lengths if size is not None and size.dynamic), None)
        fixed = next((size for size in lengths if size is not None and not size.dynamic), None)
        if moving is not None and fixed is not None:
            return f"joins parts of length {moving} with parts of fixed length {fixed}"
    return ""


def _frozen_table(axes: Axes, graph: Graph, node: onnx.NodeProto, doors: Doors) -> str:
    """Return what is wrong if hit indices of edge_index point into a table with a fixed number of rows."""
    if node.op_type not in _INDEXED or doors.edge_index is None or doors.x is None:
        return ""
    table, rows = axes.of(graph, input_of(node, 0)), axes.shapes.get(doors.x.name)
    axis = 0 if node.op_type == "ScatterND" else attribute(node, "axis", 0)
    if not table or not rows or rows[0] != Size(hits=1) or not -len(table) <= axis < len(table):
        return ""
    length = table[axis]
    if length is None or length.dynamic:
        return ""
    origins = {name for name, maker in sources(graph, input_of(node, 1), MOVING | {"Cast"}) if maker is None}
    if origins != {doors.edge_index.name}:
        return ""
    return f"uses the hit indices of '{doors.edge_index.name}' on a table with a fixed number of {length.fixed} rows"


RULE = Rule(
    id="TRKX012",
    name="frozen-axes",
    title="the number of hits or edges of the traced example is fixed in the file",
    severity="error",
    kinds=("onnx",),
    reason=(
        "An event of another size is refused (\"Got invalid dimensions\"), or, where only an inner table was fixed, hits beyond "
        "it fail or wrap. num_hits and num_edges change with every event."
    ),
    affected="both exporters of torch without dynamic shapes; sizes taken as int() while tracing",
    fix=(
        "Export with dynamic_shapes (x axis 0, edge_index axis 1) and take sizes from x.shape[0], not from data. "
        "`trkx repair` frees axes that are fixed only at the doors."
    ),
    link="https://docs.pytorch.org/docs/stable/onnx_export.html",
    check=_check,
)
