import io
import itertools
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from rich.console import Console
from support.small_events import small_events
from support.tiny import tiny_spec
from truth_events import event_of
from typer.testing import CliRunner

from trkx.bundle import Bundle, write_manifest
from trkx.cli import app
from trkx.errors import BundleError, InputError, SpecError
from trkx.runtime.compare import alone
from trkx.runtime.compare.advised import recommendation
from trkx.runtime.compare.alone import Bands, embedding_change, filter_changes
from trkx.runtime.compare.changes import Changes, EdgeChanges, StageChange, TrackChanges
from trkx.runtime.compare.events import Found, compare_event, compare_events
from trkx.runtime.compare.physics import TruthChanges, Z, paired_difference, truth_changes
from trkx.runtime.compare.recommend import Rule, advice
from trkx.runtime.compare.report import Comparison
from trkx.runtime.compare.runs import Run, Setting, emulated_here, emulated_words, named_runs, open_runs
from trkx.runtime.compare.scores import Decisions, Differences
from trkx.runtime.compare.sheets import POINTS, sheets
from trkx.runtime.compare.times import StageTime, Times
from trkx.runtime.events import Event, write_event_parquet
from trkx.runtime.features import node_features
from trkx.runtime.labelling import same_components
from trkx.runtime.metrics.matching import match_tracks
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.neighbours import pair_stream
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.precision import precisions
from trkx.spec import CutSpec, FilterSpec, GraphSpec, logit_of_cut

SPEC = tiny_spec(graph=GraphSpec(radius=0.2), cuts=CutSpec(filter=0.3, gnn=0.6))


class Ruler:
    """Engine without networks: the embedding is the input, a logit falls with the distance; `moves`: of edges, by stage."""

    def __init__(self, moves=None, shift=0.0):
        self.moves = moves or {}
        self.shift = shift

    def embed(self, x):
        return x + np.float32(self.shift) * np.arange(x.size, dtype=np.float32).reshape(x.shape)

    def filter(self, x, edge_index):
        return self.logit(x, edge_index, 30.0, "filter")

    def gnn(self, x, edge_index):
        return self.logit(x, edge_index, 60.0, "gnn")

    def logit(self, x, edge_index, slope, stage):
        logits = 4.0 - slope * np.linalg.norm(x[edge_index[0]] - x[edge_index[1]], axis=1)
        for (low, high), move in self.moves.get(stage, {}).items():
            logits[(edge_index.min(axis=0) == low) & (edge_index.max(axis=0) == high)] += move
        return logits.astype(np.float32)


class Streaming(Ruler):
    """The same, edge by edge as they are found."""

    def edge_filter(self, x):
        return lambda edge_index: self.filter(x, edge_index)


def made_up(rng, tracks=40, number=5):
    """Straight tracks with hits every 60 mm, in the units of the tiny spec."""
    radius = np.arange(60.0, 900.0, 60.0)
    phi, slope = rng.uniform(-np.pi, np.pi, tracks)[:, None], rng.uniform(-1, 1, tracks)[:, None]
    hits = np.stack(np.broadcast_arrays(radius * np.cos(phi), radius * np.sin(phi), radius * slope), axis=-1).reshape(-1, 3)
    hits = hits[rng.permutation(len(hits))]
    return Event(number, np.arange(len(hits)) + 10, hits.astype(np.float32), source="made-up/tracks")


def pipeline(engine, spec=SPEC):
    return Pipeline(spec, engine, threads=2)


# --- counts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000, 20001])
def test_quantiles_are_those_of_numpy_to_the_width_of_a_bin(size, rng):
    first = rng.normal(size=size).astype(np.float32)
    second = (first + rng.normal(size=size) * 10.0 ** rng.uniform(-7, 1, size)).astype(np.float32)
    apart = np.abs(first.astype(np.float64) - second)
    parts = np.array_split(np.arange(size), 3)
    found = sum((Differences.between(first[part], second[part]) for part in parts), Differences())
    assert len(found) == size
    assert found.largest == apart.max()
    for part in (0.5, 0.9, 0.99, 0.999, 1.0):
        exact = np.sort(apart)[math.ceil(part * size) - 1]
        assert exact * (1 - 1e-6) <= found.quantile(part) <= exact * (1 + 2.0**-8)
    sizes, larger = found.exceeding()
    for at in (0, len(sizes) // 2, len(sizes) - 1):
        assert larger[at] == pytest.approx(np.mean(apart > sizes[at] * (1 + 1e-6)), abs=1e-12)


def test_differences_of_nothing_and_of_the_same():
    assert Differences().to_dict() == {"largest": 0.0, "50 %": 0.0, "90 %": 0.0, "99 %": 0.0, "99.9 %": 0.0}
    same = Differences.between(np.ones(5, np.float32), np.ones(5, np.float32))
    assert (len(same), same.largest, same.quantile(0.999)) == (5, 0.0, 0.0)


def test_decisions_are_counted():
    first = np.array([0.01, 0.2, -0.01, -0.3, 5.0, -5.0, 0.0])
    second = np.array([-0.01, -0.2, 0.01, 0.1, 6.0, -6.0, 1.0])
    found = Decisions.between(first, second, 0.05)
    assert (found.decided, found.gained, found.lost, found.inside, found.outside, found.farthest) == (7, 3, 2, 3, 2, 0.3)
    assert found.outside_part == 2 / 7
    assert found + found == Decisions(14, 6, 4, 4, 0.3)
    assert Decisions.between(first, first, 0.05) == Decisions(7)
    assert Decisions().outside_part == 0.0


def test_pairs_gained_and_lost_by_an_embedding():
    points = np.array([[0.0, 0], [1, 0], [0, 2.004], [5, 5]], np.float32)
    other = np.array([[0.0, 0], [2.5, 0], [0, 1.99], [5, 5]], np.float32)  # loses 0-1 clearly, gains 0-2 narrowly
    found = embedding_change(points, other, np.array([1]), np.array([2]), 2.0, 0.01)
    assert found.scores.largest == 1.5
    assert len(found.scores) == 4
    decisions = found.decisions
    assert (decisions.decided, decisions.gained, decisions.lost) == (2, 1, 1)
    assert (decisions.inside, decisions.outside, decisions.farthest) == (1, 1, 1.0)
    wide = embedding_change(points, other, np.array([1]), np.array([2]), 2.0, 0.6)
    assert (wide.decisions.inside, wide.decisions.outside) == (2, 0)


def test_edges_that_follow_are_not_of_their_own_rounding():
    found = EdgeChanges.between(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6, 7]), np.array([1, 5, 99]))
    assert found == EdgeChanges(edges=4, gained=3, lost=2, follow=3)
    assert EdgeChanges.between(np.array([1, 2]), np.array([2]), None) == EdgeChanges(2, 0, 1, 0)


