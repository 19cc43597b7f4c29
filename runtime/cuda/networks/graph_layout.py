"""Edges as networks want them on a device: by target, with the lists by which a hit finds the edges that end or start at it."""

from __future__ import annotations

from typing import NamedTuple

import torch

from trkx.errors import InputError
from trkx.runtime.cuda.networks.sums import PIECE, Segments, counted, segments_from_counts

WHO = "networks"
MOST = 2**31 - 1


class DeviceLayout(NamedTuple):
    """The edges of one event, by (target, source); equal ones in the order in which they came.

    order: int64 [E], where each stood before; None if they came like this. source, target: int32 [E].
    incoming, outgoing: the edges that end and that start at each hit.
    """

    order: torch.Tensor | None
    source: torch.Tensor
    target: torch.Tensor
    incoming: Segments
    outgoing: Segments

    def sorted(self, values: torch.Tensor) -> torch.Tensor:
        """Return rows of edges, [E, …], given in the order in which the edges came, in the order of the layout."""
        return values if self.order is None else values[self.order]

    def unsorted(self, values: torch.Tensor) -> torch.Tensor:
        """Return rows of edges in the order in which the edges came."""
        if self.order is None:
            return values
        out = torch.empty_like(values)
        out[self.order] = values
        return out


def device_layout(edge_index: torch.Tensor, hits: int, cut: bool | None = None) -> DeviceLayout:
    """Return the layout of edges, int64 [2, E], E at least 1, among `hits` hits. Waits for the device once.

    cut: whether to lay out pieces of hits with many edges (see `trkx.runtime.cuda.networks.sums`); None: if there are such hits.

    Raises:
        InputError: edges that are not whole numbers [2, E], or that name a hit that does not exist.
    """
    require_edges(edge_index)
    edges = edge_index.shape[1]
    if max(hits, edges) > MOST:
        raise InputError(f"at most 2^31 - 1 hits and edges in one event, found {hits} and {edges}.")
    source, target = (end.contiguous() for end in edge_index.to(torch.int64))
    inside = [end.clamp(0, max(hits - 1, 0)) for end in (source, target)]  # what is outside is an error further down
    outgoing, incoming = (counted(end, max(hits, 1)) for end in inside)
    falls = (target[1:] < target[:-1]) | ((target[1:] == target[:-1]) & (source[1:] < source[:-1]))
    known = [*torch.aminmax(edge_index), falls.any(), incoming.amax(), outgoing.amax()]
    lowest, highest, falling, most_in, most_out = torch.stack([value.to(torch.int64) for value in known]).tolist()
    _check_inside(lowest, highest, hits)
    order = None
    if falling:
        order = torch.sort(target * hits + source, stable=True).indices
        source, target = source[order], target[order]
    by_source = torch.sort(source, stable=True).indices.to(torch.int32)
    return DeviceLayout(
        order,
        source.to(torch.int32),
        target.to(torch.int32),
        segments_from_counts(incoming, None, edges, most_in > PIECE if cut is None else cut),
        segments_from_counts(outgoing, by_source, edges, most_out > PIECE if cut is None else cut),
    )


def require_edges(edge_index: torch.Tensor) -> None:
    """Raise InputError unless edges are whole numbers [2, E]."""
    kind = edge_index.dtype
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or kind.is_floating_point or kind.is_complex or kind == torch.bool:
        raise InputError(
            f"{WHO}: edges must be int64 [2, E], found {list(edge_index.shape)} of {kind}; give sources and targets as two rows."
        )


def require_inside(edge_index: torch.Tensor, hits: int) -> None:
    """Raise InputError unless all edges [2, E], E at least 1, join hits that exist. Waits for the device."""
    lowest, highest = (int(value) for value in torch.stack(torch.aminmax(edge_index)).tolist())
    _check_inside(lowest, highest, hits)


def _check_inside(lowest: int, highest: int, hits: int) -> None:
    if lowest < 0 or highest >= hits:
        raise InputError(
            f"{WHO}: edges name hits {lowest} to {highest}, but there are {hits} hits, counted from 0; use indices into "
            "the event's hits, not hit ids."
        )
