"""`trkx bench pipeline`: both pipelines make the same tracks, and differences are counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trkx.bundle import Bundle
from trkx.export.zoo import helix_event
from trkx.runtime.bench import whole
from trkx.runtime.bench.flips import compared, differing_hits
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.events import write_event_parquet
from trkx.spec import logit_of_cut

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


def test_tracks_are_the_same(found: list[Row]) -> None:
    facts = found[-2].facts
    assert facts["hits in other tracks"] == 0
    assert facts["tracks"] == facts["tracks assembled"]
    assert facts["filter flips (outside band)"] == facts["gnn flips (outside band)"] == "0 (0)"


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
    assert differing_hits(np.asarray(a, np.int64), np.asarray(b, np.int64)) == hits


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

    def gnns(edges: list[tuple[int, int]]) -> tuple[int, int]:
        flips = compared(spec, result(gnn=np.array(edges).T), result())
        return flips.gnn, flips.gnn_outside

    assert gnns([(0, 1)]) == (1, 0)  # 3-4 is within the band
    assert gnns([(0, 1), (3, 4), (1, 2)]) == (1, 1)
    assert gnns([(3, 4)]) == (1, 1)


def test_float64_says_who_is_right(tiny_bundle: Path) -> None:
    from trkx.runtime.bench.torch_peers import reference_logits
    from trkx.runtime.features import node_features

    bundle = Bundle.open(tiny_bundle)
    event = helix_event(bundle.spec, tracks=5)
    edges = np.array([[0, 1, 2, 3], [10, 11, 12, 13]])
    from trkx.runtime.edges import oriented

    x = node_features(event, bundle.spec.features)
    given = oriented(edges, event.position, "by_radius")
    exact = reference_logits(bundle, "filter", (x, given)).reshape(-1) > logit_of_cut(bundle.spec.needed_cut("filter"))
    right = whole._verdict(bundle, event, edges, {"filter": given[:, exact]})
    wrong = whole._verdict(bundle, event, edges, {"filter": given[:, ~exact]})
    assert right == {"flips where float64 is with us": 4}
    assert wrong == {"flips where float64 is with us": 0}
    assert whole._verdict(bundle, event, np.empty((2, 0), np.int64), {}) == {}