def test_components_and_tracks_that_changed(rng):
    a = np.array([0, 0, 0, 3, 3, 5, 6, 6])
    b = np.array([9, 9, 9, 1, 1, 1, 2, 3])  # one the same, two merged, one split
    same = same_components(a, b)
    np.testing.assert_array_equal(same, [1, 1, 1, 0, 0, 0, 0, 0])
    track_a, track_b = np.array([0, 0, 0, 1, 1, -1, 2, 2]), np.array([0, 0, 0, 1, 1, 1, -1, -1])
    assert TrackChanges.between(track_a, track_b, same) == TrackChanges(hits=8, moved=5, tracks=3, tracks_other=2, lost=2, new=1)
    for _ in range(30):
        one, two = rng.integers(0, 9, 40), rng.integers(0, 9, 40)
        two = np.where(rng.random(40) < 0.7, one, two)
        sets = [[frozenset(np.flatnonzero(labels == label)) for label in labels] for labels in (one, two)]
        np.testing.assert_array_equal(same_components(one, two), [a == b for a, b in zip(*sets, strict=True)])
    assert same_components(np.empty(0, np.int64), np.empty(0, np.int64)).shape == (0,)


# --- intervals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gained, lost, total", [(0, 0, 50), (3, 1, 40), (12, 2, 50), (0, 5, 30), (7, 7, 100), (1, 0, 1)])
def test_interval_is_where_tangos_score_reaches_z(gained, lost, total):
    found = paired_difference(gained, lost, total)
    assert found.value == (gained - lost) / total
    assert -1 <= found.low <= found.value <= found.high <= 1
    for delta, sign in ((found.low, 1), (found.high, -1)):
        if abs(delta) > 1 - 1e-9:
            continue
        # the likelihood's maximum at this difference, by brute force
        q = np.linspace(max(0, -delta), (1 - delta) / 2, 400_001)[1:-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            likelihood = gained * np.log(q + delta) + lost * np.log(q) + (total - gained - lost) * np.log1p(-2 * q - delta)
        best = q[np.nanargmax(np.where(np.isnan(likelihood), -np.inf, likelihood))]
        score = (gained - lost - total * delta) / math.sqrt(total * (2 * best + delta * (1 - delta)))
        assert score == pytest.approx(sign * Z, abs=2e-3)
    mirrored = paired_difference(lost, gained, total)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


def test_interval_has_a_width_where_nothing_changed_and_covers():
    width = Z**2 / (200 + Z**2)
    assert paired_difference(0, 0, 200).high == pytest.approx(width, abs=1e-9)
    rng, n, gain, loss = np.random.default_rng(1), 300, 0.02, 0.03
    drawn = rng.multinomial(n, [gain, loss, 1 - gain - loss], 600)
    hit = [one.low <= gain - loss <= one.high for one in (paired_difference(int(g), int(x), n) for g, x, _ in drawn)]
    assert 0.92 < np.mean(hit) < 0.98


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5), (0, 0, 0)])
def test_senseless_counts_are_refused(counts):
    with pytest.raises(InputError, match="make no sense"):
        paired_difference(*counts)


def test_truth_is_compared_on_the_same_particles():
    event = event_of([1] * 4 + [2] * 4 + [3] * 4 + [4] * 4)
    first = np.repeat([0, 1, 2, 3], 4)
    second = first.copy()
    second[4:8] = -1  # particle 2 is lost
    second[[8, 9, 12, 13]], second[[10, 11, 14, 15]] = 2, 3  # two fakes instead of 3 and 4
    same = same_components(first, np.where(second < 0, np.arange(16) + 100, second))
    found = truth_changes(event, first, second, same, Selection())
    assert found == TruthChanges(
        events=1, particles=4, found=4, found_other=1, gained=0, lost=3, tracks=4, tracks_other=3, fakes=0, fakes_other=2,
        fakes_new=2, fakes_lost=0, real_new=0, real_lost=3,
    )
    assert found.efficiency.value == -0.75
    assert found.fake_rate.value == pytest.approx(2 / 3)
    back = truth_changes(event, second, first, same, Selection())
    assert (back.gained, back.lost, back.fakes_lost, back.real_new) == (3, 0, 2, 3)
    assert (found + found).lost == 6
    assert match_tracks(first, event.truth.particle_id).fakes().sum() == 0
    still = truth_changes(event, first, first, np.ones(16, bool), Selection())
    assert still.fake_rate.value == 0 and still.fake_rate.low < 0 < still.fake_rate.high
    counts = {"fakes_new": 25, "fakes_lost": 1, "real_new": 30, "real_lost": 50}
    rates = TruthChanges(tracks=900, tracks_other=1100, fakes=9, fakes_other=33, **counts)
    half = Z * math.sqrt(27 * 0.98**2 + 81 * 0.02**2) / 1000  # fake rates 1 % and 3 %
    change = rates.fake_rate
    assert (change.value, change.low, change.high) == pytest.approx((0.02, 0.02 - half, 0.02 + half))
    assert TruthChanges().efficiency is None and TruthChanges().fake_rate is None


