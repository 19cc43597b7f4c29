"""Tracks of whole events: groupings are compared as sets of hits, and a difference passes only if rounding explains it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from support.tiny import TinyExport
from torch import nn

from trkx.bundle import Bundle
from trkx.export.check import Expectation, oracle_of
from trkx.export.validation import tracks as module
from trkx.export.validation.efficiency import difference_rows, efficiency_series, interval_of_difference, measured
from trkx.export.validation.tracks import Expect, compared_tracks, difference, expecting, track_rows
from trkx.export.validation.whole_event import Exact, OracleEngine, Recorder, exact_event
from trkx.export.zoo import Case
from trkx.runtime.engines import Engine
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.engines.torch_cpu import TorchEngine
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.tracks import Tracks
from trkx.spec import CutSpec, LabellingSpec, PipelineSpec, logit_of_cut


def test_only_the_sets_of_hits_count() -> None:
    first = np.array([0, 0, 1, 1, 2, 3])
    assert difference(first, np.array([7, 7, 5, 5, 9, 1])).moved == 0
    split = difference(first, np.array([0, 4, 1, 1, 2, 3]))
    assert (split.moved, split.groups) == (2, (1, 2))
    merged = difference(first, np.array([0, 0, 0, 0, 2, 3]))
    assert (merged.moved, merged.groups) == (4, (2, 1))
    assert difference(np.empty(0, np.int64), np.empty(0, np.int64)).moved == 0


@dataclass(frozen=True)
class Setting:
    spec: PipelineSpec
    networks: dict[str, nn.Module]
    oracles: dict[str, nn.Module]
    exact: Exact

    @property
    def expect(self) -> Expect:
        return expecting(self.networks)


@pytest.fixture(scope="module")
def setting(tiny_export: TinyExport) -> Setting:
    """Return the tiny pipeline with cuts in gaps of its own logits, so that it makes tracks; labels are components."""
    torch.set_num_threads(1)
    bundle = Bundle.open(tiny_export.folder)
    networks = load_networks(bundle)
    oracles = {stage: oracle_of(network) for stage, network in networks.items()}
    spec = replace(bundle.spec, labelling=LabellingSpec("connected_components"))
    for stage in ("filter", "gnn"):
        case = exact_event(spec, oracles, tiny_export.event).cases[stage]
        logits = np.sort(getattr(OracleEngine(oracles), stage)(case.x, case.edge_index))
        high = logits[-len(logits) // 6 :]
        cut = float(1.0 / (1.0 + np.exp(-high[:2].mean())))
        cuts = {"filter": spec.cuts.filter, "gnn": spec.cuts.gnn} | {stage: cut}
        spec = replace(spec, cuts=CutSpec(**cuts))
    return Setting(spec, networks, oracles, exact_event(spec, oracles, tiny_export.event))


class Moved:
    """The float64 networks, but the GNN's logits move by `step`, int64 rows of the edges in the canonical graph."""

    def __init__(self, engine: Engine, step: np.ndarray) -> None:
        self.engine, self.step = engine, step

    def embed(self, x: np.ndarray) -> np.ndarray:
        return self.engine.embed(x)

    def filter(self, x: np.ndarray, edge_index: np.ndarray) -> np.ndarray:
        return self.engine.filter(x, edge_index)

    def gnn(self, x: np.ndarray, edge_index: np.ndarray) -> np.ndarray:
        return self.engine.gnn(x, edge_index) + self.step


class Broken(Moved):
    def gnn(self, x: np.ndarray, edge_index: np.ndarray) -> np.ndarray:
        raise RuntimeError("no memory left")


def test_float32_makes_the_same_tracks(setting: Setting) -> None:
    assert setting.exact.tracks.num_tracks > 2
    row, tracks = compared_tracks(setting.spec, setting.exact, TorchEngine(setting.networks, 1), "eager", setting.expect)
    assert (row.status, row.difference) == ("passed", 0.0)
    assert tracks is not None
    assert row.detail.startswith(f"the same {tracks.num_tracks} tracks")


