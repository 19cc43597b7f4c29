"""Edge contraction of a component whose weights are too many for registers: they stay in memory, one row is changed at a time.

A join reads and writes two rows and columns, of which only the row that keeps is needed again, and looks anew only at rows whose
largest number was in them and fell. So its time grows with the hits, not with their square.
"""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel

TILE = 8  # rows that are read at once in the beginning


@kernel()
def contract_rows_kernel(matrix: tl.tensor, hit: tl.tensor, root: tl.tensor, SIZE: tl.constexpr, TILE: tl.constexpr) -> None:
    """Program n: as `contract_kernel`, with the same matrix [components, SIZE, SIZE], which it changes.

    What a thread writes others read: barriers stand before and after what is written, so that all have read before, and none
    reads what is not there yet.
    """
    RANKS: tl.constexpr = SIZE * SIZE
    place = tl.arange(0, SIZE)
    begin = tl.program_id(0).to(tl.int64) * SIZE
    matrix += begin * SIZE
    mine = tl.load(hit + begin + place)
    hits = tl.sum((mine >= 0).to(tl.int32), 0)
    largest = tl.zeros([SIZE], tl.int64)
    start = 0
    while start < hits:
        row = start + tl.arange(0, TILE)
        largest = tl.maximum(largest, tl.max(tl.load(matrix + row[:, None] * SIZE + place[None, :]), 0))
        start += TILE
    cluster = place
    best = tl.max(largest, 0)
    while best >= RANKS:
        keep = tl.min(tl.where(largest == best, place, SIZE), 0)
        gone = tl.max(tl.where(largest == best, place, -1), 0)
        one, two = tl.load(matrix + keep * SIZE + place), tl.load(matrix + gone * SIZE + place)
        others = (place != keep) & (place != gone)
        joined = (one & -RANKS) + (two & -RANKS) + tl.maximum(one & (RANKS - 1), two & (RANKS - 1))
        joined = tl.where(others, joined, 0)
        tl.debug_barrier()
        tl.store(matrix + keep * SIZE + place, joined)
        tl.store(matrix + place * SIZE + keep, joined, mask=others)
        tl.store(matrix + place * SIZE + gone, tl.zeros([SIZE], tl.int64), mask=others)
        tl.debug_barrier()
        cluster = tl.where(cluster == gone, keep, cluster)
        fell = others & (largest >= RANKS) & ((largest == one) | (largest == two)) & (joined < largest)
        largest = tl.where(others, tl.maximum(largest, joined), tl.where(place == keep, tl.max(joined, 0), 0))
        while tl.max(fell.to(tl.int32), 0) > 0:
            row = tl.min(tl.where(fell, place, SIZE), 0)
            largest = tl.where(place == row, tl.max(tl.load(matrix + row * SIZE + place), 0), largest)
            fell = fell & (place != row)
        best = tl.max(largest, 0)
    tl.store(root + mine, tl.load(hit + begin + cluster), mask=mine >= 0)
