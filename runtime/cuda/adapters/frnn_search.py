"""Fixed-radius search by a grid of cells: FRNN (L. Xue), which the 2021 talk used, and libFRNN, its successor.

Source: frnn/frnn.py of lxxue/FRNN (`frnn_grid_points`); python/frnn_cuda/torch.py and src/include/frnn/frnn.hpp of xju2/libFRNN
(`build_edges`). Neither has been run here: their interfaces are, by doubles that answer as these files say.
"""

from __future__ import annotations

from types import ModuleType
from typing import cast

import torch

from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.cuda.adapters.grow import every_neighbour, listed


def find_frnn(points: torch.Tensor, reach: float, max_pairs: int) -> torch.Tensor:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M], by FRNN.

    FRNN returns the nearest K, itself among them, with -1 where there are fewer; the grid of the first call serves the others. It
    needs two axes: a point on one axis gets another that is 0.
    """
    frnn = _frnn()
    cloud = points if points.shape[1] > 1 else torch.cat([points, torch.zeros_like(points)], 1)
    reference = cloud.contiguous()[None]
    lengths = torch.tensor([len(points)], dtype=torch.int64, device=points.device)
    grid = None

    def nearest(rows: torch.Tensor, k: int) -> torch.Tensor:
        nonlocal grid
        query = reference if len(rows) == len(points) else cloud[rows][None]
        asked = torch.tensor([len(rows)], dtype=torch.int64, device=points.device)
        _, index, _, grid = frnn.frnn_grid_points(
            query, reference, asked, lengths, K=k, r=reach, grid=grid, return_nn=False, return_sorted=True
        )
        return listed(index[0], index[0] >= 0)

    return every_neighbour(nearest, points, reach, max_pairs)


def find_libfrnn(points: torch.Tensor, reach: float, max_pairs: int) -> torch.Tensor:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M], by libFRNN's `frnn_cuda.torch`.

    It leaves out what is beyond `max_neighbors` without a word. Edges are asked for directed and with self pairs, so that
    they can be counted; of some points against all they come so in any case.
    """
    build_edges = _libfrnn().build_edges
    points = points.contiguous()

    def nearest(rows: torch.Tensor, k: int) -> torch.Tensor:
        if len(rows) == len(points):
            found = build_edges(points, radius=reach, max_neighbors=k, exclude_self=False, directed=True)
        else:
            found = build_edges(points[rows], points, radius=reach, max_neighbors=k, exclude_self=False, directed=True)
        return cast(torch.Tensor, found)

    return every_neighbour(nearest, points, reach, max_pairs)


def _frnn() -> ModuleType:
    import frnn

    if not hasattr(frnn, "frnn_grid_points"):  # libFRNN was once called frnn as well
        raise NotHereError("the module frnn that is installed is not lxxue/FRNN: it has no frnn_grid_points.")
    return frnn  # type: ignore[no-any-return]


def _libfrnn() -> ModuleType:
    try:
        import frnn_cuda.torch
    except ImportError as error:
        raise NotHereError(f"frnn_cuda has no interface to torch ({error}); build it with FRNN_BUILD_TORCH=ON.") from error
    return frnn_cuda.torch  # type: ignore[no-any-return]
