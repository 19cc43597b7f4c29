"""What hits gather from their edges: sums, means, maxima and spreads over rows of edge values, without atomics.

A program has a few hits and walks over their edges side by side. A sum goes through the hit's edges in their order, by pieces of
PIECE: each piece from its first edge on, then the pieces from the first on. So how the work is launched has no say in the
result, and a hit with very many edges keeps nobody waiting: its pieces are summed as if they were hits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from trkx.runtime.cuda.launch import kernel
from trkx.spec import Aggregation

PIECE = 128
ELEMENTS = 512  # numbers that a program sums side by side, 16 bytes a thread; has no say in the result
WARPS = 4
SMALLEST_VARIANCE = 1e-5  # as in trkx.models.gathering
SUM, SQUARES, MAX = 0, 1, 2


class Pieces(NamedTuple):
    """Pieces of the hits that have more than PIECE edges; there is room for as many as there can be, the last ones are empty.

    starts: int32 [N + 1], where the pieces of each hit begin. begin, end: int32 [P], the edges of each piece.
    owner: int32 [P], its hit.
    """

    starts: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    owner: torch.Tensor


class Segments(NamedTuple):
    """The edges of each hit.

    starts: int32 [N + 1], where the edges of each hit begin. listed: int32 [E], the edges by hit; None if they stand so.
    pieces: None if no hit has more than PIECE edges.
    """

    starts: torch.Tensor
    listed: torch.Tensor | None
    pieces: Pieces | None

    @property
    def counts(self) -> torch.Tensor:
        """Edges of each hit, int32 [N]."""
        return self.starts.diff()


def segments_from_counts(counts: torch.Tensor, listed: torch.Tensor | None, edges: int, cut: bool) -> Segments:
    """Return the segments of hits with so many edges, int64 [N], `edges` in all; does not wait for the device.

    cut: whether a hit may have more than PIECE edges.
    """
    starts = _starts(counts)
    return Segments(starts, listed, _pieces(counts, starts, edges) if cut and edges > PIECE else None)


def segments_from_index(index: torch.Tensor, size: int) -> Segments:
    """Return the segments of rows with these indices, int64 [E], in [0, size) in any order; does not wait for the device."""
    listed = torch.sort(index, stable=True).indices.to(torch.int32)
    return segments_from_counts(counted(index, size), listed, len(index), True)


def counted(index: torch.Tensor, size: int) -> torch.Tensor:
    """Return how often each number below `size` is in `index`, int64 [size]; unlike torch.bincount it does not wait."""
    return torch.zeros(size, dtype=torch.int64, device=index.device).scatter_add_(0, index, torch.ones_like(index))


def _starts(counts: torch.Tensor) -> torch.Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)


def _pieces(counts: torch.Tensor, starts: torch.Tensor, edges: int) -> Pieces:
    most = 2 * (edges // PIECE)  # a hit of more than PIECE edges has at most two pieces for each PIECE of them
    number = torch.where(counts > PIECE, -(-counts // PIECE), 0)
    first = torch.cat([number.new_zeros(1), number.cumsum(0)])
    piece = torch.arange(most, device=counts.device)
    owner = torch.searchsorted(first[1:], piece, right=True)
    there = owner < len(counts)
    owner = torch.where(there, owner, 0)
    begin = starts[owner] + (piece - first[owner]) * PIECE
    end = torch.minimum(begin + PIECE, starts[owner + 1])
    begin, end = (torch.where(there, place, 0).to(torch.int32) for place in (begin, end))
    return Pieces(first.to(torch.int32), begin, end, owner.to(torch.int32))


def gathered(kind: Aggregation, values: torch.Tensor, segments: Segments) -> torch.Tensor:
    """Return one aggregation of edge values, float32 [E, W], at hits, float32 [N, W], as `trkx.models.gathering.gathered`.

    A hit without edges gets 0. NaN stays NaN. std: 0 where the variance is at most 1e-5.
    """
    if kind == "max":
        return finite_maximum(reduced(MAX, values, segments))
    if kind == "sum":
        return reduced(SUM, values, segments)
    counts = segments.counts.clamp(min=1).unsqueeze(1)
    mean = reduced(SUM, values, segments) / counts
    return mean if kind == "mean" else spread(reduced(SQUARES, values, segments, mean) / counts)


def finite_maximum(most: torch.Tensor) -> torch.Tensor:
    """Return maxima with 0 for those over no edges, -infinity."""
    return torch.where(most == -torch.inf, 0.0, most)


def spread(variance: torch.Tensor) -> torch.Tensor:
    """Return the square root, or 0 where the variance is at most 1e-5."""
    return torch.where(variance <= SMALLEST_VARIANCE, 0.0, torch.sqrt(variance.clamp(min=SMALLEST_VARIANCE)))


def reduced(mode: int, values: torch.Tensor, segments: Segments, centre: torch.Tensor | None = None) -> torch.Tensor:
    """Return sums, maxima, or sums of squared distances to `centre`, float32 [N, W], of float32 [E, W]: float32 [N, W]."""
    values = values.contiguous()
    starts, listed, pieces = segments
    out = values.new_empty((len(starts) - 1, values.shape[1]))
    _launch(mode, values, listed, starts[:-1], starts[1:], None, centre, out, PIECE if pieces is not None else None)
    if pieces is not None:
        part = values.new_empty((len(pieces.begin), values.shape[1]))
        _launch(mode, values, listed, pieces.begin, pieces.end, pieces.owner, centre, part)
        whole = SUM if mode == SQUARES else mode
        _launch(whole, part, None, pieces.starts[:-1], pieces.starts[1:], None, None, out, leave_empty=True)
    return out


def _launch(
    mode: int, values: torch.Tensor, listed: torch.Tensor | None, begin: torch.Tensor, end: torch.Tensor,
    owner: torch.Tensor | None, centre: torch.Tensor | None, out: torch.Tensor, limit: int | None = None,
    leave_empty: bool = False,
) -> None:  # fmt: skip
    """Write the rows of `out` over the values from `begin` to `end` of each, but those over more than `limit` of them."""
    rows, width = out.shape
    if not rows or not width:
        return
    columns = triton.next_power_of_2(width)
    side = max(1, ELEMENTS // columns)
    segment_kernel[(triton.cdiv(rows, side),)](
        values, listed, begin, end, owner, centre, out, rows,
        MODE=mode, LISTED=listed is not None, OWNED=owner is not None, LIMIT=limit or 0, LEAVE_EMPTY=leave_empty,
        WIDTH=width, COLUMNS=columns, ROWS=side, num_warps=WARPS, enable_fp_fusion=False,
    )  # fmt: skip


@kernel()
def row_values(
    values: tl.tensor, listed: tl.tensor, begin: tl.tensor, number: tl.tensor, count: tl.tensor,
    column: tl.tensor, LISTED: tl.constexpr, WIDTH: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return value `number` of each row, float32 [ROWS, COLUMNS]; 0 for rows of fewer."""
    there = number < count
    place = begin + number
    if LISTED:
        place = tl.load(listed + place, mask=there, other=0)
    place = place.to(tl.int64)[:, None] * WIDTH + column[None, :]
    return tl.load(values + place, mask=there[:, None] & (column[None, :] < WIDTH), other=0.0)


