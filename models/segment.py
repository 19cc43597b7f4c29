"""The one aggregation operator: sums of edge values at nodes. Everything that sums over edges calls it."""

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
