"""All neighbours within a radius from searches that return at most k of them: rows that come back full are asked for again."""

from __future__ import annotations

from collections.abc import Callable

import torch

from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.neighbours.exact import too_many_pairs

FIRST = 256
"""Neighbours asked for at first: twice the mean of an event of 200 collisions."""
FACTOR = 4
HELD = 1 << 27
"""Places for neighbours, 8 to 16 bytes each, that a library fills in one call."""

Nearest = Callable[[torch.Tensor, int], torch.Tensor]
"""(rows int64 [R], k) to pairs int64 [2, M]: place in `rows`, index of a neighbour; at most k to a row, itself included."""


def every_neighbour(
    nearest: Nearest, points: torch.Tensor, radius: float, max_pairs: int, most: int | None = None
) -> torch.Tensor:
    """Return all pairs (point, neighbour) of points [N, D], in both directions, each point with itself, int64 [2, M].

    nearest: searches within the radius. most: the largest k that the library takes, None for any.

    Raises:
        InputError: so many pairs that more than `max_pairs` must lie within the radius, before they fill the memory.
        NotHereError: a point has `most` neighbours or more.
    """
    count = len(points)
    largest = count if most is None else min(most, count)
    k = min(FIRST, largest)
    rows = torch.arange(count, device=points.device)
    found: list[torch.Tensor] = []
    held = 0
    while len(rows):
        again: list[torch.Tensor] = []
        for part in rows.split(max(1, HELD // k)):
            pairs = nearest(part, k)
            complete = torch.bincount(pairs[0], minlength=len(part)) < k if k < count else part >= 0
            again.append(part[~complete])
            pairs = pairs[:, complete[pairs[0]]]
            held += pairs.shape[1]
            if held > 4 * max_pairs + count:  # twice what both directions and the points themselves may come to
                raise too_many_pairs(count, radius, max_pairs)
            found.append(torch.stack([part[pairs[0]], pairs[1]]))
        rows = torch.cat(again)
        if len(rows) and k == largest:
            raise NotHereError(
                f"{len(rows)} hits have {k:,} neighbours or more within {radius:g}; {k:,} is the most that this library returns."
            )
        k = min(k * FACTOR, largest)
    return torch.cat(found, 1) if found else torch.empty((2, 0), dtype=torch.int64, device=points.device)


def listed(index: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return the pairs, int64 [2, M], of a table of neighbours [R, k] where `inside`, bool [R, k], holds."""
    row, place = inside.nonzero(as_tuple=True)
    return torch.stack([row, index[row, place].to(torch.int64)])
