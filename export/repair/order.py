"""Rewrite: nodes in an order in which they can run."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

import onnx

from trkx.export.lint.walking import bodies_of, label, reads
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.editing import replace_nodes


def ordered(model: onnx.ModelProto, request: Request) -> Outcome:
    """Sort the nodes of the main graph and of every body; nodes that are in order keep their places."""
    changes, refusals = [], []
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        nodes = list(graph.node)
        numbers = _sorted(nodes)
        name = f"graph '{graph.name}'"
        if numbers is None:
            why = "nodes read each other's results in a circle, so that there is no order"
            refusals.append(Refusal("ordered", "TRKX019", name, why, "Export the network again."))
        elif numbers != sorted(numbers):
            late = next(node for number, node in enumerate(nodes) if numbers[number] != number)
            replace_nodes(graph, [nodes[number] for number in numbers])
            why = "each value is made before it is read; what is computed is the same"
            changes.append(Change("ordered", "TRKX019", label(late), f"{len(nodes)} nodes of {name} sorted", why))
        graphs += [body for node in graph.node for body in bodies_of(node)]
    return Outcome(model, tuple(changes), tuple(refusals))


def _sorted(nodes: Sequence[onnx.NodeProto]) -> list[int] | None:
    """Return node numbers in a topological order, the nearest to the given one; None if there is a circle."""
    maker = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    waits = [{maker[name] for name in reads(node) if name in maker} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for number, needs in enumerate(waits):
        for need in needs:
            readers[need].append(number)
    ready = [number for number, needs in enumerate(waits) if not needs]
    heapify(ready)
    result: list[int] = []
    while ready:
        number = heappop(ready)
        result.append(number)
        for reader in readers[number]:
            waits[reader].discard(number)
            if not waits[reader]:
                heappush(ready, reader)
    return result if len(result) == len(nodes) else None
