"""Run by test_cuda_adapters.py, in a process of its own; on a GPU without TRITON_INTERPRET, with the libraries that are there."""

import math
import os

import numpy as np
import pytest
import torch
from support.gpu_libraries import Faiss, Frnn, LibFrnn, TorchCluster, components, installed, module, rapids

from trkx.backends import backend, backends, probe
from trkx.errors import InputError, MissingExtraError, SpecError
from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.cuda.adapters import brute, exact, grow
from trkx.runtime.cuda.adapters.components import renumbered
from trkx.runtime.cuda.adapters.table import LABELLING, NEIGHBOURS, components_by, radius_graph_by
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.labelling import connected_components
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.neighbours.exact import squared_distances

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
RADIUS = 0.125
CLOUDS = {
    "ball": lambda rng: 0.15 * rng.normal(size=(150, 8)),
    "far from the origin": lambda rng: rng.normal(size=(120, 3)) * 0.1 + 20.0,
    "lattice, many at the radius": lambda rng: rng.permutation(np.indices((5, 5, 5)).reshape(3, -1).T / 8.0),
    "all the same": lambda rng: np.full((40, 4), 0.7),
    "one axis": lambda rng: rng.uniform(size=(100, 1)),
    "a pair": lambda rng: np.array([[0.0, 0.0], [0.125, 0.0]]),
    "one point": lambda rng: np.zeros((1, 3)),
    "no point": lambda rng: np.zeros((0, 3)),
}
DOUBLES = {
    "FRNN": lambda made: {"frnn": module("frnn", frnn_grid_points=made.frnn_grid_points)},
    "libFRNN": lambda made: {"frnn_cuda": module("frnn_cuda", torch=made), "frnn_cuda.torch": made},
    "torch_cluster": lambda made: {"torch_cluster": module("torch_cluster", radius=made.radius)},
    "faiss flat": lambda made: faiss_modules(made),
}
MAKERS = {"FRNN": Frnn, "libFRNN": LibFrnn, "torch_cluster": TorchCluster, "faiss flat": Faiss}


def faiss_modules(made):
    contrib, utils = module("faiss.contrib", __path__=[]), module("faiss.contrib.torch_utils")
    made.module.contrib, contrib.torch_utils = contrib, utils
    return {"faiss": made.module, "faiss.contrib": contrib, "faiss.contrib.torch_utils": utils}


@pytest.fixture
def double(monkeypatch):
    def make(name):
        made = MAKERS[name]() if name in MAKERS else None
        if made is not None:
            installed(monkeypatch, DOUBLES[name](made))
        return made

    return make


