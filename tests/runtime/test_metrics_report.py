"""Selection, intervals, bins, and the report of many events."""

import dataclasses
import json
import math

import numpy as np
import pytest
from truth_events import event_of, tracks_of

from trkx.errors import InputError, SpecError, TrkxError, TrkxWarning
from trkx.runtime.metrics.binning import AXES, fill
from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.matching import RULES
from trkx.runtime.metrics.report import Report, evaluate_event
from trkx.runtime.metrics.selection import Selection, select_particles

A, B, C = 100, 200, 300


@pytest.mark.parametrize(
    ("found", "total", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 1 - 0.1585**0.1),  # closed forms at the ends
        (10, 10, 0.1585**0.1, 1.0),
        (1, 2, 1 - math.sqrt(1 - 0.1585), math.sqrt(1 - 0.1585)),  # P(X >= 1) and P(X <= 1) for two trials
    ],
)
def test_clopper_pearson(found, total, low, high):
    assert [float(end) for end in clopper_pearson(found, total)] == pytest.approx([low, high], abs=1e-12)


def test_clopper_pearson_covers(rng):
    truth, trials = 0.93, 60
    found = rng.binomial(trials, truth, 4000)
    low, high = clopper_pearson(found, np.full(4000, trials))
    assert 0.683 <= np.mean((low <= truth) & (truth <= high)) < 0.85
    assert (low <= found / trials).all()
    assert (high >= found / trials).all()


@pytest.mark.parametrize(("found", "total", "level"), [(3, 2, 0.683), (-1, 2, 0.683), (1, 2, 1.0), (1, 2, 0.0)])
def test_clopper_pearson_refuses(found, total, level):
    with pytest.raises(InputError):
        clopper_pearson(found, total, level)


# A passes all default cuts; each change makes it fail exactly one.
@pytest.mark.parametrize(
    ("selection", "event"),
    [
        ({}, {"pt": {A: 0.9}}),
        ({}, {"pt": {A: 0.4}}),
        ({}, {"eta": {A: -3.01}}),
        ({}, {"charge": {A: 0.0}}),
        ({"pt_max": 1.5}, {}),
        ({"vertex_r_max": 20.0}, {"vertex": {A: 25.0}}),
        ({"vertex_z_max": 20.0}, {"vertex_z": 25.0}),
        ({"exclude_pdg": (11, 211)}, {}),
        ({"min_hits_particle": 5}, {}),
    ],
)
def test_each_cut_cuts(selection, event):
    def passes(cuts, values):
        z = values.pop("vertex_z", 0.0)
        made = event_of([A, A, A, A], **values)
        made.truth.particles.vertex[:, 2] = z
        return select_particles(made, np.array([A]), np.array([4]), Selection(**cuts)).mask.tolist()

    assert passes({}, {}) == [True]
    assert passes(selection, dict(event)) == [False]


def test_a_particle_without_a_row_never_passes():
    with pytest.warns(TrkxWarning, match=rf"event 1 \(toy\): 1 of 2 particles with hits are not in .* the first is {B};"):
        selected = select_particles(event_of([A, A]), np.array([A, B]), np.array([9, 9]), Selection())
    assert selected.mask.tolist() == [True, False]
    assert np.isnan(selected.pt[1])


@pytest.mark.parametrize(
    "values",
    [{"pt_min": 2.0, "pt_max": 1.0}, {"eta_max": 0.0}, {"min_hits_track": 0}, {"min_hits_particle": 0}, {"vertex_r_max": -1.0}],
)
def test_selection_that_makes_no_sense(values):
    with pytest.raises(SpecError):
        Selection(**values)


def test_words_name_every_cut():
    words = Selection(pt_max=5.0, vertex_r_max=30.0, vertex_z_max=200.0, exclude_pdg=(11,), min_hits_track=7).describe()
    for part in ("0.9 < pT < 5", "|eta| < 3", "r < 30", "|z| < 200", "11", "at least 4 hits", "at least 7 hits", "charged"):
        assert part in words


def test_bins_keep_every_particle():
    edges = AXES["eta"].edges
    values = np.array([-99.0, edges[0], edges[1], -0.01, 0.0, edges[-1], 99.0])
    binned = fill("eta", values, {"lhc": values > 0})
    assert sum(binned.total) == len(values)
    assert sum(binned.found["lhc"]) == 2
    assert binned.total[0] == 2
    assert binned.total[1] == 1
    assert binned.total[-1] == 2
    assert (binned + binned).total[-1] == 4
    with pytest.raises(InputError):
        _ = binned + fill("pt", values, {"lhc": values > 0})


def an_event(event_id=1, label=None):
    """A: 5 hits, found but for one. B: 4 hits, split. C: low pT, found. Three noise hits form a track with one of B's."""
    particle = [A] * 5 + [B] * 4 + [C] * 4 + [0] * 3
    label = [0, 0, 0, 0, 50, 1, 1, 2, 3, 4, 4, 4, 4, 3, 3, 3] if label is None else label
    event = event_of(particle, event_id=event_id, pt={C: 0.3})
    return event, tracks_of(event, label)


