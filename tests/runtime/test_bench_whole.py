"""`trkx bench pipeline`: both pipelines make the same tracks, and differences are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trkx.bundle import Bundle
from trkx.errors import TrkxError
from trkx.export.zoo import helix_event
from trkx.runtime.bench import differences as module
from trkx.runtime.bench import whole
from trkx.runtime.bench.differences import agreements, differences, filter_verdict, judged_here
from trkx.runtime.bench.flips import GnnFlips, compared, keys
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.engines import open_engine
from trkx.runtime.events import Event, write_event_parquet
from trkx.runtime.features import node_features
from trkx.runtime.labelling import same_components
from trkx.spec import CutSpec, logit_of_cut

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def found(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("events")
    write_event_parquet(folder, replace(helix_event(Bundle.open(tiny_bundle).spec, tracks=60), cells={}))
    own = whole.OWN + "onnxruntime"
    return whole.rows(Options(bundle=tiny_bundle, events=(folder,), rounds=2, peers=(own, whole.MENDED)))


def test_stages_and_their_sum(found: list[Row]) -> None:
    stages = [row.graph.split(": ")[1] for row in found[::2]]
    assert stages == ["features", "embedding", "graph", "filter", "gnn", "labelling", whole.TOTAL]
    for number in (0, 1):
        own = found[number::2]
        assert all(len(row.timing.seconds) == 2 for row in own)
        assert sum(row.timing.seconds[0] for row in own[:-1]) == pytest.approx(own[-1].timing.seconds[0])
        assert (own[-1].timing.peak_bytes or 0) > 20e6
        assert own[0].sizes["edges"] > 100
    assert found[0].ours and not found[1].ours
    assert [row.series for row in found[::2]] == stages  # no line of a picture joins two stages


def test_tracks_are_the_same(found: list[Row]) -> None:
    facts = found[-2].facts
    assert facts["hits in other tracks"] == 0
    assert facts["tracks"] == facts["tracks assembled"]
    assert facts["filter flips (outside band)"] == facts["gnn flips, same graph (outside band)"] == "0 (0)"
    assert facts["gnn flips"] == facts["gnn flips unexplained"] == 0
    assert not found[-1].facts


def test_a_case_that_fails_says_why(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_event_parquet(tmp_path, replace(helix_event(Bundle.open(tiny_bundle).spec, tracks=5), cells={}))
    monkeypatch.setattr(whole, "_models", lambda *given: "torch does not export it: no")
    rows = whole.rows(Options(bundle=tiny_bundle, events=(tmp_path,), rounds=1, peers=(whole.ASSEMBLED, whole.MENDED)))
    assert all(not row.timing.available for row in rows)
    assert rows[-1].timing.note == "torch does not export it: no"


@pytest.mark.parametrize(
    ("a", "b", "hits"),
    [
        ([0, 0, 1, 1], [5, 5, 2, 2], 0),  # other numbers, same sets
        ([0, 0, 1, 1], [0, 0, 1, 2], 2),
        ([0, 0, 0, 1], [0, 0, 1, 1], 4),
        ([0, 1, 2], [0, 0, 0], 3),
        ([], [], 0),
    ],
)
def test_differing_hits(a: list[int], b: list[int], hits: int) -> None:
    assert np.count_nonzero(~same_components(np.asarray(a, np.int64), np.asarray(b, np.int64))) == hits


def result(**changes: Any) -> dict[str, Any]:
    """Five hits; edges 0-1, 1-2, 3-4 pass the filter, 0-1 and 3-4 the GNN; 2-3 is near the filter's cut."""
    edges = np.array([[0, 1, 3], [1, 2, 4]])
    points = np.zeros((5, 2), np.float32)
    points[4, 0] = 0.05  # at the tiny radius from hit 0
    values = {"label": np.array([0, 0, 1, 2, 2]), "tracks": np.array(2), "filter": edges, "gnn": edges[:, [0, 2]],
              "near": np.array([[2, 0], [3, 3]]), "near_weight": np.array([-1e-4, 0.02]), "points": points,
              "gnn_weight": np.array([2.0, -3.0, 5e-4])}
    return values | changes


def test_flips_are_counted_with_their_distance_from_the_cut() -> None:
    from support.tiny import tiny_spec

    spec = tiny_spec()
    same = compared(spec, result(), result())
    assert (same.hits, same.filter, same.gnn, same.tracks) == (0, 0, 0, (2, 2))

    def filters(*more: tuple[int, int]) -> tuple[int, int]:
        edges = np.concatenate([result()["filter"], np.array(more).T], axis=1)
        flips = compared(spec, result(filter=edges), result())
        assert flips.edges.shape == (2, len(more))
        return flips.filter, flips.filter_outside

    assert filters((2, 3)) == (1, 0)  # within the band
    assert filters((0, 3)) == (1, 1)  # near, but not within
    assert filters((4, 0)) == (1, 0)  # at the edge of the radius
    assert filters((0, 2), (2, 3)) == (2, 1)


