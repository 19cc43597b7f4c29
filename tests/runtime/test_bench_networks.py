"""`trkx bench filter`, `gnn`: peers have our weights and give our logits; a wrong one is called wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.errors import InputError, SpecError
from trkx.export.zoo import helix_event
from trkx.runtime.bench import graphs, networks
from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.ort_peer import COMPILED, CONCATENATED, FROZEN, PEERS, TORCH_ONNX, TORCH_ONNX_MENDED, ort_run
from trkx.runtime.engines import open_engine
from trkx.runtime.events import write_event_parquet

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture(scope="module")
def events(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    write_event_parquet(folder, replace(helix_event(bundle.spec, tracks=60), cells={}))
    return folder


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> graphs.Graph:
    return graphs.synthetic_graph(bundle.spec, 300, 1500)


def test_every_peer_that_is_listed_can_be_opened() -> None:
    from trkx.runtime.bench import torch_peers

    assert tuple(torch_peers.PEERS) == PEERS


@pytest.mark.parametrize("stage", ["filter", "gnn"])
@pytest.mark.parametrize("name", [CONCATENATED, FROZEN, TORCH_ONNX_MENDED])
def test_peers_give_the_logits_of_float64(bundle: Bundle, graph: graphs.Graph, stage: str, name: str) -> None:
    from trkx.runtime.bench import torch_peers

    exact = torch_peers.reference_logits(bundle, stage, graph.arrays()).reshape(-1)
    found = networks.opened(bundle, stage, name, graph, 1)()
    assert found.shape == (1500,)
    assert np.abs(found - exact).max() < 2e-4
    assert np.abs(exact).max() > 1e-2


@pytest.mark.slow
def test_the_compiled_peer_gives_the_logits_of_float64(bundle: Bundle, graph: graphs.Graph) -> None:
    from trkx.runtime.bench import torch_peers

    exact = torch_peers.reference_logits(bundle, "gnn", graph.arrays()).reshape(-1)
    assert np.abs(networks.opened(bundle, "gnn", COMPILED, graph, 1)() - exact).max() < 2e-4


@pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
def test_a_plain_network_concatenates(bundle: Bundle, graph: graphs.Graph, stage: str) -> None:
    from trkx.models.blocks import BlockLinear
    from trkx.runtime.bench.torch_plain import plain_network
    from trkx.runtime.engines.eager import load_networks

    ours = load_networks(bundle)[stage].double()
    plain = plain_network(ours).double()
    assert not any(isinstance(module, BlockLinear) for module in plain.modules())
    assert any(isinstance(module, BlockLinear) for module in ours.modules())  # ours is not changed
    x, edges = torch.from_numpy(graph.x).double(), torch.from_numpy(graph.edge_index)
    given = (x,) if stage == "embedding" else (x, edges)
    with torch.no_grad():
        assert torch.allclose(ours(*given), plain(*given), rtol=0.0, atol=1e-12)


def test_rows_have_ratio_arithmetic_and_difference(bundle: Bundle) -> None:
    own = networks.OWN + "onnxruntime"
    options = Options(bundle=bundle.path, rounds=2, peers=(own, CONCATENATED), synthetic=True)
    rows = networks.measured(bundle, "gnn", graphs.synthetic_graph(bundle.spec, 100, 700), options.peers, options)
    assert [(row.timing.name, row.ours) for row in rows] == [(own, True), (CONCATENATED, False)]
    for row in rows:
        assert len(row.timing.seconds) == 2
        assert row.flops > 0.0 and row.bytes > 0.0
        assert row.facts["max |difference| from float64"] < 1e-3
        assert row.timing.note == ""


def test_a_wrong_result_is_called_wrong(bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    real = networks.opened

    def wrong(bundle: Bundle, stage: str, name: str, graph: graphs.Graph, threads: int) -> object:
        run = real(bundle, stage, CONCATENATED, graph, threads)
        if name == TORCH_ONNX:
            return lambda: run() * 1.01 + 0.01
        return run

    monkeypatch.setattr(networks, "opened", wrong)
    rows = networks.measured(bundle, "filter", graph, (CONCATENATED, TORCH_ONNX), Options(bundle=bundle.path, rounds=1))
    assert [row.timing.note for row in rows] == ["", "WRONG RESULT"]
    assert rows[1].facts["max |difference| from float64"] > 5e-3


def test_bfloat16_stands_beside_float32_and_is_not_ours(bundle: Bundle, graph: graphs.Graph) -> None:
    names = ("trkx tiled", "trkx tiled bf16")
    exact, half = networks.measured(bundle, "gnn", graph, names, Options(bundle=bundle.path, rounds=1, peers=names))
    assert exact.ours and not half.ours
    assert exact.timing.note == "" and half.timing.note == "bfloat16"
    assert half.facts["max |difference| from float64"] > 10 * exact.facts["max |difference| from float64"]


@pytest.mark.parametrize("off", [np.nan, 100.0])
def test_bfloat16_may_be_wrong_too(off: float, bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    real = networks.opened
    monkeypatch.setattr(networks, "opened", lambda *given: lambda: real(*given)() + np.float32(off))
    (row,) = networks.measured(bundle, "gnn", graph, ("trkx tiled bf16",), Options(bundle=bundle.path, rounds=1))
    assert row.timing.note == "WRONG RESULT"


def test_what_float32_itself_gets_wrong_is_counted(
    bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where eager float32 is off by as much, the edge is counted; a result that is off alone is wrong."""
    from trkx.runtime.bench import torch_peers

    exact, real, moved = torch_peers.reference_logits, networks.opened, np.zeros(graph.edges, np.float32)
    hard = graph.edge_index[:, 5]

    def reference(bundle: Bundle, stage: str, arrays: torch_peers.Arrays, precise: bool = True) -> NDArray[np.float64]:
        found = exact(bundle, stage, arrays, precise)
        found[(arrays[1] == hard[:, None]).all(axis=0)] += 0.37 if precise else 0.0
        return found

    monkeypatch.setattr(torch_peers, "reference_logits", lambda *given, exact=True: reference(*given, precise=exact))
    monkeypatch.setattr(networks, "opened", lambda *given: lambda: real(*given)() + moved)
    count = int((graph.edge_index == hard[:, None]).all(axis=0).sum())
    for off, note in ((0.0, ""), (0.5, "WRONG RESULT")):
        moved[9] = off
        (row,) = networks.measured(bundle, "filter", graph, ("trkx tiled",), Options(bundle=bundle.path, rounds=1))
        assert row.facts["edges that float32 gets wrong"] == count
        assert row.timing.note == note


