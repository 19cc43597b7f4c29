"""Every pair in plain torch, tile by tile, by matrix products: what anyone can write, and what needs no library."""

from __future__ import annotations

import torch

from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.neighbours.exact import too_many_pairs

TILE = 1 << 26
"""Distances held at once, 4 bytes each and as much again for what is made of them."""


def find_brute(points: torch.Tensor, reach: float, max_pairs: int) -> torch.Tensor:
    """Return pairs once each, lower index first, int64 [2, M]: |a|^2 + |b|^2 - 2 a.b in float32.

    Raises:
        InputError: far more than `max_pairs` pairs.
        NotHereError: torch may round the factors of matrix products (TF32), which no enlarged radius covers.
    """
    if torch.get_float32_matmul_precision() != "highest":
        raise NotHereError("torch rounds float32 products here; call torch.set_float32_matmul_precision('highest').")
    count = len(points)
    norms = points.square().sum(1)
    rows = max(1, TILE // max(count, 1))
    found: list[torch.Tensor] = []
    held = 0
    for start in range(0, count, rows):
        part = points[start : start + rows]
        squared = torch.addmm(norms[start:], part, points[start:].t(), alpha=-2.0)
        squared += norms[start : start + rows, None]
        pairs = (squared <= reach * reach).triu_(1).nonzero().t() + start
        held += pairs.shape[1]
        if held > 2 * max_pairs:
            raise too_many_pairs(count, reach, max_pairs)
        found.append(pairs)
    return torch.cat(found, 1) if found else torch.empty((2, 0), dtype=torch.int64, device=points.device)