# --- pipelines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [Ruler, Streaming])
def test_same_engines_differ_nowhere(engine, rng):
    found = compare_events(pipeline(engine()), {"other": pipeline(engine())}, [made_up(rng), made_up(rng, number=6)])
    change = found.changes["other"]
    assert (found.events, found.hits, found.with_truth, dict(found.failed)) == (2, 2 * 560, 0, {})
    assert list(change.alone) == ["embedding", "filter", "gnn"] and list(change.edges) == ["graph", "filter", "gnn"]
    for stage in change.alone.values():
        assert stage.scores.largest == 0 and stage.decisions.flipped == 0 and stage.decisions.decided > 0
    assert all(edges.gained == edges.lost == 0 < edges.edges for edges in change.edges.values())
    assert change.alone["filter"].decisions.decided == change.edges["graph"].edges
    assert change.alone["gnn"].decisions.decided == change.edges["filter"].edges == change.gnn.decisions.decided
    assert change.tracks.moved == 0 < change.tracks.tracks
    assert change.truth is None and "truth" not in change.to_dict()


@pytest.mark.parametrize("engine", [Ruler, Streaming])
@pytest.mark.parametrize("stage", ["filter", "gnn"])
@pytest.mark.parametrize("outside", [False, True])
def test_a_single_edge_that_is_moved_is_seen(engine, stage, outside, rng):
    event, base = made_up(rng), pipeline(engine())
    tracks = base.run(event, keep_graphs=True)
    x = node_features(event, SPEC.features)
    logits = getattr(base.engine, stage)(x, tracks.graphs[stage]) - logit_of_cut(SPEC.needed_cut(stage))
    at = int(np.argmax(logits)) if outside else int(np.argmin(logits))
    edge = tuple(sorted(int(hit) for hit in tracks.graphs[stage][:, at]))
    move = -float(logits[at]) - 0.25
    band = float(logits[at]) * (0.5 if outside else 2.0)
    mutant = pipeline(engine({stage: {edge: move}}))
    change = compare_event(base, {"mutant": mutant}, event, Bands(logit=band), Selection())["mutant"]
    own = change.alone[stage]
    assert own.scores.largest == pytest.approx(-move, abs=1e-6)
    assert (own.decisions.gained, own.decisions.lost, own.decisions.outside) == (0, 1, int(outside))
    assert own.decisions.farthest == pytest.approx(logits[at], abs=1e-6)
    assert change.edges[stage] == EdgeChanges(tracks.graphs[stage].shape[1], 0, 1, 0)
    other = "gnn" if stage == "filter" else "filter"
    assert change.alone[other].decisions.flipped == 0 and change.alone[other].scores.largest == 0
    assert change.alone["embedding"].scores.largest == 0
    whole = (change.gnn.decisions.lost, change.gnn.scores.largest)
    assert whole == ((1, pytest.approx(-move, abs=1e-6)) if stage == "gnn" else (0, 0.0))
    if stage == "filter":  # the GNN would have passed it: it is lost there too, and not by the GNN
        assert change.edges["gnn"].lost == change.edges["gnn"].follow == int(outside)


def test_an_embedding_that_moves_changes_pairs_and_what_follows(rng):
    event, base = made_up(rng), pipeline(Streaming())
    moved = pipeline(Streaming(shift=2e-5))
    change = compare_event(base, {"moved": moved}, event, Bands(), Selection())["moved"]
    graphs = [{frozenset(edge) for edge in one.run(event, keep_graphs=True).graphs["graph"].T.tolist()} for one in (base, moved)]
    gained, lost = len(graphs[1] - graphs[0]), len(graphs[0] - graphs[1])
    assert gained + lost > 0
    assert change.edges["graph"] == EdgeChanges(len(graphs[0]), gained, lost, 0)
    decisions = change.alone["embedding"].decisions
    assert (decisions.decided, decisions.gained, decisions.lost) == (len(graphs[0] | graphs[1]), gained, lost)
    assert change.alone["filter"].scores.largest == change.alone["gnn"].scores.largest == 0  # same inputs, same networks
    filtered = change.edges["filter"]
    assert filtered.follow == filtered.gained + filtered.lost


def test_the_filter_is_compared_in_pieces_and_at_once_alike(rng, monkeypatch):
    event = made_up(rng, tracks=80)
    x = node_features(event, SPEC.features)
    monkeypatch.setattr(alone, "pair_stream", partial(pair_stream, task_pairs=500))
    move = {"filter": dict.fromkeys(itertools.combinations(range(60), 2), -9.0)}
    found = []
    for engine, at_once in ((Ruler, False), (Streaming, False), (Ruler, True)):
        monkeypatch.setattr(FilterSpec, "looks_at_all_rows", at_once)
        one, other = (pipeline(engine(moves)) for moves in (None, move))
        (change, flips) = filter_changes(one, {"b": other}, event, x, one.engine.embed(x), 0.5)["b"]
        found.append((change.to_dict(), sorted(flips.tolist())))
        assert change.decisions.lost == len(flips) > 0
    assert found[0] == found[1] == found[2]


def test_a_precision_that_overflows_is_given_up_and_the_others_are_not(rng):
    class Overflows(Streaming):
        def __init__(self, stage):
            super().__init__()
            self.stage = stage

        def logit(self, x, edge_index, slope, stage):
            logits = super().logit(x, edge_index, slope, stage)
            return np.full_like(logits, np.nan) if stage == self.stage else logits

    others = {"a": pipeline(Overflows("filter")), "b": pipeline(Streaming()), "c": pipeline(Overflows("gnn"))}
    found = compare_events(pipeline(Streaming()), others, [made_up(rng), made_up(rng, number=6)])
    assert list(found.changes) == ["b"] and sorted(found.failed) == ["a", "c"]
    assert "event 5: stage filter" in found.failed["a"] and "NaN" in found.failed["c"]
    assert found.events == 2
    with pytest.raises(BundleError, match="NaN"):
        compare_events(pipeline(Overflows("gnn")), {"b": pipeline(Streaming())}, [made_up(rng)])


def test_events_without_hits(rng):
    empty = Event(1, np.empty(0, np.int64), np.empty((0, 3), np.float32))
    lonely = Event(2, np.array([1]), np.array([[30.0, 0, 0]], np.float32))
    found = compare_events(pipeline(Streaming()), {"b": pipeline(Streaming())}, [empty, lonely, made_up(rng)])
    assert (found.events, found.changes["b"].tracks.moved, dict(found.failed)) == (3, 0, {})
    nothing = compare_events(pipeline(Streaming()), {"b": pipeline(Streaming())}, [empty])
    assert nothing.changes["b"].edges["filter"] == EdgeChanges()
    json.dumps(nothing.changes["b"].to_dict(), allow_nan=False)


