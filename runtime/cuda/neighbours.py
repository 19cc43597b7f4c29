"""Exact fixed-radius neighbours on a GPU: the same pairs as on the CPU, each once, in the same order.

Distances are screened in float32; a tile with a pair too close to the radius to tell is summed again in float64, as the CPU sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from trkx.runtime.cuda.launch import require_device
from trkx.runtime.cuda.near import Near, near_blocks, screen
from trkx.runtime.cuda.order import LANES
from trkx.runtime.cuda.pair_kernels import pair_kernel, reach_kernel, sort_kernel
from trkx.runtime.cuda.rows import empty_pairs
from trkx.runtime.neighbours.exact import too_many_pairs
from trkx.runtime.neighbours.sense import not_finite, require_sense, require_size
from trkx.runtime.neighbours.table import MAX_PAIRS

WHO = "neighbour search"
ROW_TILE = 64  # neighbours of a hit that are ranked at once
HELD = 1 << 25  # neighbours of truncated hits that are held at once, 12 bytes each


@dataclass(frozen=True)
class DevicePairs:
    """Neighbours within a radius, on the device of the points.

    pairs: int64 [2, E], row 0 below row 1, each unordered pair once, sorted by (row 0, row 1); rows as in `empty_pairs`.
    truncated: number of hits that had more than k_max neighbours, 0 without k_max.
    """

    pairs: torch.Tensor
    truncated: int = 0


def radius_graph_cuda(
    points: torch.Tensor, radius: float, k_max: int | None = None, max_pairs: int = MAX_PAIRS, lanes: int = LANES
) -> DevicePairs:
    """Return all pairs of points at a distance of `radius` or less, equal to those of `trkx.runtime.neighbours.radius_graph`.

    Args:
        points: embedding, float32 [N, D] on a CUDA device, D from 1 to 32, finite, no coordinate beyond +-1e15.
        radius: in units of the embedding, at most 1e15; a pair at exactly this distance counts.
        k_max: a pair stays if at least one of its hits counts the other among its nearest k_max (ties by lower index);
            None keeps all.
        max_pairs: InputError beyond so many pairs (before k_max), rather than running out of memory.
        lanes: points to a block, a power of 2 from 16 to 64; has no say in the result.

    Raises:
        InputError: points on no CUDA device, not finite or not [N, 1..32], a coordinate or radius beyond 1e15, too many pairs.
        SpecError: a radius that is not above 0, a k_max below 1.
    """
    points = checked_points(points, radius, k_max)
    if len(points) < 2:
        return DevicePairs(torch.empty((2, 0), dtype=torch.int64, device=points.device))
    search = _Search(near_blocks(points, float(radius), lanes), len(points))
    truncated = 0
    if k_max is not None:
        degree = search.counts(torch.ones(len(points), dtype=torch.uint8, device=points.device), both=True)
        full = degree > k_max
        pairs, truncated = (int(value) for value in torch.stack([degree.sum() // 2, full.sum()]).tolist())
        if pairs > max_pairs:
            raise too_many_pairs(len(points), radius, max_pairs)
        if truncated:
            search.keep_nearest(degree, full, k_max)
    starts = _starts(search.counts())
    total = int(starts[-1])
    if total > max_pairs:
        raise too_many_pairs(len(points), radius, max_pairs)
    return DevicePairs(search.pairs(starts, total), truncated)


def checked_points(points: torch.Tensor, radius: float, k_max: int | None) -> torch.Tensor:
    """Return the points, float32; raises as `radius_graph_cuda` where they or the settings make no sense."""
    require_sense(points.shape, radius, k_max, WHO)
    require_device(points, WHO)
    points = points.detach().to(torch.float32)
    size = float(points.abs().amax()) if points.numel() else 0.0  # NaN if any is
    if not math.isfinite(size):
        bad = ~points.isfinite().all(1)
        raise not_finite(int(bad.sum()), len(points), int(bad.to(torch.uint8).argmax()), WHO)
    require_size(size, radius, WHO)
    return points


def _starts(counts: torch.Tensor) -> torch.Tensor:
    """Return where each row begins, int64 [N + 1], the last being the total."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


