"""Edge contraction on a GPU: a program for each component, which joins one pair of clusters after the other.

The weights of a component of up to P hits are a symmetric matrix [P, P]. The largest number of it is the pair to join; the rows
of both clusters are summed, and take the place of the lower one's row and column. Up to `IN_REGISTERS` places the matrix stays in
registers: nothing leaves the program before it is done. Larger ones stay in memory, with the largest number of each row at hand
(`contraction_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import torch
import triton.language as tl

from trkx.runtime.cuda.contraction_places import BLOCK, SETTINGS, SIZES, Mixed, first_of, placed
from trkx.runtime.cuda.contraction_rows import TILE, contract_rows_kernel
from trkx.runtime.cuda.launch import kernel

CELLS = 1 << 25
"""Numbers of matrices that are held at once: 256 MiB."""
IN_REGISTERS = 64
"""The largest matrix that is held in registers. One of 128 fits as well, without a spill, but every step looks at all of it."""
REGISTER_WARPS = {16: 1, 32: 2, 64: 4, 128: 16}
ROW_WARPS = {16: 1, 32: 1, 64: 1, 128: 4, 256: 4, 512: 8}


def most_units(size: int) -> int:
    """Return what the sum of the sizes of all weights must stay below, in units, for components of up to `size` hits.

    A number of a matrix [P, P] is units * P^2 + P^2 - 1 - rank, so that the largest is the pair to join, and 0 a pair without an
    edge. The rank of an edge between places a < b is a * P + b: in the order of (low, high), and never P^2 - 1. All that is left
    of 64 bits is for units. 128 hits have 8128 pairs, 2^46.3 units if all weigh the most; 2^49 are left.
    """
    return int((1 << 63) // size**2)


def contract_on_device(
    source: torch.Tensor, target: torch.Tensor, units: torch.Tensor, root: torch.Tensor, mixed: Mixed, counts: Sequence[int],
    in_registers: int = IN_REGISTERS,
) -> None:  # fmt: skip
    """Write the lowest hit of its cluster to root, int32 [N], of each hit of mixed components in the classes.

    source, target, units: edges and their weights, int64 [E], `aligned`. counts: of components in the first classes; those in
    other classes are left as they are. in_registers: the largest matrix that is not left in memory, up to 128. Does not wait for
    the device: three launches, and one for each class.
    """
    sizes = SIZES[: len(counts)]
    first = [0, *accumulate(n * size for n, size in zip(counts, sizes, strict=True))]
    cells = [0, *accumulate(n * size * size for n, size in zip(counts, sizes, strict=True))]
    where = placed(root, mixed, first[-1], sizes[-1])
    edges = (source, target, units, where.place, mixed.counts)
    for batch in batches(counts, CELLS):
        group, number, _ = batch[0]
        low = cells[group] + number * SIZES[group] ** 2
        held = torch.zeros(sum(n * SIZES[k] ** 2 for k, _, n in batch), dtype=torch.int64, device=root.device)
        fill_kernel[(-(-len(source) // BLOCK),)](*edges, held, len(source), low, low + len(held), **SETTINGS)
        for group, number, count in reversed(batch):  # those that take longest first
            size = SIZES[group]
            matrix = held[cells[group] + number * size * size - low :]
            hit = where.hit[first[group] + number * size :]
            _launch(matrix, hit, root, size, count, in_registers)


def _launch(matrix: torch.Tensor, hit: torch.Tensor, root: torch.Tensor, size: int, count: int, in_registers: int) -> None:
    if size <= in_registers:
        settings = {"num_warps": REGISTER_WARPS[size], "enable_fp_fusion": False}
        contract_kernel[(count,)](matrix, hit, root, SIZE=size, **settings)
    else:
        settings = {"num_warps": ROW_WARPS[size], "enable_fp_fusion": False}
        contract_rows_kernel[(count,)](matrix, hit, root, SIZE=size, TILE=TILE, **settings)


def warm_up(device: torch.device) -> None:
    """Contract a component without hits of every class, so that no kernel is compiled when one is first needed."""
    for size in SIZES:
        matrix = torch.zeros(size * size, dtype=torch.int64, device=device)
        hit = torch.full((size,), -1, dtype=torch.int32, device=device)
        _launch(matrix, hit, torch.zeros(4, dtype=torch.int32, device=device), size, 1, IN_REGISTERS)


def batches(counts: Sequence[int], cells: int) -> Iterator[list[tuple[int, int, int]]]:
    """Yield components whose matrices have at most so many cells together: (class, number of the first, how many)."""
    batch: list[tuple[int, int, int]] = []
    free = cells
    for group, count in enumerate(counts):
        done = 0
        while done < count:
            some = min(count - done, free // SIZES[group] ** 2)
            if some:
                batch.append((group, done, some))
            done, free = done + some, free - some * SIZES[group] ** 2
            if done < count:
                yield batch
                batch, free = [], cells
    if batch:
        yield batch


@kernel("edges", "low", "high")
def fill_kernel(
    source: tl.tensor, target: tl.tensor, units: tl.tensor, place: tl.tensor, counts: tl.tensor, cells: tl.tensor,
    edges: tl.tensor, low: tl.tensor, high: tl.tensor, BLOCK: tl.constexpr, SMALLEST: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: add edges [n * BLOCK, (n + 1) * BLOCK) inside components to cells low to high of the matrices, on both sides.

    Sum and rank come by atomic operations on bits of their own, of whole numbers: their order has no say.
    """
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = edge < edges
    one = tl.load(place + tl.load(source + edge, mask=live, other=0), mask=live, other=-1)
    two = tl.load(place + tl.load(target + edge, mask=live, other=0), mask=live, other=-1)
    lower, higher = tl.minimum(one, two), tl.maximum(one, two)
    live = live & (lower >= 0) & (lower < higher)
    group = lower * 0
    first = tl.load(counts) * SMALLEST
    matrix = group.to(tl.int64)
    before = tl.load(counts).to(tl.int64) * (SMALLEST * SMALLEST)
    for number in tl.static_range(1, CLASSES):  # classes that begin at or before the lower place
        group += (lower >= first).to(tl.int32)
        matrix = tl.where(lower >= first, before, matrix)
        count = tl.load(counts + number)
        first += count * (SMALLEST << number)
        before += count.to(tl.int64) * ((SMALLEST << number) * (SMALLEST << number))
    size = SMALLEST << group
    begin = first_of(counts, group, SMALLEST, CLASSES)
    component = (lower - begin) // size
    live = live & ((higher - begin) // size == component)
    a, b = lower - begin - component * size, higher - begin - component * size
    matrix += component.to(tl.int64) * (size * size)
    live = live & (matrix >= low) & (matrix < high)
    weight = tl.load(units + edge, mask=live, other=0) * (size * size)
    rank = (size * size - 1 - a * size - b).to(tl.int64)
    upper, under = cells + (matrix - low + a * size + b), cells + (matrix - low + b * size + a)
    tl.atomic_add(upper, weight, mask=live, sem="relaxed")
    tl.atomic_or(upper, rank, mask=live, sem="relaxed")
    tl.atomic_add(under, weight, mask=live, sem="relaxed")
    tl.atomic_or(under, rank, mask=live, sem="relaxed")


@kernel()
def contract_kernel(matrix: tl.tensor, hit: tl.tensor, root: tl.tensor, SIZE: tl.constexpr) -> None:
    """Program n: contract component n, and write the lowest hit of its cluster to root of each of its hits.

    matrix: numbers as `most_units` says, int64 [components, SIZE, SIZE], symmetric. hit: at each place, int32 [components, SIZE],
    -1: none.
    """
    RANKS: tl.constexpr = SIZE * SIZE
    place = tl.arange(0, SIZE)
    row, column = place[:, None], place[None, :]
    begin = tl.program_id(0).to(tl.int64) * SIZE
    pairs = tl.load(matrix + (begin + row) * SIZE + column)
    cluster = place
    largest = tl.max(pairs, 0)  # of columns, which are as good as rows, and a thread has them alone
    best = tl.max(largest, 0)
    while best >= RANKS:  # a unit or more
        keep = tl.min(tl.where(largest == best, place, SIZE), 0)  # no other pair has its rank: these two, and no more
        gone = tl.max(tl.where(largest == best, place, -1), 0)
        both = (row == keep) | (row == gone)
        units = tl.sum(tl.where(both, pairs & -RANKS, 0), 0)
        ranks = tl.max(tl.where(both, pairs & (RANKS - 1), 0).to(tl.int32), 0)
        joined = tl.where((place == keep) | (place == gone), 0, units + ranks)
        pairs = tl.where(row == keep, joined[None, :], tl.where(column == keep, joined[:, None], pairs))
        pairs = tl.where((row == gone) | (column == gone), 0, pairs)
        cluster = tl.where(cluster == gone, keep, cluster)
        largest = tl.max(pairs, 0)
        best = tl.max(largest, 0)
    mine = tl.load(hit + begin + place)
    tl.store(root + mine, tl.load(hit + begin + cluster), mask=mine >= 0)
