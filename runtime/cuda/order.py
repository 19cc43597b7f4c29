"""Points in blocks of up to 32 that are near one another, the leaves of a k-d tree, and the boxes around them. Torch only.

All leaves hold the same number of points, so a level of the tree is one sort of [nodes, points]: a few kernels, and no wait for
the device. The order has no say in which pairs are found, only in how many candidates are looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

LANES = 32  # what one warp compares with 32 others without shared memory
SMALL = 4096  # up to here torch sorts rows in one kernel; longer rows one after the other


class Blocks(NamedTuple):
    """Points in the order of a k-d tree, `lanes` to a block.

    ids: int32 [blocks, lanes], the index of each point, -1 where there is none. coordinates: float32 [blocks, D, lanes], 0 where
    there is no point. low, high: float32 [D, blocks], the box of each block; of one without points, infinity and -infinity.
    """

    ids: torch.Tensor
    coordinates: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor


def blocks_from_points(points: torch.Tensor, lanes: int = LANES) -> Blocks:
    """Return points, float32 [N, D], finite, N at least 1, in blocks of at most `lanes`, a power of 2."""
    count, dim = points.shape
    ways = splits(count, lanes)
    blocks = 1
    for way in ways:
        blocks *= way
    size = -(-count // blocks)
    padded = torch.cat([points, points.new_full((1, dim), torch.inf)])
    order = torch.arange(blocks * size, device=points.device).clamp_(max=count).view(1, -1)
    for way in ways:
        rows = padded[order]
        axis = _widest(rows)
        values = rows.gather(2, axis.view(-1, 1, 1).expand(-1, rows.shape[1], 1)).squeeze(2)
        order = order.gather(1, _sorted(values)).view(len(order) * way, -1)
    rows = padded[order]
    there = order < count
    ids = points.new_full((blocks, lanes), -1, dtype=torch.int32)
    ids[:, :size] = torch.where(there, order, -1)
    coordinates = points.new_zeros((blocks, dim, lanes))
    coordinates[:, :, :size] = torch.where(there.unsqueeze(2), rows, 0.0).transpose(1, 2)
    return Blocks(ids, coordinates, rows.amin(1).t().contiguous(), _highest(rows).t().contiguous())


def splits(count: int, lanes: int = LANES) -> list[int]:
    """Return into how many parts the nodes of each level are cut, so that leaves hold at most `lanes` points, rarely far fewer.

    Four parts along one axis cost about a tenth more candidates than two along each of two axes, and half as many levels.
    """
    blocks = max(1, -(-count // lanes))
    halvings = max(0, blocks.bit_length() - 3)
    first = -(-blocks // (1 << halvings))  # 4 to 8, so that at most a fifth of the lanes are empty
    return [first] * int(first > 1) + [4] * (halvings // 2) + [2] * (halvings % 2)


def _highest(rows: torch.Tensor) -> torch.Tensor:
    return torch.where(rows == torch.inf, -torch.inf, rows).amax(1)


def _widest(rows: torch.Tensor) -> torch.Tensor:
    """Return the axis, int64 [nodes], along which the points of each node, float32 [nodes, points, D], extend most."""
    return (_highest(rows) - rows.amin(1)).argmax(1)


def _sorted(values: torch.Tensor) -> torch.Tensor:
    """Return the order of each row, int64 [nodes, points], of float32 values without NaN."""
    nodes, size = values.shape
    if nodes == 1 or size <= SMALL:
        return torch.sort(values, dim=1, stable=True).indices
    bits = values.view(torch.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(torch.int64)  # whole numbers in the order of the floats
    keys += torch.arange(nodes, device=values.device).view(-1, 1) << 33
    order = torch.sort(keys.view(-1), stable=True).indices.view(nodes, size)
    return order - torch.arange(nodes, device=values.device).view(-1, 1) * size