def found_by(name, points, k_max=None, **more):
    found = radius_graph_by(name, torch.from_numpy(points).to(DEVICE), RADIUS, k_max, **more)
    assert found.pairs.dtype == torch.int64 and all(row.is_contiguous() for row in found.pairs)
    return found.pairs.cpu().numpy(), found.truncated


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
@pytest.mark.parametrize("k_max", [None, 3])
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_what_the_sources_say_becomes_our_pairs(name, cloud, k_max, double, rng, monkeypatch):
    monkeypatch.setattr(grow, "FIRST", 4)  # so that most hits are asked for again
    made = double(name)
    points = np.ascontiguousarray(CLOUDS[cloud](rng), np.float32)
    expected = radius_graph(points, RADIUS, k_max, "brute")
    pairs, truncated = found_by(name, points, k_max)
    np.testing.assert_array_equal(pairs, expected.pairs)
    assert truncated == expected.truncated
    if made is not None and cloud == "all the same":
        assert [call[1] for call in made.calls] == [4, 16, 40]


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_what_is_installed_finds_our_pairs(name, cloud, rng, monkeypatch):
    row = NEIGHBOURS[name].backend
    if INTERPRETED:  # builds for CPUs stand in, where there are any
        installed(monkeypatch, {})
    if row and not probe(backend("peer", row), gpu=False).available:
        pytest.skip(f"not checked: {row} is not installed")
    monkeypatch.setattr(grow, "FIRST", 4)
    points = np.ascontiguousarray(CLOUDS[cloud](rng), np.float32)
    expected = radius_graph(points, RADIUS).pairs
    np.testing.assert_array_equal(found_by(name, points)[0], expected)


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
@pytest.mark.parametrize("name", MAKERS)
def test_without_asking_again_pairs_are_lost(name, double, rng, monkeypatch):
    double(name)
    points = rng.uniform(0, 0.3, (60, 2)).astype(np.float32)
    expected = radius_graph(points, RADIUS).pairs.shape[1]
    assert found_by(name, points)[0].shape[1] == expected > 300

    def once(nearest, points, radius, max_pairs, most=None):
        return nearest(torch.arange(len(points)), 4)

    for place in ("frnn_search", "cluster_search", "faiss_search"):
        monkeypatch.setattr(f"trkx.runtime.cuda.adapters.{place}.every_neighbour", once)
    assert found_by(name, points)[0].shape[1] < expected


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
def test_only_full_rows_are_asked_again_and_the_grid_is_kept(double, rng, monkeypatch):
    made = double("FRNN")
    monkeypatch.setattr(grow, "FIRST", 4)
    points = np.concatenate([np.full((10, 3), 5.0), rng.uniform(0, 3, (60, 3))]).astype(np.float32)
    expected = radius_graph(points, RADIUS).pairs
    np.testing.assert_array_equal(found_by("FRNN", points)[0], expected)
    assert made.calls[0] == (70, 4, False)
    assert all(rows <= 12 and kept for rows, _, kept in made.calls[1:])
    assert [k for _, k, _ in made.calls] == [4, 16]


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
def test_more_neighbours_than_faiss_returns(double, monkeypatch):
    double("faiss flat")
    monkeypatch.setattr("trkx.runtime.cuda.adapters.faiss_search.MOST", 16)
    with pytest.raises(NotHereError, match=r"40 hits have 16 neighbours or more within .*; 16 is the most"):
        found_by("faiss flat", np.full((40, 2), 0.5, np.float32))


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
def test_rows_in_parts(double, rng, monkeypatch):
    monkeypatch.setattr(grow, "HELD", 64)
    monkeypatch.setattr(brute, "TILE", 300)
    points = (0.15 * rng.normal(size=(90, 4))).astype(np.float32)
    expected = radius_graph(points, RADIUS).pairs
    for name in NEIGHBOURS:
        double(name)
        monkeypatch.setattr(grow, "FIRST", 8)
        np.testing.assert_array_equal(found_by(name, points)[0], expected)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_too_many_pairs(name, double):
    if INTERPRETED:
        double(name)
    elif NEIGHBOURS[name].backend and not probe(backend("peer", NEIGHBOURS[name].backend)).available:
        pytest.skip(f"not checked: {name} is not installed")
    points = np.full((30, 3), 0.25, np.float32)
    assert found_by(name, points, max_pairs=435)[0].shape == (2, 435)
    for limit in (434, 1):
        with pytest.raises(InputError, match=rf"more than {limit} pairs within 0\.125\d* among 30 hits"):
            found_by(name, points, max_pairs=limit)


def test_refuses_as_ours():
    points = torch.zeros((3, 2), device=DEVICE)
    with pytest.raises(SpecError, match="unknown library for neighbours 'FRN'"):
        radius_graph_by("FRN", points, 1.0)
    with pytest.raises(SpecError, match="radius must be a finite number above 0"):
        radius_graph_by("torch, all pairs", points, 0.0)
    with pytest.raises(InputError, match="1 of 3 points are NaN"):
        radius_graph_by("torch, all pairs", torch.tensor([[0.0], [math.nan], [0.0]], device=DEVICE), 1.0)
    with pytest.raises(SpecError, match="unknown library for components 'cugraf'"):
        components_by("cugraf", torch.zeros((2, 1), dtype=torch.int64, device=DEVICE), 3)
    with pytest.raises(InputError, match="edges name hits 0 to 3, but there are 3 hits"):
        components_by("torch, spreading", torch.tensor([[0], [3]], device=DEVICE), 3)


def test_rounded_products_are_refused():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with pytest.raises(NotHereError, match="set_float32_matmul_precision"):
            found_by("torch, all pairs", np.zeros((3, 2), np.float32))
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not INTERPRETED, reason="shown on the CPU")
def test_libraries_that_are_not_what_they_should_be(monkeypatch):
    installed(monkeypatch, {"frnn": module("frnn"), "frnn_cuda": module("frnn_cuda", __path__=[])})
    points = np.zeros((3, 2), np.float32)
    with pytest.raises(NotHereError, match="is not lxxue/FRNN"):
        found_by("FRNN", points)
    with pytest.raises(NotHereError, match="FRNN_BUILD_TORCH=ON"):
        found_by("libFRNN", points)


