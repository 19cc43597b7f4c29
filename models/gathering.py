"""What a hit gathers from its edges: sums, means, maxima and spreads over those that end there, start there, or both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trkx.models.segment import segment_max, segment_mean, segment_sum
from trkx.spec import Aggregation

SMALLEST_VARIANCE = 1e-5


def segment_std(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return the spread of the rows of `values` that share an index; arguments and result as in `segment_sum`.

    sqrt(mean(v^2) - mean(v)^2), and 0 where that is at most sqrt(1e-5), as in PyTorch Geometric's StdAggregation. Computed from
    distances to the mean: the difference of squares loses its digits where the spread is small: rounding would decide what is 0.
    """
    distance = values - torch.index_select(segment_mean(values, index, size), 0, index)
    variance = segment_mean(distance * distance, index, size)
    spread = torch.sqrt(torch.clamp(variance, min=SMALLEST_VARIANCE))
    return torch.where(variance <= SMALLEST_VARIANCE, torch.zeros_like(spread), spread)


def gathered(kind: Aggregation, values: Tensor, index: Tensor, size: int) -> Tensor:
    """Return one aggregation of edge values at nodes, [size, F]; a node without edges gets 0."""
    return {"sum": segment_sum, "mean": segment_mean, "max": segment_max, "std": segment_std}[kind](values, index, size)


def messages(
    place: str, kinds: Sequence[Aggregation], values: tuple[Tensor, Tensor], edge_index: Tensor, size: int
) -> list[Tensor]:
    """Return the aggregates of edge values at nodes, one [size, F] for each kind.

    Args:
        place: "incoming" (over edges that end at a node), "outgoing" (that start there), or "both": the sum of the two.
        kinds: aggregations.
        values: what an edge tells its target and its source, [E, F] each; the same tensor twice if it tells both the same.
        edge_index: int64 [2, E].
        size: number of nodes.
    """
    to_target, to_source = values
    ends = {"incoming": [(to_target, edge_index[1])], "outgoing": [(to_source, edge_index[0])]}
    parts = ends.get(place) or [*ends["incoming"], *ends["outgoing"]]
    found = [[gathered(kind, told, index, size) for told, index in parts] for kind in kinds]
    return [one[0] if len(one) == 1 else one[0] + one[1] for one in found]
