"""The one aggregation operator: sums of edge values at nodes, with mean, maximum and softmax beside it."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the sum of the rows of `values` that share an index.

    Args:
        values: float [E, F].
        index: int64 [E], each in [0, size); any order, repeats allowed.
        size: number of segments.

    Returns:
        float [size, F]; a segment without rows is 0. In half precision the sum is taken in float32.

    The exporter replaces this operation (`aten.index_add`) by each target's safe lowering; see docs on scatter.
    """
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    total = wide.new_zeros((size, values.shape[1])).index_add(0, index, wide)  # new_zeros: a trace would keep torch.zeros' device
    return total.to(values.dtype)


def segment_count(index: Tensor, size: int, like: Tensor) -> Tensor:
    """Return how many rows each segment has, float32 (or float64 if `like` is) [size, 1]; exact up to 2^24 rows."""
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    return segment_sum(like.new_ones((index.shape[0], 1), dtype=wide), index, size)


def segment_mean(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the mean of the rows of `values` that share an index; arguments and result as in `segment_sum`.

    A segment without rows is 0. In half precision sum and count are taken in float32: a count in half would stop at 2048.
    """
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    mean = segment_sum(wide, index, size) / torch.clamp(segment_count(index, size, values), min=1.0)
    return mean.to(values.dtype)


def segment_max(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the largest of the rows of `values` that share an index, column by column; as in `segment_sum`.

    A segment without rows is 0, as in PyTorch Geometric. NaN stays NaN.
    """
    most = values.new_full((size, values.shape[1]), float("-inf"))
    most = most.scatter_reduce(0, index.unsqueeze(1).expand_as(values), values, "amax", include_self=True)
    return torch.where(most == float("-inf"), torch.zeros_like(most), most)


def segment_softmax(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return exp(values) over its sum within each segment, float [E, F]; columns are independent of each other.

    The largest value of a segment is taken off first, so that nothing overflows. A row alone in its segment gives 1.
    """
    shifted = torch.exp(values - torch.index_select(segment_max(values.detach(), index, size), 0, index))
    return shifted / torch.index_select(segment_sum(shifted, index, size), 0, index)
