"""Edits one ONNX graph: new names, nodes before and after others, constants, dead nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from trkx.export.lint.walking import bodies_of, reads
from trkx.export.onnx_graph import Graph


class Editor:
    """Collects changes to one graph and writes them with `done`. Names are new in the whole model."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._taken = names_of(graph.model)
        self._before: dict[int, list[onnx.NodeProto]] = {}
        self._after: dict[int, list[onnx.NodeProto]] = {}
        self._dropped: set[int] = set()

    def name(self, stem: str) -> str:
        """Return a name that nothing in the model has."""
        return new_name(self._taken, stem)

    def constant(self, value: NDArray[Any], stem: str) -> str:
        """Add an initialiser; return its name."""
        name = self.name(stem)
        self.graph.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def before(self, place: int, op: str, inputs: Sequence[str], stem: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a node with one output before the node at `place`; return the output's name."""
        output = self.name(stem)
        self._before.setdefault(place, []).append(_node(op, inputs, output, output, attributes))
        return output

    def after(self, place: int, op: str, inputs: Sequence[str], output: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Add a node with the given output after the node at `place`."""
        self._after.setdefault(place, []).append(_node(op, inputs, output, self.name(f"{output}_{op}"), attributes))

    def drop(self, place: int) -> None:
        """Take the node at `place` out."""
        self._dropped.add(place)

    def done(self) -> None:
        """Write the changes."""
        nodes: list[onnx.NodeProto] = []
        for place, node in enumerate(self.graph.nodes):
            nodes += self._before.get(place, [])
            nodes += [] if place in self._dropped else [node]
            nodes += self._after.get(place, [])
        replace_nodes(self.graph.graph, nodes)


def _node(op: str, inputs: Sequence[str], output: str, name: str, attributes: Mapping[str, Any] | None) -> onnx.NodeProto:
    node = helper.make_node(op, list(inputs), [output], name=name)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in (attributes or {}).items())
    return node


def replace_nodes(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> None:
    """Give a graph these nodes, which may be its own."""
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def new_name(taken: set[str], stem: str) -> str:
    """Return `stem`, or with a number behind it, so that it is none of `taken`; it is one of them from now on."""
    name, count = stem, 0
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    taken.add(name)
    return name


def names_of(model: onnx.ModelProto) -> set[str]:
    """Return every name of a value or node in a model, bodies included."""
    names: set[str] = set()
    for part in Graph(model, infer=False).all():
        graph = part.graph
        names |= {item.name for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info, *graph.node)}
        names |= {item.values.name for item in graph.sparse_initializer}
        names |= {name for node in graph.node for name in (*node.input, *node.output)}
    return names


def rename(graph: onnx.GraphProto, new: Mapping[str, str]) -> None:
    """Rename values of a graph everywhere, also where bodies read them."""
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = new.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = new.get(name, name)
        for body in bodies_of(node):
            rename(body, new)
    for item in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        item.name = new.get(item.name, item.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = new.get(sparse.values.name, sparse.values.name)


def prune(graph: onnx.GraphProto) -> int:
    """Take out nodes and initialisers that no output needs, in the main graph; return how many nodes."""
    needed, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):  # in topological order, so that one pass is enough
        if needed & set(node.output):
            needed |= reads(node)
            kept.append(node)
    gone = len(graph.node) - len(kept)
    replace_nodes(graph, kept[::-1])
    weights = [item for item in graph.initializer if item.name in needed]
    if len(weights) < len(graph.initializer):
        copies = []
        for item in weights:
            copy = onnx.TensorProto()
            copy.CopyFrom(item)
            copies.append(copy)
        del graph.initializer[:]
        graph.initializer.extend(copies)
    return gone
