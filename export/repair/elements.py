"""Rewrite: ScatterND with a reduction becomes ScatterElements, which adds right on every target."""

from __future__ import annotations

import numpy as np
import onnx

from trkx.export.lint.walking import STANDARD, label, place
from trkx.export.onnx_graph import Graph, reduction_of
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.editing import Editor

_RULE = "TRKX003"


def by_elements(model: onnx.ModelProto, request: Request) -> Outcome:
    """Write ScatterND whose indices are [..., 1] (rows of the first axis) as ScatterElements on axis 0; refuse other indices.

    Indices are expanded to the shape of the updates. Nothing is done for a target whose ScatterND adds right.
    """
    if request.target.scatter_nd_add:
        return Outcome(model)
    graph = Graph(model)
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for part in graph.all():
        editor = Editor(part)
        for number, node in enumerate(part.nodes):
            if node.op_type != "ScatterND" or node.domain not in STANDARD or reduction_of(node) == "none":
                continue
            rank, indices = _rank(part, node), part.shape(node.input[1])
            if rank is None or indices is None or indices[-1] != 1:
                found = "of unknown rank" if rank is None or indices is None else f"of shape {list(indices)}"
                why = f"has indices {found}; only rows of the first axis ([..., 1]) have a form that is right everywhere"
                refusals.append(Refusal("by_elements", _RULE, label(node), why, "Export with scatter_add over flattened rows."))
                continue
            _write(editor, number, node, rank, len(indices))
            what = f"ScatterND({reduction_of(node)}) is a ScatterElements({reduction_of(node)}) on axis 0 now"
            why = f"the same rows; {request.target.name} computes ScatterND with a reduction wrongly or not at all"
            changes.append(Change("by_elements", _RULE, place(node), what, why))
        editor.done()
    return Outcome(graph.model, tuple(changes), tuple(refusals))


def _rank(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return the rank of the data, from its shape or from those of indices and updates."""
    data, indices, updates = (graph.shape(name) for name in node.input[:3])
    if data is not None:
        return len(data)
    return len(updates) - len(indices) + 2 if updates is not None and indices is not None else None


def _write(editor: Editor, number: int, node: onnx.NodeProto, rank: int, index_rank: int) -> None:
    data, indices, updates = node.input[:3]
    stem = node.output[0]
    if index_rank > 2:  # many axes of indices: one row after the other
        tail = editor.before(number, "Shape", [data], f"{stem}_row_shape", {"start": 1})
        first = editor.constant(np.array([-1]), f"{stem}_rows")
        flat = editor.before(number, "Concat", [first, tail], f"{stem}_flat_shape", {"axis": 0})
        updates = editor.before(number, "Reshape", [updates, flat], f"{stem}_flat_updates")
    column = editor.constant(np.array([-1] + [1] * (rank - 1)), f"{stem}_column")
    rows = editor.before(number, "Reshape", [indices, column], f"{stem}_rows_of")
    shape = editor.before(number, "Shape", [updates], f"{stem}_update_shape")
    index = editor.before(number, "Expand", [rows, shape], f"{stem}_index")
    editor.after(number, "ScatterElements", [data, index, updates], stem, {"axis": 0, "reduction": reduction_of(node)})
    editor.drop(number)