def test_nan_is_called_wrong(bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "opened", lambda *given: lambda: np.full(1500, np.nan, np.float32))
    rows = networks.measured(bundle, "filter", graph, (TORCH_ONNX,), Options(bundle=bundle.path, rounds=1))
    assert rows[0].timing.note == "WRONG RESULT"


def test_without_torch_the_peers_are_not_available(
    bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "trkx.runtime.bench.torch_peers", None)
    own, told = networks.OWN + "onnxruntime", []
    options = Options(bundle=bundle.path, rounds=1, tell=told.append)
    rows = networks.measured(bundle, "filter", graph, (own, CONCATENATED), options)
    assert [row.timing.available for row in rows] == [True, False]
    assert "not installed" in rows[1].timing.note
    assert rows[0].facts[f"max |difference| from {own}"] == 0.0  # said to be a comparison with itself
    why, = [line for line in told if "no logits in float64" in line]
    assert "torch_peers" in why and why.endswith(f"compared with {own}")


def test_a_graph_too_large_for_float64_is_told(bundle: Bundle, graph: graphs.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "AFFORDABLE", 10.0)
    told: list[str] = []
    truth, by = networks._truth(bundle, "gnn", graph, {}, 5e6, told.append)
    assert (truth, by) == (None, "")
    assert told == ["gnn: no logits in float64 (its 5.0e+06 operations are more than 1e+01); compared with none"]


def test_candidates_are_those_of_the_pipeline(bundle: Bundle) -> None:
    from trkx.runtime.pipeline import Pipeline

    spec = replace(bundle.spec, cuts=replace(bundle.spec.cuts, filter=0.5))
    event = helix_event(spec, tracks=60)
    engine = open_engine("onnxruntime", bundle, 1)
    tracks = Pipeline(spec, engine, threads=1).run(event, keep_graphs=True)
    whole = graphs.candidates(spec, engine, event, 1)
    assert whole.of == whole.edges == tracks.graphs["graph"].shape[1] > 100
    assert set(map(tuple, whole.edge_index.T)) == set(map(tuple, tracks.graphs["graph"].T))
    some = graphs.candidates(spec, engine, event, 1, 50)
    assert some.edges == 50
    assert set(map(tuple, some.edge_index.T)) <= set(map(tuple, whole.edge_index.T))
    assert np.array_equal(graphs.filtered(spec, engine, event, 1).edge_index, tracks.graphs["filter"])


def test_events_without_edges_are_refused(bundle: Bundle) -> None:
    engine = open_engine("onnxruntime", bundle, 1)
    assert bundle.spec.graph is not None
    apart = replace(bundle.spec, graph=replace(bundle.spec.graph, radius=1e-12))
    with pytest.raises(InputError, match="no two hits lie within 1e-12"):
        graphs.candidates(apart, engine, helix_event(bundle.spec, tracks=3), 1)
    strict = replace(bundle.spec, cuts=replace(bundle.spec.cuts, filter=1.0 - 1e-12))
    with pytest.raises(InputError, match="no edge passes the filter"):
        graphs.filtered(strict, engine, helix_event(bundle.spec, tracks=60), 1)


def test_graphs_come_in_the_sizes_that_are_wanted(bundle: Bundle, events: Path) -> None:
    options = Options(bundle=bundle.path, events=(events,), sizes=(100, 300), synthetic=True)
    found = networks.graphs_of(bundle, "filter", options)
    assert [graph.hits for graph in found] == [graphs.HITS, 100, 300]
    with pytest.raises(SpecError, match="--events"):
        networks.graphs_of(bundle, "gnn", Options(bundle=bundle.path))


def test_memory_is_that_of_a_process_of_its_own(bundle: Bundle, graph: graphs.Graph, tmp_path: Path) -> None:
    np.savez(tmp_path / "graph.npz", x=graph.x, edge_index=graph.edge_index)
    peak = networks.peak_here(str(bundle.path), "filter", "trkx onnxruntime", str(tmp_path / "graph.npz"), 1)
    assert peak is None or 0 <= peak < 1e9


def test_a_file_that_is_no_model_is_not_here() -> None:
    with pytest.raises(NotHereError, match="refuses"):
        ort_run(b"nonsense", 1)
