"""What makes the answers of other libraries ours, on the device: a radius that loses nothing, our exact test, the nearest K.

The twin of trkx.runtime.neighbours.exact and trkx.runtime.bench.adapters.exact in torch: the same sums in the same order.
"""

from __future__ import annotations

import math

import torch

from trkx.runtime.cuda.rows import empty_pairs
from trkx.runtime.neighbours.exact import too_many_pairs

CHUNK = 1 << 22
"""Pairs whose distances are summed at once, some 100 bytes each."""


def enlarged(points: torch.Tensor, radius: float) -> float:
    """Return a radius within which float32 arithmetic finds every pair of points, float32 [N, D], at `radius` or less.

    A squared distance that is summed in float32, fused or not, even as |a|^2 + |b|^2 - 2 a.b, is off by at most (D + 2) * eps / 2
    times |a|^2 + |b|^2 + 2 |a| |b|, to first order; twice as much is allowed for here. Waits for the device.
    """
    largest = float(points.to(torch.float64).square().sum(1).amax()) if len(points) else 0.0
    slack = 4.0 * (points.shape[1] + 2) * torch.finfo(torch.float32).eps * largest
    return math.sqrt(radius * radius + slack) * (1.0 + 1e-6)


def squared_distances(points: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return squared distances, float64 [E], of pairs, int64 [2, E], of points, float32 [N, D]: summed over the axes in turn.

    Product and sum are operations of their own, so that nothing is fused and the last bit is that of the CPU.
    """
    out = torch.zeros(pairs.shape[1], dtype=torch.float64, device=points.device)
    for start in range(0, len(out), CHUNK):
        part = slice(start, start + CHUNK)
        first, second = points[pairs[0, part]], points[pairs[1, part]]
        for axis in range(points.shape[1]):
            delta = first[:, axis].to(torch.float64) - second[:, axis].to(torch.float64)
            out[part] += delta.mul_(delta)
    return out


def decided(points: torch.Tensor, found: torch.Tensor, radius: float, max_pairs: int) -> torch.Tensor:
    """Return the pairs within the radius, int64 [2, E], row 0 below row 1, each once, sorted, as `radius_graph_cuda` does.

    found: pairs that a library found within an enlarged radius, int64 [2, M]: in both directions, or with the lower index first;
    a point may be its own neighbour, and a pair may be there more than once.

    Raises:
        InputError: more than `max_pairs` pairs.
    """
    pairs = found[:, found[0] < found[1]]
    pairs = pairs[:, squared_distances(points, pairs) <= radius * radius]
    count = max(len(points), 1)
    key = torch.unique_consecutive((pairs[0] * count + pairs[1]).sort().values)
    if len(key) > max_pairs:
        raise too_many_pairs(len(points), radius, max_pairs)
    out = empty_pairs(len(key), key.device)
    torch.div(key, count, rounding_mode="floor", out=out[0])
    torch.remainder(key, count, out=out[1])
    return out


def keep_nearest(points: torch.Tensor, pairs: torch.Tensor, k_max: int | None) -> tuple[torch.Tensor, int]:
    """Return the pairs that at least one of their hits counts among its nearest `k_max`, and how many hits were truncated.

    pairs: int64 [2, E], each unordered pair once; their order is kept. Ties go to the lower index. None keeps all.
    """
    if k_max is None:
        return pairs, 0
    count = len(points)
    degree = torch.bincount(pairs.flatten(), minlength=count)
    full = degree > k_max
    truncated = int(full.sum())
    if not truncated:
        return pairs, 0
    keep = ~(full[pairs[0]] & full[pairs[1]])  # an end that is not truncated keeps all of its pairs
    sides = [full[pairs[side]].nonzero().squeeze(1) for side in (0, 1)]
    edge = torch.cat(sides)
    hit = torch.cat([pairs[0, sides[0]], pairs[1, sides[1]]])
    other = torch.cat([pairs[1, sides[0]], pairs[0, sides[1]]])
    order = other.argsort(stable=True)  # the last key first: each sort keeps the order of the one before
    order = order[squared_distances(points, pairs[:, edge])[order].argsort(stable=True)]
    order = order[hit[order].argsort(stable=True)]
    sizes = degree[full]
    starts = sizes.cumsum(0) - sizes
    rank = torch.arange(len(order), device=points.device) - starts.repeat_interleave(sizes)
    keep[edge[order[rank < k_max]]] = True
    return pairs[:, keep], truncated
