"""What the kernels of graph networks compute, in a few lines of plain torch that run anywhere: the reference of their tests."""

from __future__ import annotations

import torch

from trkx.runtime.cuda.networks.sums import PIECE, finite_maximum, spread
from trkx.spec import Aggregation


def gathered(kind: Aggregation, values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    """Return one aggregation of the rows of values, [E, W], that share an index, int64 [E]: [size, W], to the last bit.

    In the order of the rows of each index, by pieces; in the dtype of the values.
    """
    order = torch.sort(index, stable=True).indices
    lists = torch.split(order, torch.bincount(index, minlength=size).tolist())
    if kind == "max":
        floor = values.new_full((1, values.shape[1]), -torch.inf)
        return finite_maximum(torch.cat([torch.cat([floor, values[rows]]).amax(0, keepdim=True) for rows in lists]))
    if kind == "sum":
        return torch.stack([_summed(values[rows]) for rows in lists])
    counts = torch.tensor([[max(1, len(rows))] for rows in lists], dtype=torch.int32, device=values.device)
    mean = gathered("sum", values, index, size) / counts
    if kind == "mean":
        return mean
    return spread(gathered("sum", (values - mean[index]).square(), index, size) / counts)


def _summed(rows: torch.Tensor) -> torch.Tensor:
    """Return the sum of rows, [W]: each piece from its first on, then the pieces from the first on."""
    parts = [_in_turn(piece) for piece in torch.split(rows, PIECE)]
    return parts[0] if len(parts) == 1 else _in_turn(torch.stack(parts))


def _in_turn(rows: torch.Tensor) -> torch.Tensor:
    total = rows.new_zeros(rows.shape[1])
    for row in rows:
        total = total + row
    return total
