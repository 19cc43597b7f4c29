"""Loops of an ONNX file that would not end: seen before anything runs it, and stopped where the number of rounds is computed."""

from __future__ import annotations

from typing import Any

import onnx
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_loop import Loop as ReferenceLoop

from trkx.errors import ExportError
from trkx.export.lint.walking import bodies_of, label, scalar
from trkx.export.onnx_graph import Graph

MOST_ROUNDS = 1_000_000
"""Rounds of all loops together on one graph. A loop over the edges of the largest graph that is tried here takes 200 000."""


def endless_loop(graph: Graph) -> str:
    """Return which Loop certainly runs more than MOST_ROUNDS rounds, by its constants; "" if there is none."""
    for part in graph.all():
        for node in part.nodes:
            if node.op_type != "Loop" or node.domain not in ("", "ai.onnx"):
                continue
            count, go_on = (node.input[place] if len(node.input) > place else "" for place in (0, 1))
            rounds = scalar(part, count) if count else None
            if rounds is not None and rounds <= MOST_ROUNDS:
                continue
            if (count and rounds is None) or (go_on and not scalar(part, go_on)) or not _goes_on(part, node):
                continue
            return f"{label(node)} runs {f'{rounds:.3g} rounds' if rounds is not None else 'for ever'}"
    return ""


def _goes_on(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether the body of a loop always says that it goes on."""
    for body in bodies_of(node):
        inner, name = Graph(graph.model, body, graph), body.output[0].name if body.output else ""
        for _ in range(len(body.node) + 1):
            maker = inner.producer(name)
            if maker is None or maker.op_type != "Identity" or not maker.input:
                break
            name = maker.input[0]
        handed_on = len(body.input) > 1 and name == body.input[1].name
        if not handed_on and not scalar(inner, name):
            return False
    return True


def refuse_endless(model: onnx.ModelProto, where: str) -> None:
    """Raise ExportError if a model holds a loop that would not end in bounded time."""
    found = endless_loop(Graph(model, infer=False))
    if found:
        raise ExportError(f"{where}: {found}, expected at most {MOST_ROUNDS}; it was not run.")


class Rounds:
    """Counts the rounds of loops while a graph is evaluated; `start` begins a new graph."""

    def __init__(self) -> None:
        self._done = 0

    def start(self) -> None:
        """Forget the rounds so far."""
        self._done = 0

    def count(self) -> None:
        """Count a round; ExportError beyond MOST_ROUNDS."""
        self._done += 1
        if self._done > MOST_ROUNDS:
            raise ExportError(f"its loops take more than {MOST_ROUNDS} rounds")


def counting_loop(rounds: Rounds) -> type[OpRun]:
    """Return Loop for onnx's reference evaluator, with every round counted."""

    def started(self: Any, node: Any, parameters: Any) -> None:
        begin: Any = ReferenceLoop.__init__
        begin(self, node, parameters)
        one_round = self._run_body  # which onnx sets on the instance, too

        def counted(*inputs: Any, **context: Any) -> Any:
            rounds.count()
            return one_round(*inputs, **context)

        self._run_body = counted

    return type("Loop", (ReferenceLoop,), {"op_domain": "", "__init__": started})
