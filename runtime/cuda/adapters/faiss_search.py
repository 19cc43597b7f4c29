"""The nearest k by a flat index of faiss, which tests every pair: on GPUs faiss has no search within a radius.

Source: contrib/torch_utils.py (tensors in and out, on torch's stream; no range search on a GPU), gpu/GpuIndexFlat.h and
gpu/utils/DeviceUtils.cu (at most 2048 neighbours) of facebookresearch/faiss. Not run on a GPU yet; its CPU index is, in tests.
"""

from __future__ import annotations

from typing import Any

import torch

from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.cuda.adapters.grow import every_neighbour, listed

MOST = 2048


def find_faiss(points: torch.Tensor, reach: float, max_pairs: int) -> torch.Tensor:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M]: GpuIndexFlatL2, squared distances.

    Points on the CPU get IndexFlatL2.

    Raises:
        NotHereError: faiss without GPUs, or a hit with more neighbours than faiss returns.
    """
    points = points.contiguous()
    index = _index(points)
    index.add(points)

    def nearest(rows: torch.Tensor, k: int) -> torch.Tensor:
        squared, found = index.search(points if len(rows) == len(points) else points[rows], k)
        return listed(found, (squared <= reach * reach) & (found >= 0))

    return every_neighbour(nearest, points, reach, max_pairs, most=MOST)


def _index(points: torch.Tensor) -> Any:
    import faiss
    import faiss.contrib.torch_utils

    if not points.is_cuda:
        return faiss.IndexFlatL2(points.shape[1])
    if not hasattr(faiss, "StandardGpuResources"):
        raise NotHereError("the faiss that is installed is a build for CPUs; install one for GPUs in its place.")
    settings = faiss.GpuIndexFlatConfig()
    settings.device = points.device.index or 0
    return faiss.GpuIndexFlatL2(faiss.StandardGpuResources(), points.shape[1], settings)
