"""Rewrite: a scatter that adds in half precision adds in float32, with a cast before and one after."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from trkx.export.lint.walking import STANDARD, dtype_name, label, place
from trkx.export.onnx_graph import HALF, SCATTERS, Graph, reduction_of
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.editing import Editor

_RULE = "TRKX005"


def in_float32(model: onnx.ModelProto, request: Request) -> Outcome:
    """Put casts around every scatter with a reduction whose data are float16 or bfloat16; sums are rounded once, at the end.

    A target that accumulates half scatters in float32 by itself needs none.
    """
    if request.target.half_scatter:
        return Outcome(model)
    graph = Graph(model)
    mixed = any(item.data_type in HALF for part in graph.all() for item in part.graph.initializer)
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for part in graph.all():
        editor = Editor(part)
        for number, node in enumerate(part.nodes):
            if node.op_type not in SCATTERS or node.domain not in STANDARD or reduction_of(node) == "none":
                continue
            dtype = part.dtype(node.input[0]) or part.dtype(node.input[2])
            if dtype is None and mixed:
                why = "adds values whose type can't be inferred, in a file with half-precision weights"
                refusals.append(Refusal("in_float32", _RULE, label(node), why, "Export again with a float32 scatter."))
            if dtype not in HALF:
                continue
            stem = node.output[0]
            for which in (0, 2):
                node.input[which] = editor.before(number, "Cast", [node.input[which]], f"{stem}_in32", {"to": TensorProto.FLOAT})
            wide = editor.name(f"{stem}_32")
            node.output[0] = wide
            editor.after(number, "Cast", [wide], stem, {"to": dtype})
            what = f"adds in float32 now, {dtype_name(dtype)} before"
            why = "wider sums, rounded once; counts no longer stop at 2048"
            changes.append(Change("in_float32", _RULE, place(node), what, why))
        editor.done()
    return Outcome(graph.model, tuple(changes), tuple(refusals))
