"""Rewrite: the number of hits or edges of the traced example is taken out of the file."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trkx.export.lint.axes import Axes
from trkx.export.lint.axis_steps import BROADCASTING, sizes_held
from trkx.export.lint.doors import Doors
from trkx.export.lint.finding import Subject
from trkx.export.lint.rules.frozen_axes import RULE
from trkx.export.lint.sizes import MINUS_ONE, Size, clash, copied, shown, uncancelled
from trkx.export.lint.walking import MOVING, STANDARD, constant, place, sources
from trkx.export.onnx_graph import SCATTERS, Graph, attribute
from trkx.export.repair.change import Change, Outcome, Refusal, Request, doors_in
from trkx.export.repair.editing import Editor
from trkx.export.repair.zeros import all_zeros, equal_numbers

_AXES = {"x": (0, "num_hits"), "edge_index": (-1, "num_edges"), "edge_attr": (0, "num_edges")}
_ROUNDS = 20
_TODO = "Export again with dynamic axes, and take sizes from x.shape[0]."


def freed(model: onnx.ModelProto, request: Request) -> Outcome:
    """Name the axes at the doors, and mend the nodes inside that hold the frozen length where it can only mean that axis.

    Inside: the target of Expand, the target of Reshape, a table of zeros that is indexed with hits, a constant of equal numbers
    that meets the axis in arithmetic. What the lint rule still sees after that is refused. Whether the file then gives the same
    at other sizes is for `verify` to say.
    """
    lengths = frozen_sizes(model, request)
    changes = list(_free_doors(model, request))
    if changes:
        del model.graph.value_info[:]
    for _ in range(_ROUNDS):
        graph = Graph(model)
        found = list(_mend(graph, doors_in(graph.model, request, graph), lengths))
        if not found:
            break
        changes += found
        model = graph.model
        del model.graph.value_info[:]
    graph = Graph(model)
    subject = Subject(request.path, "onnx", request.target, 0, stage=request.stage, model=graph.model, graph=graph)
    left = [Refusal("freed", RULE.id, remark.where, remark.message, _TODO) for remark in RULE.check(subject)]
    return Outcome(model, tuple(changes), tuple(left))


def frozen_sizes(model: onnx.ModelProto, request: Request) -> tuple[int | None, int | None]:
    """Return the (number of hits, number of edges) that the inputs of a model fix, None where they don't."""
    graph = Graph(model, infer=False)
    found: dict[str, int] = {}
    for role, value in doors_in(model, request, graph).roles():
        axis, name = _AXES[role]
        shape = graph.shape(value.name)
        length = shape[axis] if shape else None
        if isinstance(length, int):
            found[name] = length
    return found.get("num_hits"), found.get("num_edges")


def _free_doors(model: onnx.ModelProto, request: Request) -> Iterator[Change]:
    graph = Graph(model, infer=False)
    doors = doors_in(model, request, graph)
    rows = [(value, *_AXES[role]) for role, value in doors.roles()]
    if doors.output is not None:
        rows.append((doors.output, 0, "num_edges" if doors.classifier else "num_hits"))
    for value, axis, name in rows:
        shape = graph.shape(value.name)
        if shape and isinstance(shape[axis], int):
            value.type.tensor_type.shape.dim[axis].dim_param = name
            why = "every event has another length; compared at other sizes"
            yield Change("freed", RULE.id, value.name, f"axis {axis % len(shape)} is {name} now, {shape[axis]} before", why)


def _mend(graph: Graph, doors: Doors, lengths: tuple[int | None, int | None]) -> Iterator[Change]:
    """Mend what is seen to be frozen in the main graph; more may show when lengths are followed again."""
    axes, editor = Axes(graph, doors), Editor(graph)
    for number, node in enumerate(graph.nodes):
        if node.domain not in STANDARD:
            continue
        what = ""
        if node.op_type == "Expand":
            what = _expand(axes, graph, editor, node)
        elif node.op_type == "Reshape":
            what = _reshape(axes, graph, editor, node, lengths)
        elif node.op_type in BROADCASTING:
            what = _broadcast(axes, graph, editor, node)
        elif node.op_type in SCATTERS:
            what = _table(axes, graph, editor, number, doors) or _updates(axes, graph, editor, number)
        if what:
            yield Change("freed", RULE.id, place(node), what, "no other length fits the axis that it meets")
    editor.done()


def _expand(axes: Axes, graph: Graph, editor: Editor, node: onnx.NodeProto) -> str:
    given, wanted, held = axes.of(graph, node.input[0]), sizes_held(axes, graph, node.input[1]), constant(graph, node.input[1])
    pair = clash(given, wanted)
    if pair is None or held is None or given is None:
        return ""
    target = held.copy().reshape(-1)
    for back in range(1, min(len(given), len(target)) + 1):
        size = given[-back]
        if size is not None and size.dynamic and target[-back] != 1:
            target[-back] = 1  # leaves the axis as long as it is
    node.input[1] = editor.constant(target, f"{node.output[0]}_shape")
    return f"expands to {target.tolist()} now, {held.tolist()} before: 1 keeps the axis of length {pair[0]}"


