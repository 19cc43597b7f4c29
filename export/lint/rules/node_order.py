"""TRKX019: nodes that read a value before it is made, cycles, and names made twice or never."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import bodies_of, label, listed, place, reads


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None:
        return
    waiting: list[tuple[onnx.GraphProto, frozenset[str]]] = [(subject.model.graph, frozenset())]
    while waiting:
        graph, outside = waiting.pop()
        given = {value.name for value in graph.input} | {item.name for item in graph.initializer}
        given |= outside | {item.values.name for item in graph.sparse_initializer}
        yield from _graph(graph, given)
        known = frozenset(given.union(*(node.output for node in graph.node)))
        waiting += [(body, known) for node in graph.node for body in bodies_of(node)]


def _graph(graph: onnx.GraphProto, given: set[str]) -> Iterator[Remark]:
    makers: dict[str, int] = {}
    needs = [reads(node) for node in graph.node]
    twice: set[str] = set()
    for number, node in enumerate(graph.node):
        twice |= {name for name in node.output if name and (name in makers or name in given)}
        makers.update({name: number for name in node.output if name and name not in makers})
    if twice:
        yield Remark(f"{listed(map(repr, sorted(twice)))} made more than once", min(twice))
    lost = [(node, need - given - makers.keys()) for node, need in zip(graph.node, needs, strict=True)]
    lost = [(node, names) for node, names in lost if names]
    if lost:
        reader, name = lost[0][0], min(lost[0][1])
        more = f" ({len(lost)} node(s) read such values)" if len(lost) > 1 else ""
        yield Remark(f"{label(reader)} reads '{name}', which nothing makes{more}", place(reader))
    for value in graph.output:
        if value.name not in makers and value.name not in given:
            yield Remark(f"output '{value.name}' is made by no node", value.name)
    early = [node for number, (node, need) in enumerate(zip(graph.node, needs, strict=True))
             if any(makers.get(name, -1) >= number for name in need - given)]
    if early:
        circle = _circle(graph.node, needs, makers, given)
        what = "read each other's results in a circle" if circle else "come before a node whose result they read"
        nodes = circle or early
        yield Remark(f"{len(nodes)} node(s) {what}: {listed(label(node) for node in nodes)}", place(nodes[0]))


def _circle(
    nodes: Sequence[onnx.NodeProto], needs: Sequence[set[str]], makers: dict[str, int], given: set[str]
) -> list[onnx.NodeProto]:
    """Return the nodes that can never run because they wait for each other; those that wait for these are left out."""
    before = [{makers[name] for name in need - given if name in makers} for need in needs]
    for forwards in (True, False):  # first what nothing in a circle precedes is taken away, then what nothing in one follows
        after: list[set[int]] = [set() for _ in nodes]
        for number, earlier in enumerate(before):
            for item in earlier:
                after[item].add(number)
        inwards, outwards = (before, after) if forwards else (after, before)
        open_ends = [len(item) for item in inwards]
        ready = [number for number, count in enumerate(open_ends) if count == 0]
        gone = set()
        while ready:
            number = ready.pop()
            gone.add(number)
            for item in outwards[number]:
                open_ends[item] -= 1
                if open_ends[item] == 0:
                    ready.append(item)
        before = [earlier - gone if number not in gone else set() for number, earlier in enumerate(before)]
    return [nodes[number] for number, earlier in enumerate(before) if earlier]


RULE = Rule(
    id="TRKX019",
    name="node-order",
    title="nodes are not in an order in which they can run",
    severity="error",
    kinds=("onnx",),
    reason=(
        "ONNX requires that a value is made once, and before it is read. ONNX Runtime sorts some such files by itself, other "
        "engines refuse them or read what is not there yet. A circle has no result at all."
    ),
    affected="onnxruntime.transformers.float16 1.32 with keep_io_types; graphs edited by hand",
    fix="Sort the nodes (`trkx repair` does, where there is no circle), or export again.",
    link="https://github.com/onnx/onnx/blob/main/docs/IR.md#graphs",
    check=_check,
)
