"""Connected components by RAPIDS: cuGraph, which the 2021 talk used, and pylibcugraph, what lies below it.

Source: python/cugraph/cugraph/components/connectivity.py (`weakly_connected_components` of an undirected Graph, to a frame of
"vertex" and "labels") and python/pylibcugraph/pylibcugraph/{graphs,weakly_connected_components}.pyx (SGGraph; edges in both
directions; arrays of cupy) of rapidsai/cugraph. Neither has been run here: their interfaces are, by doubles.
"""

from __future__ import annotations

from typing import Any

import torch

from trkx.runtime.cuda import twins
from trkx.runtime.cuda.components import numbered

Found = tuple[torch.Tensor, torch.Tensor]
"""Some hits, and what the library calls the component of each, both [V], whole numbers: hits without edges may lack."""


def find_cugraph(edge_index: torch.Tensor, num_hits: int) -> Found:
    """Return hits and their components as cuGraph calls them; `renumbered` makes labels of them."""
    import cudf
    import cugraph

    if not edge_index.shape[1]:  # a graph without edges is refused
        return _nothing(edge_index)
    source, target = _for_cupy(edge_index)
    graph = cugraph.Graph()
    graph.from_cudf_edgelist(cudf.DataFrame({"source": source, "target": target}), source="source", destination="target")
    frame = cugraph.weakly_connected_components(graph)
    return _of_cupy(frame["vertex"].values), _of_cupy(frame["labels"].values)


def find_pylibcugraph(edge_index: torch.Tensor, num_hits: int) -> Found:
    """Return hits and their components as pylibcugraph calls them; `renumbered` makes labels of them."""
    import pylibcugraph

    if not edge_index.shape[1]:
        return _nothing(edge_index)
    source, target = _for_cupy(torch.cat([edge_index, edge_index.flip(0)], 1))
    handle = pylibcugraph.ResourceHandle()
    kind = pylibcugraph.GraphProperties(is_symmetric=True, is_multigraph=True)
    graph = pylibcugraph.SGGraph(
        handle, kind, source, target, None, store_transposed=False, renumber=True, do_expensive_check=False
    )
    vertices, labels = pylibcugraph.weakly_connected_components(handle, graph, None, None, None, None, False)
    return _of_cupy(vertices), _of_cupy(labels)


def find_spread(edge_index: torch.Tensor, num_hits: int) -> Found:
    """Return all hits and their components by spreading the lowest label along edges, in plain torch."""
    return torch.arange(num_hits, device=edge_index.device), twins.connected_components(edge_index, num_hits)


def renumbered(found: Found, num_hits: int) -> torch.Tensor:
    """Return labels 0, 1, 2 … by lowest hit, int64 [num_hits], as `components_cuda`; hits that are not in `found` are alone."""
    vertices, labels = (values.to(torch.int64) for values in found)
    names, group = labels.unique(return_inverse=True)
    lowest = vertices.new_full((len(names),), num_hits).scatter_reduce_(0, group, vertices, "amin")
    root = torch.arange(num_hits, device=vertices.device)
    root[vertices] = lowest[group]
    return numbered(root)


def _nothing(edge_index: torch.Tensor) -> Found:
    return edge_index.new_empty(0), edge_index.new_empty(0)


def _for_cupy(edge_index: torch.Tensor) -> tuple[Any, Any]:
    """Return sources and targets as arrays of cupy, int32, without a copy; both libraries run on the default stream."""
    import cupy

    narrow = edge_index.to(torch.int32).contiguous()
    if narrow.is_cuda:
        torch.cuda.current_stream(narrow.device).synchronize()
    return cupy.from_dlpack(narrow[0]), cupy.from_dlpack(narrow[1])


def _of_cupy(values: Any) -> torch.Tensor:
    return torch.utils.dlpack.from_dlpack(values)