@kernel()
def joined(total: tl.tensor, value: tl.tensor, there: tl.tensor, middle: tl.tensor, MODE: tl.constexpr) -> tl.tensor:
    """Return what a row has gathered with one more value, where it is there: [ROWS]; others [ROWS, COLUMNS]."""
    here = there[:, None]
    if MODE == 2:
        return tl.where(here & ((value > total) | (value != value)), value, total)  # NaN once there is never below anything
    if MODE == 1:
        value = value - middle
        value = value * value
    return tl.where(here, total + value, total)


@kernel("rows")
def segment_kernel(
    values: tl.tensor, listed: tl.tensor, begins: tl.tensor, ends: tl.tensor, owners: tl.tensor, centre: tl.tensor,
    out: tl.tensor, rows: tl.tensor, MODE: tl.constexpr, LISTED: tl.constexpr, OWNED: tl.constexpr,
    LIMIT: tl.constexpr, LEAVE_EMPTY: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: rows [n * ROWS, (n + 1) * ROWS) of out, float32 [rows, WIDTH].

    values: float32 [:, WIDTH]. begins, ends: int32 [rows], of each row's values, through `listed`, int32, if LISTED.
    MODE: SUM, SQUARES (of distances to centre, float32 [N, WIDTH], at row `owners`, int32 [rows], if OWNED), MAX.
    LIMIT: rows over more values are not written, if it is not 0. LEAVE_EMPTY: nor are rows over none.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    written = row < rows
    begin = tl.load(begins + row, mask=written, other=0)
    count = tl.load(ends + row, mask=written, other=0) - begin
    if LIMIT:
        written = written & (count <= LIMIT)
    if LEAVE_EMPTY:
        written = written & (count > 0)
    count = tl.where(written, count, 0)
    block = written[:, None] & (column[None, :] < WIDTH)
    total = tl.full([ROWS, COLUMNS], float("-inf") if MODE == 2 else 0.0, tl.float32)
    middle = total
    if MODE == 1:
        owner = row
        if OWNED:
            owner = tl.load(owners + row, mask=written, other=0).to(tl.int64)
        middle = tl.load(centre + owner[:, None] * WIDTH + column[None, :], mask=block, other=0.0)
    for start in range(0, tl.max(count, 0), 4):  # four loads are on their way at once; they are added one after the other
        one = row_values(values, listed, begin, start, count, column, LISTED, WIDTH)
        two = row_values(values, listed, begin, start + 1, count, column, LISTED, WIDTH)
        three = row_values(values, listed, begin, start + 2, count, column, LISTED, WIDTH)
        four = row_values(values, listed, begin, start + 3, count, column, LISTED, WIDTH)
        total = joined(total, one, start < count, middle, MODE)
        total = joined(total, two, start + 1 < count, middle, MODE)
        total = joined(total, three, start + 2 < count, middle, MODE)
        total = joined(total, four, start + 3 < count, middle, MODE)
    tl.store(out + row[:, None] * WIDTH + column[None, :], total, mask=block)
