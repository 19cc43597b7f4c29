"""TRKX024: an input that no output depends on, or an output that depends on none."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import reads
from trkx.export.onnx_graph import Graph

_LENGTHS_ONLY = ("Shape", "Size")
MOST_OUTPUTS = 64
"""Outputs that are looked at one by one; TRKX017 wants a single one."""


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    inputs = {value.name for value in doors.inputs}
    for value in doors.outputs[:MOST_OUTPUTS]:
        if value.name in inputs:
            yield Remark(f"output '{value.name}' is an input, handed on as it is: consumers write into outputs", value.name)
        elif not inputs & _needed(subject.graph, [value.name]):
            yield Remark(f"output '{value.name}' depends on the values of no input: it is the same for every event", value.name)
    needed = _needed(subject.graph, [value.name for value in doors.outputs])
    for role, value in doors.roles():
        if value.name in needed or not doors.outputs:
            continue
        if role == "edge_attr" and subject.target.needs_edge_attr:
            continue  # has to be there, used or not
        message = f"no output depends on the values of input '{value.name}'"
        yield Remark(message, value.name, "warning" if role == "edge_attr" else "error")


def _needed(graph: Graph, names: list[str]) -> set[str]:
    """Return the values that others are computed from; what is only asked for its shape does not count."""
    waiting, seen = list(names), set(names)
    while waiting:
        node = graph.producer(waiting.pop())
        if node is None or node.op_type in _LENGTHS_ONLY:
            continue
        for name in reads(node) - seen:
            seen.add(name)
            waiting.append(name)
    return seen


RULE = Rule(
    id="TRKX024",
    name="dead-doors",
    title="an input that no output depends on, or an output that depends on no input",
    severity="error",
    kinds=("onnx",),
    reason=(
        "A classifier whose scores do not depend on x or edge_index has lost a part: the branch was traced with constants, or "
        "an optimiser folded it. Engines drop such an input, and binding it by name fails."
    ),
    affected="traces in which an input was replaced by a constant; constant folding with fixed shapes",
    fix="Export again, and look at what the network does with this input in forward().",
    link="https://github.com/onnx/onnx/blob/main/docs/IR.md",
    check=_check,
)