class _Search:
    """The near blocks of an event, and what limits its hits to their nearest; each method launches `pair_kernel`."""

    def __init__(self, near: Near, hits: int) -> None:
        self.near = near
        self.hits = hits
        self.device = near.near.device
        self.limit = torch.full((1,), near.radius * near.radius, dtype=torch.float64, device=self.device)
        self.reach: torch.Tensor | None = None
        self.last: torch.Tensor | None = None

    def counts(self, wanted: torch.Tensor | None = None, both: bool = False) -> torch.Tensor:
        """Return how many pairs the row of each hit has, int64 [N]; with `both`, how many neighbours, for hits in `wanted`."""
        counts = torch.zeros(self.hits, dtype=torch.int64, device=self.device)
        self._launch(both, False, wanted=wanted, counts=counts)
        return counts

    def pairs(self, starts: torch.Tensor, total: int) -> torch.Tensor:
        """Return the pairs, int64 [2, total], sorted; starts: int64 [N + 1]."""
        unsorted = torch.empty(total, dtype=torch.int32, device=self.device)
        self._launch(False, True, starts=starts, found_ids=unsorted)
        pairs = empty_pairs(total, self.device)
        sort_kernel[(self.hits,)](starts, unsorted, pairs[0], pairs[1], TILE=ROW_TILE, num_warps=1, enable_fp_fusion=False)
        return pairs

    def keep_nearest(self, degree: torch.Tensor, full: torch.Tensor, k_max: int) -> None:
        """Limit the hits that are `full`, bool [N], to their nearest `k_max`. degree: neighbours of each, int64 [N]."""
        reach = torch.full((self.hits,), torch.inf, dtype=torch.float64, device=self.device)
        last = torch.zeros(self.hits, dtype=torch.int32, device=self.device)
        begin = (degree * full).cumsum(0) - degree * full
        for part in range(int(begin[-1] + degree[-1]) // HELD + 1):
            wanted = full & (begin // HELD == part)
            rows = wanted.nonzero().squeeze(1)
            if not len(rows):
                continue
            starts = begin - begin[rows[0]]
            size = int(starts[rows[-1]] + degree[rows[-1]])
            ids = torch.empty(size, dtype=torch.int32, device=self.device)
            squares = torch.empty(size, dtype=torch.float64, device=self.device)
            self._launch(True, True, wanted=wanted.to(torch.uint8), starts=starts, found_ids=ids, found_squares=squares)
            reach_kernel[(len(rows),)](
                rows, starts, degree, ids, squares, k_max, reach, last, TILE=ROW_TILE, num_warps=2, enable_fp_fusion=False
            )
        self.reach, self.last = reach, last

    def _launch(
        self,
        both: bool,
        fill: bool,
        wanted: torch.Tensor | None = None,
        counts: torch.Tensor | None = None,
        starts: torch.Tensor | None = None,
        found_ids: torch.Tensor | None = None,
        found_squares: torch.Tensor | None = None,
    ) -> None:
        """Run the kernel over all blocks; what it does not read or write in this form is None."""
        blocks, first, near, radius = self.near
        count, dim, lanes = blocks.coordinates.shape
        nearest = self.reach is not None and not both
        settings: dict[str, Any] = {"num_warps": max(1, lanes * lanes // 1024), "enable_fp_fusion": False}
        pair_kernel[(count,)](
            blocks.coordinates, blocks.ids, first, near, self.limit, *screen(radius, dim), wanted,
            self.reach if nearest else None, self.last if nearest else None, counts, starts, found_ids, found_squares,
            DIM=dim, LANES=lanes, BOTH=both, NEAREST=nearest, FILL=fill, **settings,
        )
