"""Proofs about constants in a graph: all zeros, the same in every element."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from trkx.export.lint.walking import MOVING, STANDARD, bodies_of, constant, sources
from trkx.export.onnx_graph import Graph, attribute

_THROUGH = frozenset((*MOVING, "Cast", "CastLike"))


def all_zeros(graph: Graph, name: str) -> bool:
    """Return whether every element of a value is provably 0, whatever the inputs are."""
    return all(_zero(graph, source, node) for source, node in sources(graph, name, _THROUGH))


def _zero(graph: Graph, name: str, node: onnx.NodeProto | None) -> bool:
    value = constant(graph, name)
    if value is not None:
        return _no_text(value) and not np.any(value.astype(np.float64))
    if node is None or node.domain not in STANDARD:
        return False
    if node.op_type == "ConstantOfShape":
        return not _filling(node).astype(np.float64).any()
    if node.op_type == "If":
        which = list(node.output).index(name)
        bodies = [Graph(graph.model, body, graph) for body in bodies_of(node)]
        return bool(bodies) and all(all_zeros(body, body.graph.output[which].name) for body in bodies)
    return False


def _no_text(value: NDArray[Any]) -> bool:
    return value.dtype.kind not in "USO"


def equal_numbers(graph: Graph, name: str) -> NDArray[Any] | None:
    """Return the number, shape [1], of a constant or ConstantOfShape whose elements are all equal; None for anything else."""
    value, node = constant(graph, name), graph.producer(name)
    if value is not None:
        same = value.size > 0 and _no_text(value) and bool((value == value.reshape(-1)[0]).all())
        return value.reshape(-1)[:1] if same else None
    return _filling(node) if node is not None and node.op_type == "ConstantOfShape" and node.domain in STANDARD else None


def _filling(node: onnx.NodeProto) -> NDArray[Any]:
    """Return the number with which a ConstantOfShape fills, shape [1]; NaN if it is damaged."""
    value = attribute(node, "value")
    if value is None:
        return np.zeros(1, np.float32)
    try:
        return np.asarray(numpy_helper.to_array(value)).reshape(-1)[:1]
    except (AttributeError, TypeError, ValueError):  # no tensor, or one that does not hold what it declares
        return np.full(1, np.nan, np.float32)