@pytest.mark.parametrize("first", ["host", "device"])
def test_an_engine_on_a_device_is_compared_as_any_other(first, tiny_bundle):
    torch = pytest.importorskip("torch", reason="not checked: needs torch")
    from trkx.runtime.cuda.engines.table import open_device_engine
    from trkx.runtime.cuda.path import DevicePipeline

    opened = Bundle.open(tiny_bundle)
    engine = open_device_engine("torch-cuda", opened, torch.device("cpu"), "fp32")
    device = DevicePipeline(opened.spec, engine, "grid", "union_find", 1)
    pair = (Pipeline.open(tiny_bundle, threads=1), device)
    base, other = pair if first == "host" else pair[::-1]
    if first == "device":
        base.run = DevicePipeline(opened.spec, engine, "grid", "union_find", 1).run
        base.neighbours = "triton"  # there; a comparison finds the same pairs here
    change = compare_events(base, {"b": other}, small_events(1)).changes["b"]
    for stage, one in change.alone.items():
        assert one.scores.largest < 1e-4 and one.decisions.decided > 0 == one.decisions.outside, stage
    assert change.edges["filter"].edges > 0 and change.tracks.hits > 0


def test_without_a_filter(rng):
    spec = replace(SPEC, filter=None, cuts=CutSpec(gnn=0.6), graph=GraphSpec(radius=0.1))
    event = made_up(rng)
    change = compare_event(pipeline(Ruler(), spec), {"b": pipeline(Ruler(), spec)}, event, Bands(), Selection())["b"]
    assert list(change.alone) == ["embedding", "gnn"] and list(change.edges) == ["graph", "gnn"]
    assert change.alone["gnn"].decisions.decided == change.edges["graph"].edges > 0


def test_changes_of_events_add_up(rng):
    base, other = pipeline(Streaming()), pipeline(Streaming(shift=2e-5))
    made = [made_up(rng, number=number) for number in (1, 2, 3)]
    whole = compare_events(base, {"b": other}, made).changes["b"]
    parts = [compare_event(base, {"b": other}, one, Bands(), Selection())["b"] for one in made]
    assert sum(parts, Changes()).to_dict() == whole.to_dict()
    assert whole.edges["graph"].gained == sum(one.edges["graph"].gained for one in parts) > 0


# --- what is advised ------------------------------------------------------------------------------------------------------


def change_of(outside, *, lost=0, particles=10_000):
    stage = StageChange(Differences(), Decisions(100_000, outside, 0, outside, 1.0))
    return Changes({"gnn": stage}, truth=TruthChanges(events=1, particles=particles, lost=lost))


def time_of(seconds):
    return {"gnn": StageTime((seconds,), 0)}


@pytest.mark.parametrize("outside, lost, seconds, wanted, why", [
    (4, 0, 0.5, "bf16", "will do"),
    (5, 0, 0.5, "fp32", "too few decisions to tell: up to 0.0105 % may flip"),
    (10, 0, 0.5, "fp32", "too few decisions to tell"),
    (11, 0, 0.5, "fp32", "more than 0.01 % of its decisions flip outside the band"),
    (0, 0, 0.96, "fp32", "not 5 % faster"),
    (0, 9, 0.5, "fp32", "keeps the efficiency"),  # -0.09 %, but 0 is outside its interval
    (0, 2, 0.5, "bf16", "will do"),
    (0, 1000, 0.5, "fp32", "keeps the efficiency"),
])
def test_rule(outside, lost, seconds, wanted, why):
    names = {"fp32": "fp32", "bf16": "bf16"}
    times = {"fp32": time_of(1.0), "bf16": time_of(seconds)}
    (one,) = advice(names, {"bf16": change_of(outside, lost=lost)}, times, Rule())
    assert (one.stage, one.precision) == ("gnn", wanted)
    assert len(one.why) == 1 and why in one.why[0]


@pytest.mark.parametrize("decided, will_do", [(0, False), (47, False), (29_000, False), (30_000, True)])
def test_few_decisions_tell_nothing(decided, will_do):
    """Neither those of an event without hits, nor of a small one without truth, where no efficiency would stop it."""
    change = Changes({"gnn": StageChange(Differences(), Decisions(decided, 0, 0, 0, 0.0))})
    times = {"fp32": time_of(1.0), "bf16": time_of(0.5)}
    (one,) = advice({"fp32": "fp32", "bf16": "bf16"}, {"bf16": change}, times, Rule())
    assert one.precision == ("bf16" if will_do else "fp32")
    assert ("too few decisions to tell" in one.why[0]) != will_do


def test_truth_without_a_particle_tells_nothing():
    times = {"fp32": time_of(1.0), "bf16": time_of(0.5)}
    (one,) = advice({"fp32": "fp32", "bf16": "bf16"}, {"bf16": change_of(0, particles=0)}, times, Rule())
    assert one.precision == "fp32" and "no particle passes the cuts" in one.why[0]


def test_a_small_sample_that_loses_too_much_does_not_do():
    times = {"fp32": time_of(1.0), "bf16": time_of(0.5)}
    change = change_of(0, lost=1, particles=500)  # -0.2 %: compatible with 0, and below -0.1 %
    assert change.truth.efficiency.high > 0
    assert advice({"fp32": "fp32", "bf16": "bf16"}, {"bf16": change}, times, Rule())[0].precision == "fp32"


@pytest.mark.parametrize("particles, enough", [(20, False), (90, False), (200, True)])
def test_too_few_events_are_said_and_change_nothing(particles, enough):
    times = {"fp32": time_of(1.0), "bf16": time_of(0.5)}
    change = change_of(0, particles=particles)
    truth = change.truth.efficiency
    assert (truth.high - truth.low <= 0.04) == enough
    (one,) = advice({"fp32": "fp32", "bf16": "bf16"}, {"bf16": change}, times, Rule())
    assert one.precision == ("bf16" if enough else "fp32")
    assert ("too few events to tell: the efficiency is known to ±" in one.why[0]) == (not enough)