def test_gnn_flips_on_the_same_graph_are_told_from_those_that_follow() -> None:
    """Our filter passes 2-3 as well. Of two GNN flips, 0-1 is gone once the graph is theirs; 3-4 stays: it is the GNN's own."""
    from support.tiny import tiny_spec

    spec, filtered = tiny_spec(), np.concatenate([result()["filter"], [[2], [3]]], axis=1)

    def gnns(whole: list[tuple[int, int]], same_graph: list[tuple[int, int]]) -> tuple[int, list[list[int]], int, int]:
        ours = result(filter=filtered, gnn=edges_of(whole), same_graph=edges_of(same_graph))
        flips = compared(spec, ours, result())
        assert (flips.filter, flips.filter_outside) == (1, 0)
        assert isinstance(flips.same_graph, GnnFlips)
        return flips.gnn, flips.same_graph.edges.T.tolist(), flips.same_graph.outside_band, flips.same_graph.that_follow

    assert gnns([(2, 3)], [(0, 1)]) == (2, [[3, 4]], 0, 1)  # 2-3 was judged by one GNN only
    assert gnns([(2, 3)], [(3, 4)]) == (2, [[0, 1]], 1, 1)  # the other way round, 0-1 is the GNN's own, and far from the cut
    assert gnns([(0, 1), (4, 3), (1, 2)], [(1, 0), (3, 4)]) == (1, [], 0, 1)  # all follow, whatever the direction
    assert gnns([(0, 1), (3, 4), (1, 2)], [(0, 1), (3, 4), (1, 2)]) == (1, [[1, 2]], 1, 0)
    assert gnns([(0, 1), (3, 4)], [(0, 1)]) == (0, [[3, 4]], 0, 0)  # its own filter's flips make up for it

    facts = compared(spec, result(filter=filtered, gnn=edges_of([(2, 3)]), same_graph=edges_of([(0, 1)])), result()).to_facts()
    assert facts["gnn flips"] == 2
    assert facts["gnn flips, same graph (outside band)"] == "1 (0)"
    assert facts["gnn flips that follow"] == 1
    unknown = compared(spec, result(gnn=edges_of([(0, 1)])), result())
    assert (unknown.gnn, unknown.same_graph) == (1, None)
    assert [name for name in unknown.to_facts() if name.startswith("gnn")] == ["gnn flips"]


def edges_of(pairs: list[tuple[int, int]]) -> Any:
    return np.array(pairs, np.int64).T


@pytest.fixture(scope="module")
def dense_event() -> Event:
    from support.tiny import tiny_spec

    return replace(helix_event(tiny_spec(), tracks=40), cells={})