def one_flip(setting: Setting) -> tuple[Moved, float]:
    """Return an engine in which one edge near the cut changes sides, such that tracks differ, and by how much it moves."""
    oracle, exact = OracleEngine(setting.oracles), setting.exact
    case = exact.cases["gnn"]
    margin = oracle.gnn(case.x, case.edge_index) - logit_of_cut(setting.spec.cuts.gnn)
    for edge in np.argsort(np.abs(margin)):
        step = np.zeros(len(margin))
        step[edge] = -1.1 * margin[edge]
        engine = Moved(oracle, step)
        row, _ = compared_tracks(setting.spec, exact, engine, "moved", setting.expect)
        if row.difference:
            return engine, abs(float(step[edge]))
    raise AssertionError("no edge of the tiny event matters to its tracks")


def widened(expect: Expect, tolerance: float) -> Expect:
    """Return expectations of the GNN in which rounding moves every logit by so much."""

    def asked(stage: str, case: Case) -> Expectation:
        found = expect(stage, case)
        return replace(found, tolerance=np.full_like(found.tolerance, tolerance)) if stage == "gnn" else found

    return asked


def test_a_flip_beyond_rounding_fails_and_one_within_is_explained(setting: Setting) -> None:
    engine, step = one_flip(setting)
    row, _ = compared_tracks(setting.spec, setting.exact, engine, "moved", setting.expect)
    assert row.status == "failed"
    assert "1 of" in row.detail
    assert "beyond rounding" in row.detail
    row, _ = compared_tracks(setting.spec, setting.exact, engine, "moved", widened(setting.expect, 1.01 * step))
    assert row.status == "passed"
    assert row.difference is not None
    assert row.difference > 0.0
    assert "rounding explains it" in row.detail
    assert "1 edges at the gnn cut" in row.detail


