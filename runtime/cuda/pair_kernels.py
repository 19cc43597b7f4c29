"""Pairs of points within a radius, block by block: the kernel that counts and writes them, and those that sort what was written.

A block's points are the rows, the points of each block near it the columns. So every row has one owner: places are sums of
counts, without atomics, and the result is the same in every run.
"""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel


@kernel()
def squared_tile(coordinates: tl.tensor, block: tl.tensor, other: tl.tensor, DIM: tl.constexpr, LANES: tl.constexpr) -> tl.tensor:
    """Return squared distances of the points of two blocks, float32 [LANES, LANES]. coordinates: float32 [blocks, DIM, LANES]."""
    lane = tl.arange(0, LANES)
    squared = tl.zeros([LANES, LANES], tl.float32)
    for d in range(DIM):
        here = tl.load(coordinates + (block * DIM + d) * LANES + lane)
        there = tl.load(coordinates + (other * DIM + d) * LANES + lane)
        delta = here[:, None] - there[None, :]
        squared = tl.fma(delta, delta, squared)
    return squared


@kernel()
def wide_tile(coordinates: tl.tensor, block: tl.tensor, other: tl.tensor, DIM: tl.constexpr, LANES: tl.constexpr) -> tl.tensor:
    """Return the same in float64, as `squared_distances` of the CPU sums it: without fused products, equal to the last bit."""
    lane = tl.arange(0, LANES)
    squared = tl.zeros([LANES, LANES], tl.float64)
    for d in range(DIM):
        here = tl.load(coordinates + (block * DIM + d) * LANES + lane).to(tl.float64)
        there = tl.load(coordinates + (other * DIM + d) * LANES + lane).to(tl.float64)
        delta = here[:, None] - there[None, :]
        squared += delta * delta
    return squared


@kernel()
def pair_kernel(
    coordinates: tl.tensor, ids: tl.tensor, first: tl.tensor, near: tl.tensor,
    limit: tl.tensor, below: tl.tensor, above: tl.tensor, wanted: tl.tensor, reach: tl.tensor, last: tl.tensor,
    counts: tl.tensor, starts: tl.tensor, found_ids: tl.tensor, found_squares: tl.tensor,
    DIM: tl.constexpr, LANES: tl.constexpr, BOTH: tl.constexpr, NEAREST: tl.constexpr, FILL: tl.constexpr,
) -> None:  # fmt: skip
    """Program b: the pairs of the points of block b with those of near[first[b]:first[b + 1]].

    coordinates, ids: see `Blocks`. limit: float64 [1], the squared radius. below, above: see `screen`.
    BOTH: rows have all neighbours, and only those of wanted points, uint8 [N], count; else a pair is in its lower point's row.
    NEAREST: a pair stays if for one of its points p its (squared distance, other point) is at most (reach, last)[p]: float64 and
    int32 [N]. FILL: write from found_ids[starts[p]:] on, and with BOTH also found_squares, float64; else write counts[p], int64.
    """
    block = tl.program_id(0)
    lane = tl.arange(0, LANES)
    row = tl.load(ids + block * LANES + lane)
    there = row >= 0
    live = there & (tl.load(wanted + row, mask=there, other=0) != 0) if BOTH else there
    if NEAREST:
        row_reach = tl.load(reach + row, mask=there, other=0.0)
        row_last = tl.load(last + row, mask=there, other=0)
    place = tl.load(starts + row, mask=there, other=0) if FILL else tl.zeros([LANES], tl.int64)
    exact = tl.load(limit)
    for n in range(tl.load(first + block), tl.load(first + block + 1)):
        other = tl.load(near + n)
        column = tl.load(ids + other * LANES + lane)
        if BOTH:
            asked = live[:, None] & (column >= 0)[None, :] & (column[None, :] != row[:, None])
        else:
            asked = live[:, None] & (column[None, :] > row[:, None])
        squared = squared_tile(coordinates, block, other, DIM, LANES)
        found = asked & (squared <= above)
        doubtful = found & (squared > below)
        if tl.max(tl.max(doubtful.to(tl.int32), 1), 0) > 0:
            found = asked & (wide_tile(coordinates, block, other, DIM, LANES) <= exact)
        if tl.max(tl.max(found.to(tl.int32), 1), 0) > 0:
            if NEAREST:
                wide = wide_tile(coordinates, block, other, DIM, LANES)
                column_reach = tl.load(reach + column, mask=column >= 0, other=0.0)[None, :]
                column_last = tl.load(last + column, mask=column >= 0, other=0)[None, :]
                nearer = (wide < row_reach[:, None]) | ((wide == row_reach[:, None]) & (column[None, :] <= row_last[:, None]))
                nearer |= (wide < column_reach) | ((wide == column_reach) & (row[:, None] <= column_last))
                found = found & nearer
            one = found.to(tl.int32)
            if FILL:
                at = place[:, None] + tl.cumsum(one, 1) - one
                tl.store(found_ids + at, tl.broadcast_to(column[None, :], [LANES, LANES]), mask=found)
                if BOTH:
                    tl.store(found_squares + at, wide_tile(coordinates, block, other, DIM, LANES), mask=found)
            place += tl.sum(one, 1)
    if not FILL:
        tl.store(counts + row, place, mask=live)


