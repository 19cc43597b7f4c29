"""The search of the talk's baseline: what radius_graph of torch_cluster calls, one thread a point that looks at all others.

Source: torch_cluster/radius.py and csrc/cuda/radius_cuda.cu of rusty1s/pytorch_cluster: a point that has `max_num_neighbors` is
left, without a word, so that it has to be asked for again. Not run on a GPU yet; its CPU build is, in tests.
"""

from __future__ import annotations

from typing import cast

import torch

from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.cuda.adapters.grow import every_neighbour


def find_torch_cluster(points: torch.Tensor, reach: float, max_pairs: int) -> torch.Tensor:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M].

    Raises:
        NotHereError: points on a GPU, and a build without CUDA.
    """
    import torch_cluster

    if points.is_cuda and torch.ops.torch_cluster.cuda_version() == -1:
        raise NotHereError("the torch_cluster that is installed was compiled without CUDA; compile it where nvcc is found.")

    def nearest(rows: torch.Tensor, k: int) -> torch.Tensor:
        asked = points if len(rows) == len(points) else points[rows]
        return cast(torch.Tensor, torch_cluster.radius(points, asked, reach, max_num_neighbors=k))

    return every_neighbour(nearest, points, reach, max_pairs)
