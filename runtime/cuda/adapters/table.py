"""The libraries as rows, and the doors that bring what they find to our contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from trkx.errors import SpecError, unknown_name
from trkx.runtime.bench.adapters.table import Peer
from trkx.runtime.cuda.adapters.components import Found, renumbered
from trkx.runtime.cuda.adapters.exact import decided, enlarged, keep_nearest
from trkx.runtime.cuda.components import checked_edges
from trkx.runtime.cuda.neighbours import DevicePairs, checked_points
from trkx.runtime.neighbours.table import MAX_PAIRS

_HERE = "trkx.runtime.cuda.adapters"

Find = Callable[[torch.Tensor, float, int], torch.Tensor]

NEIGHBOURS: Mapping[str, Peer] = {
    row.name: row
    for row in (
        Peer("FRNN", "frnn", f"{_HERE}.frnn_search:find_frnn"),
        Peer("libFRNN", "frnn_cuda", f"{_HERE}.frnn_search:find_libfrnn"),
        Peer("faiss flat", "faiss-gpu", f"{_HERE}.faiss_search:find_faiss"),
        Peer("torch_cluster", "torch_cluster", f"{_HERE}.cluster_search:find_torch_cluster"),
        Peer("torch, all pairs", "", f"{_HERE}.brute:find_brute"),
    )
}
"""(points, enlarged radius, most pairs) to pairs: `exact.decided` makes of them what `radius_graph_cuda` finds."""

LABELLING: Mapping[str, Peer] = {
    row.name: row
    for row in (
        Peer("cuGraph", "cugraph", f"{_HERE}.components:find_cugraph"),
        Peer("pylibcugraph", "pylibcugraph", f"{_HERE}.components:find_pylibcugraph"),
        Peer("torch, spreading", "", f"{_HERE}.components:find_spread"),
    )
}
"""(edge_index, num_hits) to hits and their components: `components.renumbered` makes of them what `components_cuda` returns."""


def radius_graph_by(
    name: str, points: torch.Tensor, radius: float, k_max: int | None = None, max_pairs: int = MAX_PAIRS
) -> DevicePairs:
    """Return what `radius_graph_cuda` does, found by another library and decided by our exact test; arguments are the same.

    Raises:
        InputError, SpecError: as `radius_graph_cuda`; an unknown name.
        MissingExtraError: the library is not installed.
        NotHereError: it is, but can't do this.
    """
    if name not in NEIGHBOURS:
        raise SpecError(unknown_name("library for neighbours", name, NEIGHBOURS))
    find: Find = NEIGHBOURS[name].opened()
    points = checked_points(points, radius, k_max)
    if len(points) < 2:
        return DevicePairs(torch.empty((2, 0), dtype=torch.int64, device=points.device))
    found = find(points, enlarged(points, radius), max_pairs)
    return DevicePairs(*keep_nearest(points, decided(points, found, radius, max_pairs), k_max))


def components_by(name: str, edge_index: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return what `components_cuda` does, found by another library; arguments are the same.

    Raises:
        InputError: as `components_cuda`. SpecError: an unknown name.
        MissingExtraError: the library is not installed.
    """
    if name not in LABELLING:
        raise SpecError(unknown_name("library for components", name, LABELLING))
    find: Callable[[torch.Tensor, int], Found] = LABELLING[name].opened()
    checked_edges(edge_index, num_hits)
    return renumbered(find(edge_index, num_hits), num_hits)
