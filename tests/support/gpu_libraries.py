"""Doubles of libraries for GPUs, on the CPU: the interfaces that their sources document, with what is awkward about them.

Each checks what it is given as the library does, so that a wrong call fails here too.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import torch

GRID = namedtuple("GRID", "sorted_points2 pc2_grid_off sorted_points2_idxs grid_params")


def module(name, **members):
    """Return a module that importlib finds in sys.modules."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    for key, value in members.items():
        setattr(made, key, value)
    return made


def squared(first, second):
    """Return squared distances as float32 sums them."""
    return (first[:, None] - second[None]).square().sum(-1)


class Frnn:
    """lxxue/FRNN: batches, the nearest K by distance, the point itself among them, squared distances, -1 beyond."""

    def __init__(self):
        self.calls = []

    def frnn_grid_points(self, points1, points2, lengths1=None, lengths2=None, K=-1, r=-1, grid=None, return_nn=False,
                         return_sorted=True, radius_cell_ratio=2.0):
        assert points1.shape[0] == points2.shape[0] == 1 and points1.shape[2] == points2.shape[2] >= 2
        assert points1.dtype == points2.dtype == torch.float32
        assert lengths1.tolist() == [points1.shape[1]] and lengths2.tolist() == [points2.shape[1]]
        assert lengths1.dtype == lengths2.dtype == torch.int64 and isinstance(K, int) and isinstance(r, float)
        assert grid is None or grid.sorted_points2.shape == points2.shape
        self.calls.append((points1.shape[1], K, grid is not None))
        index = torch.full((1, points1.shape[1], K), -1)
        distance = torch.full((1, points1.shape[1], K), -1.0)
        near, order = squared(points1[0], points2[0]).sort(dim=1, stable=True)
        for row in range(points1.shape[1]):
            inside = order[row, near[row] <= np.float32(r) * np.float32(r)][:K]
            index[0, row, : len(inside)] = inside
            distance[0, row, : len(inside)] = near[row, : len(inside)]
        return distance, index, None, GRID(points2, None, None, None)


class LibFrnn:
    """xju2/libFRNN, frnn_cuda.torch: the first `max_neighbors` by (distance, index), the rest left out without a word."""

    def __init__(self):
        self.calls = []

    def build_edges(self, query, database=None, *, radius, max_neighbors, exclude_self=True, directed=None):
        for value in (query, database):
            if value is not None:
                assert value.dtype is torch.float32 and value.ndim == 2 and value.is_contiguous() and 1 <= value.shape[1] <= 32
        assert database is None or directed is not False
        assert radius > 0 and isinstance(max_neighbors, int) and max_neighbors >= 0
        self.calls.append((len(query), max_neighbors, database is not None))
        same = database is None
        both = bool(directed) if directed is not None else not same
        near, order = squared(query, query if same else database).sort(dim=1, stable=True)
        edges = []
        for row in range(len(query)):
            inside = order[row, near[row] <= np.float32(radius) * np.float32(radius)].tolist()
            inside = [other for other in inside if not (same and exclude_self and other == row)][:max_neighbors]
            edges += [(row, other) for other in inside if both or row > other]
        return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).transpose(0, 1)


class TorchCluster:
    """rusty1s/pytorch_cluster on a GPU: strictly below r, the first `max_num_neighbors` by index, then no further look."""

    def __init__(self):
        self.calls = []

    def radius(self, x, y, r, batch_x=None, batch_y=None, max_num_neighbors=32, num_workers=1, batch_size=None):
        self.calls.append((len(y), max_num_neighbors))
        inside = squared(y, x) < r * r
        inside &= inside.cumsum(1) <= max_num_neighbors
        return inside.nonzero().t()


class Faiss:
    """facebookresearch/faiss with GPUs: the nearest k whatever their distance, |a|^2 + |b|^2 - 2 a.b, k at most 2048."""

    MOST = 2048

    def __init__(self):
        self.calls = []
        self.module = module("faiss", IndexFlatL2=self.index, __path__=[])

    def index(self, dim):
        return FaissIndex(self, dim)


