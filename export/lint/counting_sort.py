"""Recognises the places of our counting sort, which are different numbers: the sort is written once more, and compared.

`trkx.export.lowerings.counting` gives each row a place of its own, whatever the nodes of the edges are: a row has one digit, and
its place is the number of rows with a smaller digit or the same one before it. Node by node, attribute by attribute and constant
by constant the graph must be what is written there; anything else is not this sort, and not recognised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from trkx.export.lint.walking import STANDARD, constant
from trkx.export.lowerings.builder import Builder
from trkx.export.lowerings.counting import passes
from trkx.export.onnx_graph import Graph

_NODE = "node"
"""The one value that the sort reads: the node of each edge."""


@dataclass(frozen=True)
class Written:
    """The sort as it is written. made: who makes a value. constants: values of the others. places: of each pass."""

    made: Mapping[str, onnx.NodeProto]
    constants: Mapping[str, NDArray[Any]]
    places: tuple[str, ...]


def places_of_sort(graph: Graph, name: str) -> bool:
    """Return whether a value [blocks, 32] holds the places of a pass: different numbers from 0 on."""
    return pass_of_sort(graph, name) > 0


def pass_of_sort(graph: Graph, name: str) -> int:
    """Return the number of the pass, from 1 to `PASSES`, whose places a value [blocks, 32] holds; 0 if it holds none."""
    written = _written()
    return next((number for number, place in enumerate(written.places, 1) if _alike(written, place, graph, name)), 0)


@cache
def _written() -> Written:
    b = Builder("sort")
    places = tuple(place for _, place in passes(b, _NODE))
    made = {name: node for node in b.nodes for name in node.output}
    return Written(made, {item.name: numpy_helper.to_array(item) for item in b.initializers}, places)


def _alike(written: Written, place: str, graph: Graph, name: str) -> bool:
    """Return whether a value of a graph is computed as a place is, from any one value in the place of _NODE."""
    found: dict[str, str] = {}
    waiting = [(place, name)]
    while waiting:
        ours, theirs = waiting.pop()
        if ours in written.constants:
            value, wanted = constant(graph, theirs), written.constants[ours]
            if value is None or value.dtype != wanted.dtype or not np.array_equal(value, wanted):
                return False
        elif ours in found:
            if found[ours] != theirs:
                return False
        else:
            found[ours] = theirs
            one, other = written.made.get(ours), graph.producer(theirs)
            if one is not None:  # else it is _NODE, which may be anything
                if other is None or not _same(one, other):
                    return False
                waiting += zip(one.input, other.input, strict=True)
    return True


def _same(one: onnx.NodeProto, other: onnx.NodeProto) -> bool:
    if one.op_type != other.op_type or other.domain not in STANDARD or len(one.input) != len(other.input):
        return False
    attributes = [{item.name: (item.type, item.i) for item in node.attribute} for node in (one, other)]
    return attributes[0] == attributes[1] and len(other.output) == 1
