"""Other libraries find what ours finds; each is skipped where it is not installed."""

import subprocess
import sys

import numpy as np
import pytest

from trkx.backends import backend, backends, probe
from trkx.errors import MissingExtraError
from trkx.runtime.bench.adapters import faiss_search, labels, table
from trkx.runtime.bench.adapters.exact import decided, enlarged, flat
from trkx.runtime.labelling import connected_components
from trkx.runtime.neighbours import radius_graph

CLOUDS = {
    "sphere": lambda rng: 0.4 * _unit(rng.normal(size=(600, 8))),
    "far from the origin": lambda rng: rng.normal(size=(400, 3)) * 0.3 + 20.0,
    "lattice, many at the radius": lambda rng: rng.permutation(np.indices((8, 8, 8)).reshape(3, -1).T / 8.0),
    "all the same": lambda rng: np.full((60, 4), 0.7),
    "one axis": lambda rng: rng.uniform(size=(300, 1)),
    "a pair": lambda rng: np.array([[0.0, 0.0], [0.125, 0.0]]),
}
RADIUS = 0.125


def _unit(points):
    return points / np.linalg.norm(points, axis=1, keepdims=True) * 0.6


def opened(peer):
    if peer.backend and not probe(backend("peer", peer.backend)).available:
        pytest.skip(f"not checked: {peer.backend} is not installed")
    return peer.opened()


@pytest.mark.parametrize("name", table.NEIGHBOURS)
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_peer_finds_our_pairs(name, cloud, threads, rng):
    find = opened(table.NEIGHBOURS[name])
    points = np.ascontiguousarray(CLOUDS[cloud](rng), np.float32)
    further = table.tuned(name, points, RADIUS, threads)
    found = find(points, RADIUS, threads, *(() if further is None else (further,)))
    assert found.dtype == np.int64
    ours = radius_graph(points, RADIUS).pairs
    assert ours.shape[1] > 0
    np.testing.assert_array_equal(decided(points, found, RADIUS), ours)


def test_faiss_looks_at_enough_cells_and_fewer_lose_pairs(rng):
    find = opened(table.NEIGHBOURS["faiss IVF"])
    points = _unit(rng.normal(size=(3000, 3))).astype(np.float32)
    cells = faiss_search.tuned_cells(points, RADIUS, 1)
    assert 1 < cells <= 64
    ours = radius_graph(points, RADIUS).pairs.shape[1]
    assert decided(points, find(points, RADIUS, 1, cells), RADIUS).shape[1] == ours
    assert decided(points, find(points, RADIUS, 1, 1), RADIUS).shape[1] < ours


def test_the_exact_test_decides_and_each_pair_stands_once():
    points = np.array([[0.0], [0.125], [0.25001], [0.125]], np.float32)
    found = np.array([[0, 1, 1, 2, 0, 3, 0, 2], [1, 0, 2, 1, 3, 0, 0, 0]])
    assert decided(points, found, RADIUS).tolist() == [[0, 0], [1, 3]]
    assert decided(points, np.empty((2, 0), np.int64), RADIUS).shape == (2, 0)


def test_the_enlarged_radius_covers_float32(rng):
    points = (rng.normal(size=(500, 8)) * 0.2 + 3.0).astype(np.float32)
    wide = points.astype(np.float64)
    exact = ((wide[:, None] - wide[None]) ** 2).sum(axis=-1)
    norm = np.einsum("nd,nd->n", points, points)
    rounded = norm[:, None] + norm[None] - 2 * points @ points.T
    error = float(np.abs(rounded - exact).max())
    assert 0 < error < enlarged(points, RADIUS) ** 2 - RADIUS**2 < 100 * error


def test_flat():
    assert flat([np.array([3, 1]), np.array([], np.int64), np.array([0])]).tolist() == [[0, 0, 2], [3, 1, 0]]
    assert flat([]).shape == (2, 0)


@pytest.mark.parametrize("name", table.LABELLING)
@pytest.mark.parametrize(("hits", "edges"), [(1, 0), (40, 0), (40, 20), (200, 150), (200, 900)])
def test_a_peer_finds_our_components(name, hits, edges, rng):
    find = opened(table.LABELLING[name])
    index = rng.integers(0, hits, (2, edges))
    np.testing.assert_array_equal(labels.renumbered(find(index, hits)), connected_components(index, hits))


def test_dbscan_is_components_of_what_passes_the_cut(rng):
    cluster = opened(table.DBSCAN)
    low = rng.integers(0, 199, 300)
    edges = np.unique(np.stack([low, np.minimum(low + rng.integers(1, 9, 300), 199)]), axis=1)
    edges = edges[:, edges[0] < edges[1]]
    score = rng.uniform(size=edges.shape[1])
    for cut in (0.3, 0.75):
        found = labels.renumbered(cluster(edges, score, 200, cut))
        np.testing.assert_array_equal(found, connected_components(edges[:, score > cut], 200))


def test_renumbered():
    assert labels.renumbered(np.array([7, -1, 2, 7, -1, 2])).tolist() == [0, 1, 2, 0, 3, 2]
    assert labels.renumbered(np.empty(0, np.int32)).tolist() == []


def test_a_missing_library_names_what_installs_it(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: False)
    with pytest.raises(MissingExtraError, match=r"faiss-cpu not installed. Install: pip install \"trkx\[peers\]\""):
        table.NEIGHBOURS["faiss flat"].opened()
    with pytest.raises(MissingExtraError, match="--no-build-isolation torch_cluster"):
        table.NEIGHBOURS["torch_cluster"].required()
    with pytest.raises(MissingExtraError, match="scikit-network"):
        table.LABELLING["scikit-network"].opened()


def test_every_row_of_the_table_is_used_and_known():
    peers = (*table.NEIGHBOURS.values(), *table.LABELLING.values(), table.DBSCAN)
    on_cpu = {name for name, row in backends("peer").items() if not row.gpu}  # the others: interpreted_adapters.py
    assert {peer.backend for peer in peers} - {""} == on_cpu
    assert all(name == peer.name for name, peer in (table.NEIGHBOURS | table.LABELLING).items())


def test_no_library_is_imported_before_it_is_asked_for():
    names = "'torch', 'faiss', 'sklearn', 'sknetwork', 'pynanoflann', 'torch_cluster'"
    code = (
        "import sys, trkx.runtime.bench.adapters.table, trkx.runtime.bench.neighbours, trkx.runtime.bench.components\n"
        "import trkx.runtime.bench.adapters.faiss_search, trkx.runtime.bench.adapters.tree_search, trkx.runtime.bench.ladder\n"
        "import trkx.runtime.bench.adapters.labels\n"
        f"found = [name for name in ({names}) if name in sys.modules]\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_autocast_is_another_precision(tiny_bundle):
    from trkx.bundle import Bundle
    from trkx.runtime.bench.adapters.autocast import open_engine as autocast
    from trkx.runtime.engines import open_engine

    opened_bundle = Bundle.open(tiny_bundle)
    rough, exact = autocast(opened_bundle, 1), open_engine("eager", opened_bundle, 1)
    rng = np.random.default_rng(5)
    x = rng.uniform(0.1, 0.9, (30, 3)).astype(np.float32)
    edges = rng.integers(0, 30, (2, 60))
    for found, wanted in ((rough.embed(x), exact.embed(x)), (rough.filter(x, edges), exact.filter(x, edges)),
                          (rough.gnn(x, edges), exact.gnn(x, edges))):
        assert found.dtype == np.float32
        difference = np.abs(found - wanted).max()
        assert 0.0 < difference < 0.05 * np.abs(wanted).max() + 0.05