def test_evaluate_by_hand():
    total = evaluate_event(*an_event(), Selection()).total()
    assert (total.hits, total.noise_hits, total.particles) == (16, 3, 2)
    # Tracks of at least four hits: 0 (A), 3 (noise and one of B), 4 (C, which is not selected, but not fake either).
    assert (total.tracks, total.fake, total.unmatched, total.duplicate, total.assigned_hits) == (3, 1, 1, 0, 12)
    assert total.found == {"double_majority": 1, "lhc": 1, "perfect": 0, "atlas": 1}
    # Uniform weights over the 13 hits of A, B and C: four of A and all four of C are right; B has no majority.
    assert total.score == pytest.approx(8 / 13)
    loose = evaluate_event(*an_event(), Selection(min_hits_track=1, pt_min=0.1)).total()
    assert (loose.particles, loose.tracks, loose.fake, loose.duplicate) == (3, 6, 1, 2)
    assert loose.found == {"double_majority": 2, "lhc": 3, "perfect": 1, "atlas": 3}


def test_wrong_labels_are_seen():
    good = evaluate_event(*an_event(), Selection()).total().rates
    everything_merged = evaluate_event(*an_event(label=[0] * 16), Selection()).total()
    assert (everything_merged.tracks, everything_merged.fake) == (1, 1)
    assert set(everything_merged.found.values()) == {0}
    nothing = evaluate_event(*an_event(label=list(range(16))), Selection()).total()
    assert nothing.rates == {name: None if name.endswith("_rate") else 0.0 for name in good}
    mixed = evaluate_event(*an_event(label=np.arange(16) % 4), Selection()).total()
    assert (mixed.tracks, mixed.fake, sum(mixed.found.values())) == (4, 4, 0)


def test_tracks_are_joined_by_hit_id_not_by_row():
    event, tracks = an_event()
    turned = dataclasses.replace(tracks, hit_id=tracks.hit_id[::-1], label=tracks.label[::-1])
    assert evaluate_event(event, turned, Selection()) == evaluate_event(event, tracks, Selection())
    some = dataclasses.replace(tracks, hit_id=tracks.hit_id[:5], label=tracks.label[:5])
    assert evaluate_event(event, some, Selection()).total().tracks == 1
    other = dataclasses.replace(tracks, hit_id=tracks.hit_id + 1)
    with pytest.raises(InputError, match="16 hit"):
        evaluate_event(event, other, Selection())


def test_edges_of_selected_particles_only():
    event, _ = an_event()
    graph = np.array([[0, 1, 9, 10], [1, 2, 10, 11]])  # two pairs of A, two of C, which is not selected
    tracks = tracks_of(event, [0] * 16, graphs={"graph": graph, "gnn": graph[:, :1]})
    first, last = evaluate_event(event, tracks, Selection()).edges()
    assert (first.stage, first.wanted, first.found_wanted, first.true, first.found) == ("graph", 7, 2, 10, 4)
    assert (last.stage, last.found_wanted) == ("gnn", 1)


def test_reports_pool_and_spread():
    one = evaluate_event(*an_event(1), Selection())
    two = evaluate_event(*an_event(2, label=[0] * 5 + [1] * 4 + [2] * 4 + [5, 6, 7]), Selection())
    both = Report(Selection()).merge(one).merge(two)
    total = both.total()
    assert (total.particles, total.found["double_majority"], total.found["perfect"], total.tracks, total.fake) == (4, 3, 2, 6, 1)
    mean, std = both.spread()["efficiency_double_majority"]
    assert (mean, std) == (pytest.approx(0.75), pytest.approx(math.sqrt(0.125)))
    assert one.spread()["efficiency_double_majority"] == (0.5, None)
    assert total.score == pytest.approx((8 / 13 + 1) / 2)
    assert sum(both.binned["pt"].total) == 4
    assert sum(both.binned["eta"].found["perfect"]) == 2
    plain = json.loads(json.dumps(both.to_dict(), allow_nan=False))
    assert plain["total"]["rates"]["efficiency_double_majority"]["count"] == 3
    assert [event["event_id"] for event in plain["by_event"]] == [1, 2]
    assert plain["selection"]["pt_min"] == 0.9
    assert set(plain["binned"]["pt"]["rules"]) == set(RULES)


def test_reports_that_do_not_belong_together():
    one = evaluate_event(*an_event(1), Selection())
    with pytest.raises(InputError, match="event 1 is in both"):
        one.merge(one)
    with pytest.raises(InputError, match="cuts"):
        one.merge(evaluate_event(*an_event(2), Selection(pt_min=1.0)))


def test_no_particle_passes():
    report = evaluate_event(*an_event(), Selection(pt_min=100.0))
    with pytest.raises(TrkxError, match=r"no particle passes.*pT > 100"):
        report.require_particles()


def test_empty_event():
    event = event_of([])
    total = evaluate_event(event, tracks_of(event, []), Selection()).total()
    assert (total.hits, total.particles, total.tracks, total.score) == (0, 0, 0, None)
    assert set(total.rates.values()) == {None}


@pytest.mark.parametrize(("change", "words"), [({"truth": None}, "no truth"), ({"table": False}, "without a particle table")])
def test_missing_truth(change, words):
    event = event_of([A] * 4, table=change.get("table", True))
    if "truth" in change:
        event = dataclasses.replace(event, truth=None)
    with pytest.raises(InputError, match=f"event 1 \\(toy\\).*{words}"):
        evaluate_event(event, tracks_of(event, [0] * 4), Selection())