@kernel()
def sort_kernel(starts: tl.tensor, unsorted: tl.tensor, lower: tl.tensor, higher: tl.tensor, TILE: tl.constexpr) -> None:
    """Program p: unsorted[starts[p]:starts[p + 1]], int32, all different, to higher, int64, in order; p to lower."""
    row = tl.program_id(0)
    begin, end = tl.load(starts + row), tl.load(starts + row + 1)
    lane = tl.arange(0, TILE)
    for start in range(begin, end, TILE):
        here = start + lane < end
        value = tl.load(unsorted + start + lane, mask=here, other=0)
        rank = tl.zeros([TILE], tl.int32)
        for start_other in range(begin, end, TILE):
            there = start_other + lane < end
            other = tl.load(unsorted + start_other + lane, mask=there, other=0)
            rank += tl.sum((there[None, :] & (other[None, :] < value[:, None])).to(tl.int32), 1)
        tl.store(higher + begin + rank, value.to(tl.int64), mask=here)
        tl.store(lower + begin + rank, tl.zeros([TILE], tl.int64) + row, mask=here)


@kernel("k_max")
def reach_kernel(
    rows: tl.tensor, starts: tl.tensor, counts: tl.tensor, ids: tl.tensor, squares: tl.tensor, k_max: tl.tensor,
    reach: tl.tensor, last: tl.tensor, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: of point p = rows[n], the k_max-th of its counts[p] neighbours by (square, id) to reach[p] and last[p].

    ids, squares: neighbours, from starts[p] on. counts[p] is at least k_max.
    """
    row = tl.load(rows + tl.program_id(0))
    begin = tl.load(starts + row)
    end = begin + tl.load(counts + row)
    lane = tl.arange(0, TILE)
    for start in range(begin, end, TILE):
        here = start + lane < end
        square = tl.load(squares + start + lane, mask=here, other=0.0)
        point = tl.load(ids + start + lane, mask=here, other=0)
        rank = tl.zeros([TILE], tl.int32)
        for start_other in range(begin, end, TILE):
            there = start_other + lane < end
            other = tl.load(squares + start_other + lane, mask=there, other=0.0)[None, :]
            name = tl.load(ids + start_other + lane, mask=there, other=0)[None, :]
            before = (other < square[:, None]) | ((other == square[:, None]) & (name < point[:, None]))
            rank += tl.sum((there[None, :] & before).to(tl.int32), 1)
        chosen = here & (rank == k_max - 1)
        tl.store(reach + row + tl.zeros([TILE], tl.int32), square, mask=chosen)
        tl.store(last + row + tl.zeros([TILE], tl.int32), point, mask=chosen)