@pytest.fixture(scope="module")
def halving_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny bundle whose GNN passes about half of the edges of `dense_event`; others pass all."""
    from support.tiny import tiny_export_into, tiny_spec

    return Bundle.open(tiny_export_into(tmp_path_factory.mktemp("halving"), tiny_spec(cuts=CutSpec(filter=0.3, gnn=0.74))).folder)


def kept_results(bundle: Bundle, event: Event, folder: Path) -> tuple[dict[str, Any], dict[str, Any], Path, Path]:
    """Return what ours kept, made-up results of theirs (our GNN on some of our edges), and a file for each; ours is written."""
    write_event_parquet(folder, event)
    whole.ours_here(str(bundle.path), str(folder), "onnxruntime", 1, str(folder / "ours.npz"))
    with np.load(folder / "ours.npz") as held:
        ours = dict(held)
    x, cut = node_features(event, bundle.spec.features), logit_of_cut(bundle.spec.needed_cut("gnn"))
    given = canonical(ours["filter"][:, ::10])
    weight = open_engine("onnxruntime", bundle, 1).gnn(x, given) - np.float64(cut)
    scattered = np.random.default_rng(1).permutation(given.shape[1])  # the assembled pipeline keeps the order of its search
    theirs = {"label": ours["label"], "tracks": ours["tracks"], "filter": given[:, scattered], "gnn_weight": weight[scattered],
              "points": np.zeros((len(event), 4), np.float32), "near": edges_of([]).reshape(2, 0), "near_weight": np.empty(0)}
    theirs["gnn"] = theirs["filter"][:, theirs["gnn_weight"] > 0.0]
    return ours, theirs, folder / "ours.npz", folder / "theirs.npz"


def test_our_gnn_judges_their_graph(halving_bundle: Bundle, dense_event: Event, tmp_path: Path) -> None:
    """Our filter passes ten times as many edges, so flips follow; one decision of theirs is turned round: a flip of its own."""
    bundle, hits = halving_bundle, len(dense_event)
    ours, theirs, own, other = kept_results(bundle, dense_event, tmp_path)
    both = np.isin(keys(theirs["filter"], hits), keys(ours["gnn"], hits))
    follow = int(np.count_nonzero(both != (theirs["gnn_weight"] > 0.0)))
    assert follow > 0
    turned = int(np.argmax(np.abs(theirs["gnn_weight"]) * (both == (theirs["gnn_weight"] > 0.0))))  # in no doubt, and no flip
    theirs["gnn_weight"][turned] *= -1.0
    theirs["gnn"] = theirs["filter"][:, theirs["gnn_weight"] > 0.0]
    np.savez(other, allow_pickle=False, **theirs)
    told: list[str] = []
    files = {"onnxruntime": own, "tiled": tmp_path / "none"}
    facts = differences(bundle, dense_event, tmp_path, other, files, Options(tell=told.append))
    assert list(facts) == ["onnxruntime"]
    assert not told
    assert facts["onnxruntime"]["gnn flips"] == follow + 1
    assert facts["onnxruntime"]["gnn flips, same graph (outside band)"] == "1 (1)"
    assert facts["onnxruntime"]["gnn flips that follow"] == follow
    assert facts["onnxruntime"]["gnn flips, same graph, float64 with us"] == 1


def test_flips_that_can_not_be_separated_say_why(
    halving_bundle: Bundle, dense_event: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = halving_bundle
    _, theirs, own, other = kept_results(bundle, dense_event, tmp_path)
    np.savez(other, allow_pickle=False, **theirs)

    def refused(*given: object) -> None:
        raise TrkxError("no memory")

    monkeypatch.setattr(module, "run_fresh", refused)
    told: list[str] = []
    facts = differences(bundle, dense_event, tmp_path, other, {"onnxruntime": own}, Options(tell=told.append))
    assert told == ["onnxruntime: GNN flips are not separated: no memory"]
    assert "gnn flips" in facts["onnxruntime"]
    assert "gnn flips that follow" not in facts["onnxruntime"]
    assert differences(bundle, dense_event, tmp_path, tmp_path / "none", {"onnxruntime": own}, Options()) == {}


@pytest.mark.parametrize("engine", ["onnxruntime", module.FLOAT64])
def test_a_graph_without_edges_is_judged(tiny_bundle: Path, dense_event: Event, tmp_path: Path, engine: str) -> None:
    write_event_parquet(tmp_path, dense_event)
    np.savez(tmp_path / "graph.npz", filter=np.empty((2, 0), np.int64))
    out = tmp_path / "out.npy"
    assert judged_here(str(tiny_bundle), str(tmp_path), engine, 1, str(tmp_path / "graph.npz"), str(out)) == 0
    assert np.load(out).shape == (2, 0)


def test_agreements() -> None:
    edges, ours, exact = edges_of([(0, 1), (1, 2), (2, 3), (3, 4)]), edges_of([(1, 0), (1, 2)]), edges_of([(0, 1), (3, 2)])
    assert agreements(edges, ours, exact, 5) == 2  # both hold 0-1, neither 3-4
    assert agreements(edges[:, 1:3], ours, exact, 5) == 0


def test_float64_says_who_is_right(tiny_bundle: Path) -> None:
    from trkx.runtime.bench.torch_peers import reference_logits

    bundle = Bundle.open(tiny_bundle)
    event = helix_event(bundle.spec, tracks=5)
    edges = np.array([[0, 1, 2, 3], [10, 11, 12, 13]])
    x = node_features(event, bundle.spec.features)
    given = oriented(edges, event.position, "by_radius")
    exact = reference_logits(bundle, "filter", (x, given)).reshape(-1) > logit_of_cut(bundle.spec.needed_cut("filter"))
    right = filter_verdict(bundle, event, edges, {"filter": given[:, exact]})
    wrong = filter_verdict(bundle, event, edges, {"filter": given[:, ~exact]})
    assert right == {"filter flips, float64 with us": 4}
    assert wrong == {"filter flips, float64 with us": 0}
    assert filter_verdict(bundle, event, np.empty((2, 0), np.int64), {}) == {}