class FaissIndex:
    """A flat index."""

    def __init__(self, library, dim):
        self.library, self.dim, self.points = library, dim, None

    def add(self, points):
        assert points.dtype == torch.float32 and points.is_contiguous() and points.shape[1] == self.dim
        self.points = points

    def search(self, queries, k):
        assert queries.is_contiguous() and 0 < k <= self.library.MOST
        self.library.calls.append((len(queries), k))
        norms = self.points.square().sum(1)
        distance = queries.square().sum(1)[:, None] + norms[None] - 2.0 * queries @ self.points.t()
        found, index = distance.clamp_(min=0.0).sort(1)
        pad = max(0, k - index.shape[1])
        return (torch.nn.functional.pad(found, (0, pad), value=3.4028234663852886e38)[:, :k],
                torch.nn.functional.pad(index, (0, pad), value=-1)[:, :k])


def components(source, target):
    """Return the vertices of edges, in no order of use, and a name for the component of each: some vertex of it."""
    vertices = np.unique(np.concatenate([source, target]))
    name = dict.fromkeys(vertices.tolist())
    parent = {vertex: vertex for vertex in name}

    def root(vertex):
        while parent[vertex] != vertex:
            vertex = parent[vertex]
        return vertex

    for one, two in zip(source.tolist(), target.tolist(), strict=True):
        parent[min(root(one), root(two))] = max(root(one), root(two))  # the highest, unlike ours
    order = np.random.default_rng(0).permutation(len(vertices))
    vertices = vertices[order]
    return vertices.astype(np.int32), np.array([root(vertex) for vertex in vertices.tolist()], np.int32)


def rapids(connect=components):
    """Return the modules of cuGraph, pylibcugraph, cudf and cupy by name; arrays of cupy are those of numpy.

    connect: finds components of edges that stand both ways.
    """

    class Series:
        def __init__(self, values):
            self.values = values

    class DataFrame(dict):
        def __init__(self, columns):
            assert all(isinstance(column, np.ndarray) and column.dtype == np.int32 for column in columns.values())
            super().__init__({name: Series(column) for name, column in columns.items()})

    class Graph:
        def __init__(self, directed=False):
            self.directed, self.edges = directed, None

        def from_cudf_edgelist(self, frame, source="source", destination="destination", edge_attr=None, renumber=True):
            if not len(frame[source].values):
                raise ValueError("empty")
            assert renumber
            self.edges = frame[source].values, frame[destination].values

    def weakly(graph):
        if graph.directed:
            raise ValueError("input graph must be undirected")
        source, target = graph.edges
        vertices, labels = connect(np.concatenate([source, target]), np.concatenate([target, source]))
        return {"vertex": Series(vertices), "labels": Series(labels)}

    class SGGraph:
        def __init__(self, handle, properties, source, target, weight, store_transposed=False, renumber=False,
                     do_expensive_check=False):
            assert isinstance(handle, ResourceHandle) and weight is None
            assert source.dtype == target.dtype == np.int32 and source.ndim == 1 and len(source)
            pairs = set(zip(source.tolist(), target.tolist(), strict=True))
            assert not properties["is_symmetric"] or all((two, one) in pairs for one, two in pairs)
            self.edges = source, target

    class ResourceHandle:
        pass

    def weakly_below(handle, graph, offsets, indices, weights, labels, check):
        assert isinstance(handle, ResourceHandle) and offsets is indices is weights is labels is None and check is False
        return connect(*graph.edges)

    def from_dlpack(tensor):
        assert tensor.dtype == torch.int32
        return np.from_dlpack(tensor)

    return {
        "cupy": module("cupy", from_dlpack=from_dlpack),
        "cudf": module("cudf", DataFrame=DataFrame),
        "cugraph": module("cugraph", Graph=Graph, weakly_connected_components=weakly),
        "pylibcugraph": module("pylibcugraph", ResourceHandle=ResourceHandle, GraphProperties=dict, SGGraph=SGGraph,
                               weakly_connected_components=weakly_below),
    }


def installed(monkeypatch, doubles):
    """Put modules by name in the place of libraries, and a GPU where one is looked for."""
    for name, one in doubles.items():
        monkeypatch.setitem(sys.modules, name, one)
    monkeypatch.setattr("trkx.backends.GPU_PLACES", ("/*",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
