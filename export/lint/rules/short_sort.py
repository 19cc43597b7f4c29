"""TRKX034: a counting sort that is used before its last pass."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.counting_sort import pass_of_sort
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD, label, place
from trkx.export.lowerings.counting import BITS, PASSES
from trkx.export.onnx_graph import Graph


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None:
        return
    for graph in subject.graph.all():
        moves = {node.output[0]: number for node in graph.nodes if (number := _pass(graph, node))}
        results = {output.name for output in graph.graph.output}
        for order, number in moves.items():
            if number == PASSES:
                continue
            strangers = [node for node in graph.consumers(order) if not _goes_on(graph, node, order, moves, number)]
            if strangers or order in results:
                node = graph.producer(order)
                by = label(strangers[0]) if strangers else "who runs the file"
                told = f"which is in order below {2 ** (BITS * number)} hits only"
                message = f"{by} reads the order after pass {number} of {PASSES}, {told}"
                yield Remark(message, place(node) if node is not None else order)


def _pass(graph: Graph, node: onnx.NodeProto) -> int:
    """Return the number of the pass that a ScatterElements is the end of, 0 if it is another one."""
    if node.op_type != "ScatterElements" or node.domain not in STANDARD or len(node.input) < 3:
        return 0
    flat = graph.producer(node.input[1])
    return 0 if flat is None or flat.op_type != "Reshape" else pass_of_sort(graph, flat.input[0])


def _goes_on(graph: Graph, node: onnx.NodeProto, order: str, moves: dict[str, int], number: int) -> bool:
    """Return whether a reader of an order belongs to the next pass, which takes its digits in that order, and moves it."""
    if node.op_type == "ScatterElements":
        return moves.get(node.output[0]) == number + 1
    digits = graph.producer(node.input[0]) if node.op_type == "Gather" and node.input[1] == order else None
    return digits is not None and digits.op_type == "ReduceSum" and graph.dtype(node.input[0]) == onnx.TensorProto.INT32


RULE = Rule(
    id="TRKX034",
    name="short-sort",
    title="a counting sort that is used before its last pass",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Each pass of the sort looks at three bits of a hit's number. Without the last ones edges of hits far apart stand among "
        "each other, and sums over edges are wrong: in large events only, so that no small graph shows it."
    ),
    affected="files of the lowering `segments` that were changed after export",
    fix="Export the bundle again.",
    link="https://github.com/onnx/onnx/blob/main/docs/Operators.md#ScatterElements",
    check=_check,
)