def test_one_run_with_the_precision_and_its_efficiency_is_enough():
    names = {"fp32": "fp32", "bf16": "bf16", "mixed": "mixed"}
    times = {"fp32": time_of(1.0), "bf16": time_of(0.5), "mixed": time_of(0.5)}
    changes = {"bf16": change_of(0, lost=1000), "mixed": change_of(0)}
    (one,) = advice(names, changes, times, Rule())
    assert one.precision == "bf16" and "in the run mixed" in one.why[0]


def test_the_fastest_wins_and_what_is_emulated_never_does():
    names = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    times = {"fp32": time_of(1.0), "bf16": time_of(0.6), "fp16": time_of(0.5)}
    changes = {"bf16": change_of(0), "fp16": change_of(0)}
    assert advice(names, changes, times, Rule())[0].precision == "fp16"
    assert advice(names, dict(reversed(changes.items())), times, Rule())[0].precision == "fp16"
    (one,) = advice(names, changes, times, Rule(), emulated=("fp16",))
    assert one.precision == "bf16" and "x as fast" in one.why[0]
    assert one.why[1].startswith("fp16: accurate enough, not timed: computed in float32 on this machine (0 % ")
    assert "efficiency +0.00 percentage points (" in one.why[1] and "as fast" not in one.why[1]
    (wrong,) = advice(names, changes | {"fp16": change_of(999)}, times, Rule(), emulated=("fp16",))
    assert wrong.why[1].startswith("fp16: no; more than 0.01 % of its decisions flip outside the band; computed in float32")
    (other,) = advice(names, changes, times, Rule(), emulated=("fp32",))  # the first: nothing can be said to be faster
    assert other.precision == "fp32" and other.why[0].startswith("bf16: accurate enough, not timed: fp32 is computed in float32")
    (untimed,) = advice(names, changes, {}, Rule())
    assert untimed.precision == "fp32" and "no time" in untimed.why[0]


@pytest.mark.parametrize("precision, engine, message", [
    ("fp32", "tiled", "two or more"), ("fp32,fp32", "tiled", "twice"), ("fp32,int4", "tiled", "unknown precision"),
    ("fp32,", "tiled", "unknown precision"), ("fp32,fliter=bf16", "tiled", "unknown stage"),
    ("fp32", "tiled,tiled", "--engine 'tiled,tiled': tiled stands there twice"),
])
def test_lists_of_runs_that_make_no_sense(precision, engine, message):
    with pytest.raises(SpecError, match=message):
        named_runs(precision, engine)


@pytest.mark.parametrize("engine", ["tiled", "tiled,onnxruntime", "eager"])
@pytest.mark.parametrize("precision", ["fp32,gnn=bf16", "fp32,mixed,filter=fp16+gnn=bf16"])
def test_a_stage_that_the_bundle_lacks_has_no_precision(precision, engine):
    with pytest.raises(SpecError, match="this bundle has no gnn; its stages are embedding, filter: name those"):
        named_runs(precision, engine, ("embedding", "filter"))
    assert list(named_runs("fp32,mixed,filter=bf16", present=("embedding", "filter"))) == ["fp32", "mixed", "filter=bf16"]


def test_lists_of_runs():
    found = named_runs("fp32, mixed,filter=bf16+gnn=tf32")
    assert {name: run.precision for name, run in found.items()} == {
        "fp32": "fp32", "mixed": "mixed", "filter=bf16+gnn=tf32": "filter=bf16,gnn=tf32"
    }
    assert {run.engine for run in found.values()} == {"tiled"}
    assert "filter=bf16+gnn=tf32" in emulated_here(found) and emulated_words("tiled", "tf32") == ("tf32",)
    assert emulated_words("tiled", "fp32") == emulated_words("triton", "bf16") == ()
    both = named_runs("fp32,fp16", "tiled, onnxruntime")
    assert list(both) == ["tiled fp32", "tiled fp16", "onnxruntime fp32", "onnxruntime fp16"]
    assert both["onnxruntime fp16"] == Run("onnxruntime", "fp16")
    assert list(named_runs("fp32", "tiled,onnxruntime")) == ["tiled fp32", "onnxruntime fp32"]


def test_float16_of_onnxruntime_is_native_on_arm_only(monkeypatch):
    for machine, wanted in (("x86_64", ("fp16",)), ("aarch64", ())):
        monkeypatch.setattr("trkx.runtime.compare.runs.platform.machine", lambda machine=machine: machine)
        assert emulated_words("onnxruntime", "filter=fp16") == wanted


def test_what_cannot_be_opened(tiny_bundle):
    setting = Setting(str(tiny_bundle), threads=1)
    opened, refused = open_runs(setting, named_runs("fp32,fp16", "tiled,onnxruntime"))
    assert list(opened) == ["tiled fp32", "tiled fp16", "onnxruntime fp32"]
    assert "needs ONNX files that the bundle lacks: embedding in float16" in refused["onnxruntime fp16"]
    for runs in (named_runs("fp32,fp16", "onnxruntime"), named_runs("fp16,fp32", "onnxruntime,tiled")):
        with pytest.raises(BundleError, match="lacks"):  # one engine; or the first, with which all are compared
            open_runs(setting, runs)
    with pytest.raises(SpecError, match=r"nothing can be compared with tiled fp16: .*bundle lacks"):
        open_runs(setting, named_runs("fp16", "tiled,onnxruntime"))
    with pytest.raises(SpecError, match="unknown engine 'tilde'"):
        open_runs(setting, named_runs("fp32,fp16", "tilde"))


def comparison_of(runs, seconds, **changes):
    peaks = {"gnn": 1_000_000, "all": 2_000_000}
    times = {name: {stage: StageTime((one,), peak) for stage, peak in peaks.items()} for name, one in seconds.items()}
    fields = {"found": Found(1, 100, 0, {name: change_of(0) for name in list(runs)[1:]}), "times": Times(times)}
    values = {"title": "tiny", "runs": runs, "bands": Bands(), "selection": Selection(), "rule": Rule(), **fields, **changes}
    return Comparison(**values)


