"""Proves that no two updates of a scatter meet in one element of its data; what is not proven may meet."""

from __future__ import annotations

import numpy as np
import onnx

from trkx.export.lint.distinct import Proof, differ, rows_differ
from trkx.export.lint.extents import rank_of
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import Graph, whole


def indices_unique(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether the updates of a Scatter, ScatterElements or ScatterND provably go to different elements of its data.

    Negative indices count from the end, so that indices of both signs may meet too.
    """
    if len(node.input) < 3:
        return False
    data, index = node.input[:2]
    rank = rank_of(graph, index)
    if not rank:
        return False
    proof = Proof(graph)
    if node.op_type == "ScatterND":
        leading = proof.moving(index, range(rank - 1))
        return not leading or (proof.rows(index, rank - 1, leading) and _one_sign(graph, index, data, None))
    axis = whole(node, "axis")
    if not -rank <= axis < rank:
        return False
    along = proof.moving(index, (axis % rank,))
    return not along or (proof.distinct(index, along) and _one_sign(graph, index, data, axis % rank))


def _one_sign(graph: Graph, index: str, data: str, axis: int | None) -> bool:
    """Return whether no negative index means the same element as one that is not negative. axis: None for ScatterND."""
    value, shape = constant(graph, index), graph.shape(data)
    if value is not None and shape is not None and value.size:
        width = 1 if axis is not None else value.shape[-1]
        sizes = shape[axis : axis + 1] if axis is not None else shape[:width]
        if len(sizes) == width and all(isinstance(size, int) for size in sizes):
            wrapped = np.where(value < 0, value + np.asarray(sizes, np.int64), value)
            return rows_differ(wrapped) if axis is None else differ(wrapped, frozenset((axis,)))
    return Proof(graph).one_sign(index)