def test_what_is_missing_names_what_installs_it(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: module == "torch")
    edges, points = torch.zeros((2, 1), dtype=torch.int64, device=DEVICE), torch.zeros((3, 2), device=DEVICE)
    for name, words in (("FRNN", "clone of lxxue/FRNN"), ("libFRNN", "clone of xju2/libFRNN"), ("faiss flat", "faiss-gpu")):
        with pytest.raises(MissingExtraError, match=words):
            radius_graph_by(name, points, 1.0)
    for name, words in (("cuGraph", "pip install cugraph-cu13"), ("pylibcugraph", "pip install pylibcugraph-cu13")):
        with pytest.raises(MissingExtraError, match=words):
            components_by(name, edges, 3)


def test_every_row_of_the_table_is_used_and_known():
    used = {peer.backend for peer in (*NEIGHBOURS.values(), *LABELLING.values())} - {""}
    assert used == {name for name, row in backends("peer").items() if row.gpu} | {"torch_cluster"}


def test_pairs_that_come_twice_count_once(rng):
    points = torch.from_numpy(rng.normal(size=(40, 3)).astype(np.float32)).to(DEVICE)
    pairs = radius_graph_cuda(points, 1.0).pairs
    twice = torch.cat([pairs.flip(0), pairs, pairs[:, :7]], 1)
    found = exact.decided(points, twice[:, torch.randperm(twice.shape[1], device=DEVICE)], 1.0, pairs.shape[1])
    assert torch.equal(found, pairs)
    with pytest.raises(InputError, match="pairs"):
        exact.decided(points, twice, 1.0, pairs.shape[1] - 1)
    assert exact.decided(points, pairs[:, :0], 1.0, 0).shape == (2, 0)


def test_sums_are_those_of_the_cpu_to_the_last_bit(rng, monkeypatch):
    monkeypatch.setattr(exact, "CHUNK", 100)
    points = rng.normal(size=(60, 8)).astype(np.float32)
    pairs = rng.integers(0, 60, (2, 450))
    found = exact.squared_distances(torch.from_numpy(points).to(DEVICE), torch.from_numpy(pairs).to(DEVICE))
    assert found.cpu().numpy().tolist() == squared_distances(points, pairs).tolist()


def test_the_enlarged_radius_is_that_of_the_cpu(rng):
    from trkx.runtime.bench.adapters.exact import enlarged

    points = (rng.normal(size=(50, 8)) + 3.0).astype(np.float32)
    assert exact.enlarged(torch.from_numpy(points).to(DEVICE), RADIUS) == pytest.approx(enlarged(points, RADIUS), rel=1e-12)
    assert exact.enlarged(torch.zeros((0, 3), device=DEVICE), RADIUS) == pytest.approx(RADIUS, rel=1e-5)


GRAPHS = {
    "nothing": (0, 0), "one hit": (1, 0), "no edges": (7, 0), "a hit and itself": (1, 3), "sparse": (60, 30),
    "medium": (200, 150), "dense": (50, 400),
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", LABELLING)
def test_components_become_ours(name, graph, rng, monkeypatch):
    if INTERPRETED:
        installed(monkeypatch, rapids())
    elif LABELLING[name].backend and not probe(backend("peer", LABELLING[name].backend)).available:
        pytest.skip(f"not checked: {name} is not installed")
    hits, count = GRAPHS[graph]
    edges = rng.integers(0, max(hits, 1), (2, count))
    found = components_by(name, torch.from_numpy(edges).to(DEVICE), hits)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.cpu().numpy(), connected_components(edges, hits))


@pytest.mark.skipif(not INTERPRETED, reason="doubles stand in for libraries on the CPU only")
@pytest.mark.parametrize("name", ["cuGraph", "pylibcugraph"])
def test_a_library_that_loses_an_edge_is_caught(name, rng, monkeypatch):
    lost = lambda source, target: components(source[source + target != 1], target[source + target != 1])  # noqa: E731
    installed(monkeypatch, rapids(lost))
    edges = np.array([[0, 2], [1, 3]])
    found = components_by(name, torch.from_numpy(edges).to(DEVICE), 5).numpy()
    assert found.tolist() != connected_components(edges, 5).tolist()


def test_renumbered():
    vertices = torch.tensor([5, 1, 3, 2], dtype=torch.int32, device=DEVICE)
    labels = torch.tensor([9, 4, 9, 4], dtype=torch.int32, device=DEVICE)
    assert renumbered((vertices, labels), 7).tolist() == [0, 1, 1, 2, 3, 2, 4]
    assert renumbered((vertices[:0], labels[:0]), 2).tolist() == [0, 1]