def test_advice_is_given_engine_by_engine():
    runs = named_runs("fp32,bf16", "triton,torch-cuda")
    seconds = {"triton fp32": 1.0, "triton bf16": 0.5, "torch-cuda fp32": 4.0, "torch-cuda bf16": 3.0}
    found = comparison_of(runs, seconds)
    assert [(one.engine, one.precision, one.run, one.seconds) for one in found.advice] == [
        ("triton", "gnn=bf16", "", None), ("torch-cuda", "gnn=bf16", "", None)  # only the GNN was compared: not a whole run
    ]
    assert found.fastest is None
    found = replace(found, inputs="'my bundle' held", device="cuda:1")
    lines = recommendation(found)
    assert [(line.kind, line.text) for line in lines if line.kind != "why"][:6] == [
        ("engine", "Engine triton"), ("network", "gnn: bf16"), ("label", "To run events as recommended with triton:"),
        ("command", "trkx run 'my bundle' held --out tracks --engine triton --device cuda:1 --precision gnn=bf16"),
        ("label", "These precisions were not compared together. To do so first:"),
        ("command", "trkx compare 'my bundle' held --engine triton --device cuda:1 --precision fp32,gnn=bf16"),
    ]
    why = [line.text for line in lines if line.kind == "why"]
    assert "bf16: will do" in why[0] and "2.00 x as fast" in why[0] and "1.33 x as fast" in why[1]
    assert found.rule_in_words.count("the first run of its engine") == 2
    slow = comparison_of(runs, {**seconds, "triton bf16": 1.0, "torch-cuda bf16": 4.0})
    assert slow.fastest.engine == "triton"
    assert recommendation(slow)[-1].text == "Fastest of these as timed here: triton fp32, 4.00 times as fast as torch-cuda fp32."
    plain = slow.to_dict()["recommendation"]
    assert (plain["fastest"], [one["engine"] for one in plain["engines"]]) == ("triton", ["triton", "torch-cuda"])


def emulate(monkeypatch, *words):
    def emulated(engine, precision):
        return tuple(sorted({*words} & {*precisions(precision).values()})) if engine == "tiled" else ()

    for module in ("runs", "report", "advised"):
        monkeypatch.setattr(f"trkx.runtime.compare.{module}.emulated_words", emulated)


def test_what_is_computed_in_float32_has_no_factor(monkeypatch):
    emulate(monkeypatch, "fp16")
    runs = named_runs("fp32,bf16,gnn=fp16")
    found = comparison_of(runs, {"fp32": 1.0, "bf16": 0.5, "gnn=fp16": 0.8})
    assert found.faster("bf16", "gnn") == 2.0 and found.faster("bf16", "nothing") is None
    assert found.faster("gnn=fp16", "gnn") is found.faster("gnn=fp16", "all") is None
    graph = {name: {**own, "graph": own["gnn"]} for name, own in found.times.stages.items()}
    assert replace(found, times=Times(graph)).faster("gnn=fp16", "graph") == 1.25  # a stage that is no network
    (sheet,) = (sheet for sheet in sheets(found) if sheet.title == "Time (ms)")
    assert sheet.rows[0] == ("gnn", "1,000.0", "500.0 (2.00)", "800.0")
    assert "fp16: computed in float32 on this machine; such times say nothing, and have no factor" in sheet.note
    lines = recommendation(found)
    assert [line.text for line in lines if line.kind == "command"] == [
        "trkx compare BUNDLE EVENTS --engine triton --precision fp32,gnn=fp16",
        "trkx run BUNDLE EVENTS --out tracks --precision gnn=bf16",
        "trkx compare BUNDLE EVENTS --precision fp32,gnn=bf16",
    ]
    other = comparison_of(named_runs("gnn=fp16,fp32"), {"gnn=fp16": 1.0, "fp32": 0.5})
    assert other.faster("fp32", "gnn") is None  # as fast as what? the first is not timed rightly


def test_changes_are_percentage_points():
    runs = named_runs("fp32,bf16")
    changes = {"bf16": replace(change_of(0), truth=TruthChanges(1, 10_000, 9000, 8900, 0, 100, 10, 10))}
    found = comparison_of(runs, {}, found=Found(1, 100, 1, changes))
    sheet = sheets(found)[-1]
    assert sheet.head[5] == sheet.head[8] == POINTS == "change in percentage points (95 %)"
    assert sheet.rows[0][5].startswith("-1.000 (-1.2") and "%" not in sheet.rows[0][5]
    assert "±2 percentage points) and, by its central value, not below -0.1 percentage points" in found.rule_in_words


def test_pictures_say_what_is_in_them(monkeypatch):
    pytest.importorskip("mplhep", reason="not checked: needs mplhep")
    from matplotlib.figure import Figure

    from trkx.runtime.compare import plots

    emulate(monkeypatch, "fp16")
    seconds = {"fp32": 1.0, "bf16": 0.5, "fp16": 0.7}
    apart = Differences.between(np.zeros(9, np.float32), np.arange(9, dtype=np.float32))
    stage = StageChange(apart, Decisions(9, 1, 1, 1, 1.0))
    many = replace(stage, decisions=Decisions(9_000_000, 999_999, 0, 999_999, 1.0))
    change = Changes({"filter": many, "gnn": stage}, {"filter": EdgeChanges(9, 1, 2, 1), "gnn": EdgeChanges(9, 1, 2, 1)},
                     truth=TruthChanges(1, 100, 90, 90, 1, 1, 9, 9))
    found = comparison_of(named_runs("fp32,bf16,fp16"), seconds, found=Found(1, 9, 1, {"bf16": change, "fp16": change}))
    legends, drawn = {}, {}
    for name in ("times", "differences", "decisions", "efficiency"):
        drawn[name] = Figure(figsize=(9, 4))
        getattr(plots, f"draw_{name}")(drawn[name], found)
        legends[name] = [text.get_text() for text in drawn[name].legends[0].get_texts()]
    assert legends["times"] == ["fp32", "bf16", "fp16", "computed in\nfloat32 here"]
    assert legends["differences"][-1] == "half width of the band"
    assert legends["efficiency"] == ["95 % interval", "no change", "largest loss allowed (central value)"]
    axes = drawn["times"].axes[0]
    assert [text.get_text().strip() for text in axes.texts] == ["2.00", "2.00"]  # bf16, in both stages; however small the bar
    hatched = [bar.get_hatch() for bar in axes.patches]
    assert hatched == [None] * 4 + ["////"] * 2
    turned = {text.get_rotation() for panel in drawn["decisions"].axes for text in panel.texts}
    assert turned == {90.0}  # in the panel of small numbers too
    assert all("percentage points" in panel.get_xlabel() for panel in drawn["efficiency"].axes)
    captions = {name: caption for name, (_, caption) in plots.pictures(found).items()}
    assert "Hatched and paler: computed in float32 on this machine" in captions["times"]
    assert "percentage points" in captions["efficiency"] and "central value" in captions["efficiency"]


