"""What lint still has against a repaired model: a file that leaves must be clean."""

from __future__ import annotations

import onnx

from trkx.export.lint.apply import findings_of
from trkx.export.lint.finding import Subject
from trkx.export.lint.opening import MAX_EDGES
from trkx.export.onnx_graph import Graph
from trkx.export.repair.change import Refusal, Request


def left_by_lint(model: onnx.ModelProto, request: Request) -> list[Refusal]:
    """Return the errors that lint finds in a model for the request's target; warnings and notes are no reason to refuse."""
    subject = Subject(
        request.path, "onnx", request.target, MAX_EDGES, stage=request.stage, model=model, graph=Graph(model)
    )
    return [
        Refusal("lint", found.rule.id, found.where or "graph", found.message, found.fix)
        for found in findings_of(subject) if found.severity == "error"
    ]
