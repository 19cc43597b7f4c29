"""What the kernels compute, in a few lines of plain torch that run anywhere: the reference of their tests."""

from __future__ import annotations

import torch

from trkx.runtime.cuda.components import numbered
from trkx.runtime.cuda.order import Blocks


def squared_distances(points: torch.Tensor) -> torch.Tensor:
    """Return all squared distances, float64 [N, N], of points [N, D]: summed over axes 0, 1, 2 … in turn, as on the CPU."""
    wide = points.to(torch.float64)
    out = wide.new_zeros((len(points), len(points)))
    for axis in wide.unbind(1):
        delta = axis[:, None] - axis[None, :]
        out += delta * delta
    return out


def radius_graph(points: torch.Tensor, radius: float, k_max: int | None = None) -> tuple[torch.Tensor, int]:
    """Return the pairs of points within the radius, int64 [2, E], sorted, and how many hits were truncated; in N * N memory."""
    squared = squared_distances(points)
    near = (squared <= radius * radius).fill_diagonal_(False)
    truncated = 0
    if k_max is not None:
        degree = near.sum(1)
        truncated = int((degree > k_max).sum())
        rank = torch.where(near, squared, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
        chosen = near & (rank < k_max)
        near = chosen | chosen.t()
    return near.triu(1).nonzero().t().contiguous(), truncated


def near_blocks(blocks: Blocks, above: float) -> torch.Tensor:
    """Return which boxes are at a squared distance of at most `above`, bool [blocks, blocks]."""
    low, high = blocks.low, blocks.high
    gap = torch.maximum(low[:, None, :] - high[:, :, None], low[:, :, None] - high[:, None, :]).clamp_(min=0.0)
    return gap.square().sum(0) <= above


def connected_components(edge_index: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return labels, int64 [num_hits], numbered by lowest hit: the lowest label spreads along edges until nothing changes."""
    root = torch.arange(num_hits, device=edge_index.device)
    both = torch.cat([edge_index, edge_index.flip(0)], 1)
    while True:
        lower = root.scatter_reduce(0, both[1], root[both[0]], "amin")
        lower = lower[lower]
        if torch.equal(lower, root):
            return numbered(root)
        root = lower