def test_an_engine_of_which_nothing_ran_is_not_advised():
    runs = {"tiled fp32": Run("tiled", "fp32"), "tiled bf16": Run("tiled", "bf16"), "tensorrt fp16": Run("tensorrt", "fp16")}
    found = comparison_of(runs, {}, refused={"tensorrt fp16": "no GPU"}, found=Found(1, 100, 0, {"tiled bf16": change_of(0)}))
    assert [(one.engine, one.stages) for one in found.advice][1] == ("tensorrt", ())
    assert "No other precision of it could be compared." in [line.text for line in recommendation(found)]
    assert found.failed == {"tensorrt fp16": "no GPU"} and found.to_dict()["runs"]["tensorrt fp16"]["failed"] == "no GPU"


def test_many_runs_are_lines_of_the_tables_of_times_and_memory():
    few, many = (named_runs(",".join(("fp32", "tf32", "bf16", "fp16", "mixed", "gnn=bf16")[:count])) for count in (5, 6))
    for place, title in enumerate(("Time (ms)", "Peak memory (MB)")):
        narrow, wide = (sheets(comparison_of(runs, dict.fromkeys(runs, 1.0)))[place] for runs in (few, many))
        assert narrow.title == wide.title == title
        assert narrow.head == ("stage", *few) and [row[0] for row in narrow.rows] == ["gnn", "all stages"]
        assert wide.head == ("precision", "gnn", "all stages")
        assert [row[0] for row in wide.rows] == list(many)
        shown = [cell.split(" ")[0] for cell in narrow.rows[0][1:]], [cell.split(" ")[0] for cell in narrow.rows[1][1:]]
        assert shown == ((["1,000.0"] * 5, ["1,000.0"] * 5), (["1"] * 5, ["2"] * 5))[place]
        assert [tuple(cell.split(" ")[0] for cell in row[1:]) for row in wide.rows] == [(shown[0][0], shown[1][0])] * 6


def test_sheets_fit_a_terminal_with_every_cell(rng):
    base, event = pipeline(Streaming()), made_up(rng)
    event = replace(event, truth=None)
    found = compare_events(base, {name: pipeline(Streaming(shift=1e-6)) for name in ("tf32", "filter=bf16+gnn=tf32")}, [event])
    runs = {"fp32": Run("tiled", "fp32"), **{name: Run("tiled", name.replace("+", ",")) for name in found.changes}}
    made = sheets(comparison_of(runs, dict.fromkeys(runs, 1.0), found=found))
    assert [sheet.words for sheet in made] == [1, 1, 2, 2, 1]
    for sheet in made:
        for width in (60, 80, 200):
            console = Console(file=io.StringIO(), width=width)
            console.print(sheet.table())
            lines = console.file.getvalue().splitlines()
            assert max(map(len, lines)) <= width and "…" not in console.file.getvalue()
            tokens = Counter(" ".join(lines).split())
            wanted = Counter(token for row in sheet.rows for cell in row[sheet.words:] for token in cell.split())
            assert not wanted - tokens, sheet.title  # as often as in the sheet
            assert all({*" ".join(row[: sheet.words]).split()} <= {*tokens} for row in sheet.rows)


def test_sizes_of_pictures_follow_what_they_show(monkeypatch):
    from PIL import Image

    from trkx.runtime.compare.plots import pictures

    pytest.importorskip("mplhep", reason="not checked: needs mplhep")
    monkeypatch.setattr("trkx.runtime.compare.plots.DPI", 30)
    sizes = {}
    for count in (2, 6):
        runs = named_runs(",".join(("fp32", "tf32", "bf16", "fp16", "mixed", "filter=bf16+gnn=tf32")[:count]))
        changes = {name: replace(change_of(0), edges={"gnn": EdgeChanges(9, 1, 2, 1)}) for name in list(runs)[1:]}
        drawn = pictures(comparison_of(runs, dict.fromkeys(runs, 1.0), found=Found(1, 100, 1, changes)))
        assert list(drawn) == ["times", "differences", "decisions", "efficiency"]
        assert "Dashed: the largest loss" in drawn["efficiency"][1]
        sizes[count] = {name: Image.open(io.BytesIO(data)).size for name, (data, _) in drawn.items()}
    assert sizes[6]["efficiency"][1] > sizes[2]["efficiency"][1] and sizes[6]["times"][0] >= sizes[2]["times"][0]
    assert sizes[6]["differences"][1] > sizes[2]["differences"][1]  # names of runs stand below, two lines of them


# --- the command ----------------------------------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def events(tmp_path):
    for one in small_events(2):
        write_event_parquet(tmp_path / "events", one)
    return tmp_path / "events"


