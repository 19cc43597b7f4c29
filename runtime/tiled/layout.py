"""Edges as tiles want them: by target, with the lists through which a hit finds the edges that end or start at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.edges import stable_order
from trkx.runtime.indices import require_edges, require_inside

Int = NDArray[np.int64]
Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Layout:
    """The edges of one event, by target; edges of one target in the order in which they came.

    order: int64 [E], where each stood before; None if they came like this. source, target: int32 [E]. in_ends, out_ends:
    int64 [N + 1], edges that end (by place) or start (by place in out_list) at each hit. out_list: int32 [E], edges by source.
    out_target: int32 [E], their targets.
    """

    order: Int | None
    source: Int32
    target: Int32
    in_ends: Int
    out_ends: Int
    out_list: Int32
    out_target: Int32

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that phases read, by name."""
        names = ("source", "target", "in_ends", "out_ends", "out_list", "out_target")
        return {name: getattr(self, name) for name in names}

    def edge_bounds(self, least: int) -> list[int]:
        """Return ends of pieces of about `least` edges; all edges of a target lie in one piece."""
        edges = len(self.source)
        wanted = np.arange(least, edges, least)
        ends = self.in_ends[np.searchsorted(self.in_ends, wanted)]
        return [0, *(int(end) for end in np.unique(ends) if 0 < end < edges), *([edges] if edges else [])]


def ends_of(edge_index: Int, hits: int) -> tuple[Int32, Int32]:
    """Return source and target of edges [2, E], int32 [E] each.

    Raises:
        InputError: edges that are not whole numbers [2, E], or that name a hit that does not exist: machine code would read
            beyond its arrays.
    """
    require_edges(edge_index, "networks")
    require_inside(edge_index, hits, "networks")
    if max(hits, edge_index.shape[1]) > np.iinfo(np.int32).max:
        raise InputError(f"at most 2^31 - 1 hits and edges in one event, found {hits} and {edge_index.shape[1]}.")
    return np.ascontiguousarray(edge_index[0], np.int32), np.ascontiguousarray(edge_index[1], np.int32)


def layout(edge_index: Int, hits: int) -> Layout:
    """Return the layout of edges, int64 [2, E], among `hits` hits; errors as in `ends_of`."""
    source, target = ends_of(edge_index, hits)
    order = None
    if np.any(target[1:] < target[:-1]):
        order, _ = stable_order(target, hits)
        source, target = source[order], target[order]
    in_ends = np.zeros(hits + 1, np.int64)
    np.cumsum(np.bincount(target, minlength=hits), out=in_ends[1:])
    listed, out_ends = stable_order(source, hits)
    out_list = listed.astype(np.int32)
    return Layout(order, source, target, in_ends, out_ends, out_list, target[out_list])