def test_too_many_moved_hits_fail_however_well_explained(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, step = one_flip(setting)
    monkeypatch.setattr(module, "MOVED_ALWAYS", 0)
    monkeypatch.setattr(module, "MOVED", 0.0)
    row, _ = compared_tracks(setting.spec, setting.exact, engine, "moved", widened(setting.expect, 1.01 * step))
    assert row.status == "failed"
    assert "decide by rounding" in row.detail


def test_wrong_logits_fail_even_where_no_edge_flips(setting: Setting) -> None:
    # edge contraction also reads how far an edge is from the cut
    spec = replace(setting.spec, labelling=LabellingSpec("edge_contraction"))
    exact = exact_event(spec, setting.oracles, setting.exact.event)
    case = exact.cases["gnn"]
    logits = OracleEngine(setting.oracles).gnn(case.x, case.edge_index)
    below = logits < logit_of_cut(spec.cuts.gnn)
    engine = Moved(OracleEngine(setting.oracles), np.where(below, -50.0, 0.0))
    row, _ = compared_tracks(spec, exact, engine, "moved", setting.expect)
    assert row.status == "failed"
    assert f"{below.sum()} of {len(logits)} outputs of the gnn differ" in row.detail


def test_an_engine_that_stops_or_gives_nan_fails(setting: Setting) -> None:
    oracle = OracleEngine(setting.oracles)
    for engine in (Broken(oracle, np.zeros(1)), Moved(oracle, np.full(1, np.nan))):
        row, tracks = compared_tracks(setting.spec, setting.exact, engine, "broken", setting.expect)
        assert (row.status, tracks) == ("failed", None)


def test_a_recorder_keeps_one_event_in_one_piece(setting: Setting) -> None:
    recorder = Recorder(OracleEngine(setting.oracles))
    x = setting.exact.cases["embedding"].x
    assert recorder.seen("filter", "event") is None
    for _ in range(2):
        recorder.embed(x)
        recorder.filter(x, np.array([[0], [1]]))
        recorder.filter(x, np.array([[1, 2], [2, 3]]))
    seen = recorder.seen("filter", "event")
    assert seen is not None
    assert seen[0].edge_index.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert len(seen[1]) == 3


def event_with_truth(particles: int, hits: int = 5) -> Event:
    particle_id = np.repeat(np.arange(1, particles + 1), hits)
    momentum = np.zeros((particles, 3), np.float32)
    momentum[:, 0] = 1.0 + np.arange(particles)
    table = Particles(np.arange(1, particles + 1), np.full(particles, 211, np.int32), np.ones(particles, np.float32),
                      np.zeros((particles, 3), np.float32), momentum)
    position = np.zeros((len(particle_id), 3), np.float32)
    truth = Truth(particle_id, np.arange(len(particle_id), dtype=np.float32), particles=table)
    return Event(1, np.arange(len(particle_id)), position, truth=truth)


def tracks_of(event: Event, label: np.ndarray) -> Tracks:
    return Tracks(event.event_id, event.hit_id, label)


def test_equal_tracks_have_no_difference_and_an_interval() -> None:
    event = event_with_truth(40)
    assert event.truth is not None
    same = measured(event, tracks_of(event, event.truth.particle_id - 1), Selection())
    rows = {row.case: row for row in difference_rows("engine", [same], [same])}
    assert {row.status for row in rows.values()} == {"passed"}
    assert all(row.difference == 0.0 for row in rows.values())
    assert rows["efficiency, 1 event"].detail.startswith("100.00%, float64 networks 100.00%; difference +0.000%")
    assert "0 gained, 0 lost of 40 particles" in rows["efficiency, 1 event"].detail


def test_lost_particles_merged_tracks_and_wrong_hits_fail() -> None:
    event = event_with_truth(40)
    assert event.truth is not None
    right = event.truth.particle_id - 1
    exact = measured(event, tracks_of(event, right), Selection())
    merged = measured(event, tracks_of(event, right // 2), Selection())  # each track has two particles, half of the hits each
    rows = {row.case.split(",")[0]: row for row in difference_rows("engine", [exact], [merged])}
    assert {name: row.status for name, row in rows.items()} == dict.fromkeys(("efficiency", "fake rate", "purity"), "failed")
    assert "0 gained, 40 lost of 40 particles" in rows["efficiency"].detail
    one = right.copy()
    one[5:10] = 0  # a single particle joins another: bad luck, no proof
    found = measured(event, tracks_of(event, one), Selection())
    rows = {row.case.split(",")[0]: row for row in difference_rows("engine", [exact], [found])}
    assert rows["efficiency"].status == "passed"


def test_intervals_of_differences() -> None:
    low, high = interval_of_difference(0, 0, 100)
    assert low == -high
    assert 0.02 < high < 0.06
    low, high = interval_of_difference(20, 0, 100)
    assert 0.0 < low < 0.2 < high
    wide = interval_of_difference(3, 1, 100, level=0.99)
    narrow = interval_of_difference(3, 1, 100, level=0.68)
    assert wide[0] < narrow[0] < 0.02 < narrow[1] < wide[1]


def test_efficiency_in_bins_for_each_pipeline() -> None:
    event = event_with_truth(12)
    assert event.truth is not None
    label = event.truth.particle_id - 1
    split = label.copy()
    split[:5] = np.arange(100, 105)
    series = {"float64 networks": [measured(event, tracks_of(event, label), Selection())],
              "files": [measured(event, tracks_of(event, split), Selection())]}
    pt, eta = efficiency_series(series)
    assert (pt.variable, eta.variable) == ("pT", "eta")
    assert pt.series["float64 networks"]["value"][0] == 1.0
    assert pt.series["files"]["value"][0] == 0.0  # the slowest particle is lost, alone in its bin
    assert len(pt.edges) == len(pt.series["files"]["value"]) + 1
    low, value, high = (np.asarray(pt.series["files"][key]) for key in ("low", "value", "high"))
    filled = np.isfinite(value)
    assert filled.sum() == 6  # bins of pT without particles have no efficiency, neither 0 nor 1
    assert ((low <= value) & (value <= high))[filled].all()


def test_every_engine_of_the_runtime_has_rows(tiny_export: TinyExport) -> None:
    bundle = Bundle.open(tiny_export.folder)
    networks = load_networks(bundle)
    exact = exact_event(bundle.spec, {stage: oracle_of(network) for stage, network in networks.items()}, tiny_export.event)
    rows, efficiencies = track_rows(bundle, networks, [exact])
    assert {row.engine for row in rows if row.status == "passed"} == {"tiled", "onnxruntime", "torchscript", "eager"}
    assert [row.case for row in rows if row.status == "not checked"] == ["efficiency, fake rate, purity"]
    assert efficiencies == []
