"""Connected components on a GPU: edges hook the higher root under the lower one, all at once, until none is left to join.

A hook is one atomic minimum. Where it meets a link that another edge has made, it takes that link over if it is the lower one,
and goes on with what the link had joined: so no join is lost, the higher of two ends falls with each step, and the root of a
component is its lowest hit whatever the order. The result is the same in every run.

Source: Jaiganesh and Burtscher, "A high-performance connected components implementation for GPUs", HPDC 2018.
"""

from __future__ import annotations

import torch
import triton.language as tl

from trkx.errors import InputError
from trkx.runtime.cuda.launch import kernel, require_device
from trkx.runtime.cuda.rows import aligned

WHO = "labelling"
BLOCK = 128
WARPS = 4


def components_cuda(edge_index: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return the component of each hit, int64 [num_hits], numbered 0, 1, 2 … by the lowest hit index in the component.

    Args:
        edge_index: edges, int64 [2, E] on a CUDA device; direction, order and repetition do not matter.
        num_hits: number of hits, below 2^31; a hit without an edge is its own component.

    Raises:
        InputError: edges on no CUDA device, not int64 [2, E], or that name a hit that does not exist.
    """
    checked_edges(edge_index, num_hits)
    source, target = edge_index
    return numbered(roots(source, target, num_hits))


def roots(source: torch.Tensor, target: torch.Tensor, num_hits: int, units: torch.Tensor | None = None) -> torch.Tensor:
    """Return the lowest hit of each hit's component, int32 [num_hits]; two launches, and no wait for the device.

    source, target: edges between hits that exist, int64 [E] on a CUDA device. units: weights, int64 [E]; edges not above 0 join
    nothing. None: all do.
    """
    edges = len(source)
    parent = torch.arange(num_hits, dtype=torch.int32, device=source.device)
    if not edges:
        return parent
    settings = {"BLOCK": BLOCK, "num_warps": WARPS, "enable_fp_fusion": False}
    join_kernel[(-(-edges // BLOCK),)](aligned(source), aligned(target), units, parent, edges, **settings)
    root = torch.empty_like(parent)
    root_kernel[(-(-num_hits // BLOCK),)](parent, root, num_hits, **settings)
    return root


def checked_edges(edge_index: torch.Tensor, num_hits: int) -> None:
    """Raise InputError, as `components_cuda`, for edges that make no sense; waits for the device."""
    require_edges(edge_index)
    if edge_index.shape[1]:
        lowest, highest = torch.stack(torch.aminmax(edge_index)).tolist()
        require_hits(lowest, highest, num_hits)


def require_edges(edge_index: torch.Tensor) -> None:
    """Raise InputError unless edges are int64 [2, E] where kernels can run."""
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.int64:
        raise InputError(
            f"{WHO}: edges must be int64 [2, E], found {list(edge_index.shape)} of {edge_index.dtype}; "
            "give sources and targets as two rows."
        )
    require_device(edge_index, WHO)


def require_hits(lowest: int, highest: int, num_hits: int) -> None:
    """Raise InputError unless the lowest and the highest end of all edges are hits."""
    if lowest < 0 or highest >= num_hits:
        raise InputError(
            f"{WHO}: edges name hits {lowest} to {highest}, but there are {num_hits} hits, counted from 0; use indices into "
            "the event's hits, not hit ids."
        )


def numbered(root: torch.Tensor) -> torch.Tensor:
    """Return labels 0, 1, 2 …, int64 [N], of the lowest hit of each hit's component, [N]."""
    first = root == torch.arange(len(root), dtype=root.dtype, device=root.device)
    return (first.cumsum(0) - 1)[root.to(torch.int64)]


@kernel()
def climb(parent: tl.tensor, hit: tl.tensor, live: tl.tensor) -> tl.tensor:
    """Return the roots of hits, int32 [BLOCK], as far as they are known, and halve the paths to them.

    Whoever writes a link last: all that a hit was ever linked to is joined by links, or by hooks to come, among lower hits.
    """
    above = tl.load(parent + hit, mask=live, other=0)
    above = tl.where(live, above, hit)
    moving = above != hit
    while tl.max(moving.to(tl.int32), 0) > 0:
        higher = tl.load(parent + above, mask=moving, other=0)
        higher = tl.where(moving, higher, above)
        tl.store(parent + hit, higher, mask=moving & (higher != above))
        hit = above
        above = higher
        moving = above != hit
    return hit


@kernel("edges")
def join_kernel(
    source: tl.tensor, target: tl.tensor, units: tl.tensor, parent: tl.tensor, edges: tl.tensor, BLOCK: tl.constexpr
) -> None:
    """Program n: join the ends of edges [n * BLOCK, (n + 1) * BLOCK) in parent, int32 [N]; no parent is above its child.

    units: of each edge, which joins if they are above 0; None: all do.
    """
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = edge < edges
    if units is not None:
        live = live & (tl.load(units + edge, mask=live, other=0) > 0)
    one = climb(parent, tl.load(source + edge, mask=live, other=0).to(tl.int32), live)
    two = climb(parent, tl.load(target + edge, mask=live, other=0).to(tl.int32), live)
    live = live & (one != two)
    while tl.max(live.to(tl.int32), 0) > 0:
        higher, lower = tl.maximum(one, two), tl.minimum(one, two)
        found = tl.atomic_min(parent + higher, lower, mask=live, sem="relaxed")
        live = live & (found != higher) & (found != lower)  # it was a root and is no more, or its link was this one
        one, two = tl.where(live, found, 0), tl.where(live, lower, 0)


@kernel("count")
def root_kernel(parent: tl.tensor, root: tl.tensor, count: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Program n: the root of each of the hits [n * BLOCK, (n + 1) * BLOCK) to root, int32 [count].

    Not to parent: another program that halves a path could write over a root with what was the grandparent a moment ago.
    """
    hit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = hit < count
    tl.store(root + hit, climb(parent, hit, live), mask=live)