def _reshape(axes: Axes, graph: Graph, editor: Editor, node: onnx.NodeProto, lengths: tuple[int | None, int | None]) -> str:
    given, held = axes.of(graph, node.input[0]), constant(graph, node.input[1])
    target = held.reshape(-1).tolist() if held is not None and held.dtype.kind in "iu" else None
    if given is None or target is None or attribute(node, "allowzero", 0):
        return ""
    rest = uncancelled(given, [size for size in copied(given, tuple(Size(fixed=item) for item in target)) if size != MINUS_ONE])
    was = _was(rest[0][0], lengths) if rest is not None and len(rest[0]) == 1 else 0
    if rest is None or was < 2:
        return ""
    (moving,), have, need = rest
    before = list(target)
    if -1 in target:
        places = [k for k, item in enumerate(target) if item == was]
        target[target.index(-1)] = have * was // need if have * was % need == 0 else -1
    else:
        places = [k for k, item in enumerate(target) if item > 0 and item % was == 0 and have % (need // item) == 0]
    if len(places) != 1 or -1 in target:
        return ""
    target[places[0]] = -1
    node.input[1] = editor.constant(np.array(target, np.int64), f"{node.output[0]}_shape")
    return f"reshapes to {target} now, {before} before: the axis of length {moving} keeps its length"


def _was(moving: Size, lengths: tuple[int | None, int | None]) -> int:
    """Return the length that an axis had in the traced example, 0 if the doors did not say."""
    hits, edges = lengths
    if (moving.hits and hits is None) or (moving.edges and edges is None):
        return 0
    return moving.at(edges or 0, hits or 0)


def _broadcast(axes: Axes, graph: Graph, editor: Editor, node: onnx.NodeProto) -> str:
    """Shrink a table of equal numbers to length 1 along the axis on which it meets one that moves."""
    for number, name in enumerate(node.input):
        value, sizes = equal_numbers(graph, name), axes.of(graph, name)
        if value is None or sizes is None or any(size is None or size.dynamic for size in sizes):
            continue
        if any(clash(sizes, axes.of(graph, other)) is not None for other in node.input if other != name):
            shape = [1] * len(sizes)
            node.input[number] = editor.constant(value.reshape(shape), f"{node.output[0]}_constant")
            return f"takes one number of shape {shape} now, the same number as {shown(sizes)} before"
    return ""


def _table(axes: Axes, graph: Graph, editor: Editor, number: int, doors: Doors) -> str:
    """Give a table of zeros into which hits are scattered as many rows as there are hits."""
    node = graph.nodes[number]
    rows, table = axes.of(graph, node.input[0]), axes.shapes.get(doors.x.name) if doors.x is not None else None
    axis = 0 if node.op_type == "ScatterND" else int(attribute(node, "axis", 0))
    if doors.x is None or doors.edge_index is None or not rows or not table or table[0] != Size(hits=1) or axis % len(rows) != 0:
        return ""
    fixed = [size.fixed for size in rows if size is not None and not size.dynamic]
    dtype = graph.dtype(node.input[0])
    if len(fixed) != len(rows) or dtype is None or not all_zeros(graph, node.input[0]):
        return ""
    origins = {name for name, maker in sources(graph, node.input[1], MOVING | {"Cast"}) if maker is None}
    if origins != {doors.edge_index.name}:
        return ""
    stem = node.output[0]
    shape = editor.before(number, "Shape", [doors.x.name], f"{stem}_x_shape")
    hits = editor.before(number, "Gather", [shape, editor.constant(np.array([0]), f"{stem}_first")], f"{stem}_hits", {"axis": 0})
    tail = editor.constant(np.array(fixed[1:], np.int64), f"{stem}_columns")
    full = editor.before(number, "Concat", [hits, tail], f"{stem}_table_shape", {"axis": 0})
    zero = numpy_helper.from_array(np.zeros(1, helper.tensor_dtype_to_np_dtype(dtype)))
    node.input[0] = editor.before(number, "ConstantOfShape", [full], f"{stem}_table", {"value": zero})
    return f"scatters into a row for each hit now, into {fixed[0]} rows before"


def _updates(axes: Axes, graph: Graph, editor: Editor, number: int) -> str:
    """Give a scatter of one and the same number, a count, as many updates as there are indices."""
    node = graph.nodes[number]
    index, sizes = axes.of(graph, node.input[1]), axes.of(graph, node.input[2])
    value = equal_numbers(graph, node.input[2])
    if node.op_type == "ScatterND" or value is None or sizes is None or clash(index, sizes) is None:
        return ""
    stem = node.output[0]
    shape = editor.before(number, "Shape", [node.input[1]], f"{stem}_index_shape")
    fill = {"value": numpy_helper.from_array(value)}
    node.input[2] = editor.before(number, "ConstantOfShape", [shape], f"{stem}_updates", fill)
    return f"scatters its number once an index now, {shown(sizes)} before"
