"""Which blocks of points can hold neighbours: a test of boxes, counted, then written in order."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton.language as tl

from trkx.runtime.cuda.launch import kernel
from trkx.runtime.cuda.order import LANES, Blocks, blocks_from_points

TILE = 128
WARPS = 4
ROUND = 2.0**-24  # half a unit in the last place of float32
TINY = 1e-36  # squares below the normal numbers of float32 lose their digits: D of them at most 32 * 2^-126


class Near(NamedTuple):
    """Points in blocks, and for each block those that may hold points within the radius of its own, itself included.

    blocks: the points. first: int64 [blocks + 1], where the list of each block begins in near: int32, ascending in each list.
    radius: of the search. A kernel that visits candidates without writing them walks over these lists.
    """

    blocks: Blocks
    first: torch.Tensor
    near: torch.Tensor
    radius: float


def near_blocks(points: torch.Tensor, radius: float, lanes: int = LANES) -> Near:
    """Return the near blocks of points, float32 [N, D], N at least 1, D from 1 to 32, finite, at most 1e15 as is the radius.

    No pair of points within the radius is outside near blocks. lanes: points to a block, a power of 2. Waits for the device once.
    """
    blocks = blocks_from_points(points.contiguous(), lanes)
    dim, count = blocks.low.shape
    first = torch.zeros(count + 1, dtype=torch.int64, device=points.device)
    _, above = screen(radius, dim)
    settings: dict[str, Any] = {"DIM": dim, "TILE": TILE, "num_warps": WARPS, "enable_fp_fusion": False}
    near_kernel[(count,)](blocks.low, blocks.high, first, first, count, above, FILL=False, **settings)
    torch.cumsum(first, 0, out=first)
    near = torch.empty(int(first[-1]), dtype=torch.int32, device=points.device)
    near_kernel[(count,)](blocks.low, blocks.high, first, near, count, above, FILL=True, **settings)
    return Near(blocks, first, near, radius)


def pair_blocks(near: Near) -> torch.Tensor:
    """Return each pair of near blocks once, int32 [2, P], row 0 at most row 1, sorted."""
    count = len(near.first) - 1
    rows = torch.arange(count, dtype=torch.int32, device=near.near.device)
    both = torch.stack([rows.repeat_interleave(near.first.diff(), output_size=len(near.near)), near.near])
    return both[:, both[0] <= both[1]]


def screen(radius: float, dim: int) -> tuple[float, float]:
    """Return the squared distances, summed in float32 over `dim` axes, below which a pair is inside and above which outside.

    Between them a sum in float64 decides. A sum of squares of differences is off by at most dim + 2 roundings.
    """
    squared, slack = radius * radius, (dim + 8) * ROUND  # a few more for the two limits themselves
    return squared * (1.0 - slack) - TINY, squared * (1.0 + slack) + TINY


@kernel("count")
def near_kernel(
    low: tl.tensor, high: tl.tensor, first: tl.tensor, near: tl.tensor, count: tl.tensor, above: tl.tensor,
    DIM: tl.constexpr, TILE: tl.constexpr, FILL: tl.constexpr,
) -> None:  # fmt: skip
    """Program b: compare the box of block b with all, TILE at a time. low, high: float32 [DIM, count]. above: squared distance.

    FILL: write the near blocks to near[first[b]:]; else write their number to first[b + 1].
    """
    block = tl.program_id(0)
    place = tl.load(first + block) if FILL else tl.full([], 0, tl.int64)
    for start in range(0, count, TILE):
        other = start + tl.arange(0, TILE)
        inside = other < count
        squared = tl.zeros([TILE], tl.float32)
        for d in range(DIM):
            low_here, high_here = tl.load(low + d * count + block), tl.load(high + d * count + block)
            low_there = tl.load(low + d * count + other, mask=inside, other=0.0)
            high_there = tl.load(high + d * count + other, mask=inside, other=0.0)
            gap = tl.maximum(tl.maximum(low_there - high_here, low_here - high_there), 0.0)
            squared += gap * gap
        found = (inside & (squared <= above)).to(tl.int32)
        if FILL:
            tl.store(near + place + tl.cumsum(found, 0) - found, other, mask=found != 0)
        place += tl.sum(found)
    if not FILL:
        tl.store(first + block + 1, place)