def test_command(events, tiny_bundle, tmp_path):
    out = tmp_path / "out"
    result = run(tiny_bundle, events, "--precision", "fp32,bf16", "--threads", 1, "--rounds", 1, "--out", out)
    assert result.exit_code == 0, result.output
    for word in ("embedding", "labelling", "all stages", "difference", "Inside the band", "That follow", "Recommendation",
                 f"trkx run {tiny_bundle} {events} --out tracks --precision ", "To run events as recommended:", "are left out",
                 "Peak memory (MB)"):
        assert word in " ".join(result.stdout.split())
    assert "Efficiency and fake rate" not in result.stdout
    copied = ("trkx ", "wrote")  # paths and commands to copy are not broken
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if not line.startswith(copied))
    names = ["compare.html", "compare.json", "decisions.png", "differences.png", "times.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    found = json.loads((out / "compare.json").read_text())
    assert (found["reference"], found["events"], found["events_with_truth"]) == ("fp32", 2, 0)
    assert found["recommendation"]["stages"][0]["stage"] == "embedding"
    assert set(found["runs"]["fp32"]["times"]) == {"features", "embedding", "graph", "filter", "gnn", "labelling", "all"}
    assert all(len(time["seconds"]) == 2 and time["peak_bytes"] > 1 << 20 for time in found["runs"]["bf16"]["times"].values())
    change = found["runs"]["bf16"]["changes"]
    assert change["alone"]["gnn"]["scores"]["largest"] > 1e-4 and "truth" not in change
    page = (out / "compare.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "are left out" in page and "<p class='network'><b>gnn: " in page and "<p class='why'>bf16: " in page
    assert f"<pre>trkx run {tiny_bundle} {events} --out tracks --precision " in page


@pytest.mark.filterwarnings("default::trkx.errors.TrkxWarning")  # of ranges: the event is a toy
def test_command_with_truth_and_without_times(tiny_bundle, tmp_path):
    event = event_of(np.repeat(np.arange(1, 9), 6))
    write_event_parquet(tmp_path / "events", event)
    arguments = ("--precision", "fp32,mixed", "--threads", 1, "--rounds", 0, "--out", tmp_path / "o")
    result = run(tiny_bundle, tmp_path / "events", *arguments)
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "Efficiency and fake rate" in told and "left out" not in told and "no time was measured" in told
    assert "nothing is recommended" in told and "trkx run" not in told and "8 charged particles" in told
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert found["runs"]["mixed"]["changes"]["truth"]["particles"] == 8 and found["runs"]["mixed"]["times"] == {}
    assert (tmp_path / "o" / "efficiency.png").is_file() and not (tmp_path / "o" / "times.png").exists()


@pytest.mark.filterwarnings("default::trkx.errors.TrkxWarning")
def test_command_without_matplotlib(events, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mplhep", None)
    result = run(tiny_bundle, events, "--precision", "fp32,bf16", "--threads", 1, "--rounds", 0, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.html", "compare.json"]
    assert "no pictures" in result.stderr and "No pictures" in (tmp_path / "out" / "compare.html").read_text()


@pytest.mark.parametrize("more, message", [
    (("--precision", "fp32"), "two or more"), (("--engine", "eager", "--precision", "fp32,bf16"), "runs in fp32 only"),
    (("--engine", "onnxruntime", "--precision", "fp32,fp16"), "Export it again: export-models … --precision fp16."),
])
def test_command_refuses(more, message, events, tiny_bundle):
    result = run(tiny_bundle, events, *more)
    assert result.exit_code == 1 and message in result.stderr


def test_command_refuses_a_precision_of_a_network_that_is_not_there(events, tiny_bundle, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    manifest = Bundle.open(tiny_bundle).manifest
    spec = replace(manifest.spec, gnn=None, cuts=CutSpec(filter=0.3))
    files = tuple(file for file in manifest.files if file.stage != "gnn")
    write_manifest(tmp_path / "bundle", replace(manifest, spec=spec, files=files))
    for engine in ("tiled", "tiled,onnxruntime"):
        result = run(tmp_path / "bundle", events, "--engine", engine, "--precision", "fp32,gnn=bf16")
        assert result.exit_code == 1 and "precision 'gnn=bf16': this bundle has no gnn" in result.stderr


def test_command_with_engines(events, half_bundle, tmp_path):
    arguments = ("--engine", "tiled,onnxruntime", "--precision", "fp32,fp16,mixed", "--threads", 1, "--rounds", 1)
    result = run(half_bundle, events, *arguments, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    assert "compared with tiled fp32" in result.stdout and "Engine onnxruntime" in result.stdout
    assert "onnxruntime mixed was given up" in result.stdout
    assert "does not run in bf16 on a CPU" in " ".join(result.stdout.split())
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert (found["engine"], found["reference"]) == ("tiled,onnxruntime", "tiled fp32")
    runs = found["runs"]
    assert runs["onnxruntime mixed"]["failed"] and runs["onnxruntime mixed"]["changes"] is None
    assert set(runs["onnxruntime fp16"]["times"]) == set(runs["tiled fp32"]["times"])
    largest = {name: one["changes"]["alone"]["gnn"]["scores"]["largest"] for name, one in runs.items() if one["changes"]}
    assert 0 <= largest["onnxruntime fp32"] < 1e-4 < largest["onnxruntime fp16"] < 0.1  # other rounding, then other files
    assert [one["engine"] for one in found["recommendation"]["engines"]] == ["tiled", "onnxruntime"]


def test_names_in_the_page_are_text(tiny_bundle):
    from trkx.runtime.compare.html import html_page

    evil = Comparison("<script>alert(1)</script>", named_runs("fp32,bf16"),
                      Found(1, 2, 0, {}, {"bf16": "<img src=x onerror='a'>"}), Times(), Bands(), Selection(), Rule())
    page = html_page(evil, {})
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page and "given up" in page
    error = "can't be loaded ([ONNXRuntimeError] : 9 : \x1b[31m\u202e)"
    page = html_page(replace(evil, found=replace(evil.found, failed={"bf16": error})), {})
    assert "[ONNXRuntimeError] : 9 : \\x1b[31m\\u202e)" in page and "\x1b" not in page and "\u202e" not in page


def test_it_needs_no_torch(events, tiny_bundle):
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom trkx.cli import app\n"
        f"words = ['compare', {str(tiny_bundle)!r}, {str(events)!r}, '--precision', 'fp32,bf16', '--rounds', '0']\n"
        "r = CliRunner().invoke(app, words)\n"
        "assert r.exit_code == 0, r.output\nassert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
