"""Matching of tracks to particles: hand-computed cases, a naive twin, and controls that must fail."""

import numpy as np
import pytest
from truth_events import event_of, random_case

from trkx.errors import InputError
from trkx.runtime.metrics.matching import RULES, match_tracks
from trkx.runtime.metrics.score import trackml_score

A, B = 100, 200  # particle ids


def ids(*values):
    return np.array(values, dtype=np.int64)


# name: track of each hit, particle of each hit, then owner and shared by track, and the particles found by each rule
CASES = {
    "perfect": (ids(0, 0, 0, 0, 1, 1), ids(A, A, A, A, B, B), [A, B], [4, 2], {rule: {A, B} for rule in RULES}, [0, 0]),
    "merged half and half": (ids(0, 0, 0, 0), ids(A, A, B, B), [A], [2], {rule: set() for rule in RULES}, [1]),
    "split half and half": (
        ids(0, 0, 1, 1), ids(A, A, A, A), [A, A], [2, 2],
        {"double_majority": set(), "lhc": {A}, "perfect": set(), "atlas": {A}}, [0, 0],
    ),
    "split, a half is the larger": (
        ids(0, 0, 0, 1, 1), ids(A, A, A, A, A), [A, A], [3, 2],
        {"double_majority": {A}, "lhc": {A}, "perfect": set(), "atlas": {A}}, [0, 0],
    ),
    "three quarters pure": (
        ids(0, 0, 0, 0), ids(A, A, A, B), [A], [3],
        {"double_majority": {A}, "lhc": {A}, "perfect": set(), "atlas": {A}}, [0],
    ),
    "two thirds pure": (
        ids(0, 0, 0), ids(A, A, B), [A], [2],
        {"double_majority": {A}, "lhc": set(), "perfect": set(), "atlas": {A}}, [0],
    ),
    "noise counts in the denominator": (ids(0, 0, 0, 0), ids(A, A, 0, 0), [A], [2], {rule: set() for rule in RULES}, [1]),
    "all noise": (ids(0, 0, 0, 0), ids(0, 0, 0, 0), [None], [0], {rule: set() for rule in RULES}, [1]),
    "no tracks": (ids(-1, -1), ids(A, A), [], [], {rule: set() for rule in RULES}, []),
    "empty event": (ids(), ids(), [], [], {rule: set() for rule in RULES}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_hand_computed(name):
    track, particle, owners, shared, found, fakes = CASES[name]
    matching = match_tracks(track, particle)
    assert [None if row < 0 else matching.particle[row] for row in matching.owner] == owners
    assert matching.shared.tolist() == shared
    assert matching.fakes().tolist() == [bool(fake) for fake in fakes]
    assert {rule: set(matching.particle[matching.found(rule)]) for rule in RULES} == found


def test_one_more_hit_of_the_particle_elsewhere_ends_perfect_but_not_double_majority():
    track, particle = ids(0, 0, 0, 0, -1), ids(A, A, A, A, A)
    matching = match_tracks(track, particle)
    assert matching.found("double_majority").all()
    assert not matching.found("perfect").any()
    assert match_tracks(track[:4], particle[:4]).found("perfect").all()


def test_short_tracks_are_left_out_but_particle_hits_are_not():
    matching = match_tracks(ids(0, 0, 0, 1), ids(A, A, A, A), min_hits=2)
    assert matching.track.tolist() == [0]
    assert matching.particle_hits.tolist() == [4]
    assert matching.purity.tolist() == [1.0]


def test_duplicates_are_all_but_the_best():
    # Tracks 3, 5 and 8 are pieces of A (2, 3 and 2 hits); 9 is B. Only 5 counts; 3 and 8 repeat it.
    track, particle = ids(3, 3, 5, 5, 5, 8, 8, 9, 9), ids(A, A, A, A, A, A, A, B, B)
    matching = match_tracks(track, particle)
    assert matching.track.tolist() == [3, 5, 8, 9]
    assert matching.duplicates().tolist() == [True, False, True, False]
    # Unmatched by double majority: no piece holds more than half of A's seven hits. None of them is fake.
    assert matching.unmatched().tolist() == [True, True, True, False]
    assert not matching.fakes().any()


def test_of_duplicates_that_share_as_many_hits_the_purer_is_the_best():
    matching = match_tracks(ids(0, 0, 0, 1, 1), ids(A, A, B, A, A))
    assert matching.duplicates().tolist() == [True, False]


def test_every_fake_is_unmatched(rng):
    matching = match_tracks(*random_case(rng, 400))
    assert (matching.unmatched() | ~matching.fakes()).all()
    assert matching.fakes().any()


def naive(track, particle):
    """The same by loops over sets, written from the definitions."""
    hits_of = {p: set(np.flatnonzero(particle == p)) for p in set(particle.tolist()) - {0}}
    result = {}
    for t in sorted(set(track[track >= 0].tolist())):
        hits = set(np.flatnonzero(track == t))
        shares = {p: len(hits & own) for p, own in hits_of.items() if hits & own}
        owner = min(shares, key=lambda p: (-shares[p], p)) if shares else None
        shared, total = (shares[owner], len(hits_of[owner])) if shares else (0, 0)
        result[t] = {
            "owner": owner,
            "double_majority": shares and shared / len(hits) > 0.5 and shared / total > 0.5,
            "lhc": shares and shared / len(hits) >= 0.75,
            "perfect": shares and hits == hits_of[owner],
            "atlas": shares and shared / len(hits) > 0.5,
            "fake": shared / len(hits) <= 0.5,
        }
    return result


@pytest.mark.parametrize("repeat", range(20))
def test_agrees_with_naive_twin(rng, repeat):
    track, particle = random_case(rng, int(rng.integers(1, 40)))
    matching, expected = match_tracks(track, particle), naive(track, particle)
    assert matching.track.tolist() == list(expected)
    for row, twin in enumerate(expected.values()):
        owner = int(matching.owner[row])
        assert (None if owner < 0 else matching.particle[owner]) == twin["owner"]
        assert {rule: bool(matching.matched(rule)[row]) for rule in RULES} == {rule: bool(twin[rule]) for rule in RULES}
        assert matching.fakes()[row] == twin["fake"]


def test_unknown_rule_lists_the_known_ones():
    with pytest.raises(InputError, match="double_majority"):
        match_tracks(ids(0), ids(A)).matched("double_majoritty")


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"\[2\] and \[1\]"):
        match_tracks(ids(0, 0), ids(A))


# --- TrackML score


@pytest.mark.parametrize(
    ("track", "particle", "weight", "score"),
    [
        ([0, 0, 1, 1], [A, A, B, B], [1, 2, 3, 4], 1.0),
        ([0, 0, -1, -1], [A, A, B, B], [1, 2, 3, 4], 0.3),
        ([0, 0, 0, -1], [A, A, B, B], [1, 2, 3, 4], 0.3),  # B's hit on A's track adds nothing
        ([0, 0, 0, -1], [A, A, A, A], [1, 1, 1, 7], 0.3),  # A's hit that is on no track adds nothing either
        ([5, 5, 5, 3], [A, A, A, A], [1, 1, 1, 7], 0.3),
        ([0, 0, 0, 0], [A, A, B, B], [1, 2, 3, 4], 0.0),  # merged: nobody's
        ([0, 1, 2, 3], [A, A, B, B], [1, 2, 3, 4], 0.0),  # a hit each: no majority of the particle
        ([0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], None),
        ([], [], [], None),
    ],
)
def test_score_with_weights_of_the_event(track, particle, weight, score):
    result = trackml_score(np.array(track, dtype=np.int64), event_of(particle, weight=weight).truth)
    assert result.weights == "event"
    assert result.value == (None if score is None else pytest.approx(score))


def test_score_without_weights_counts_hits_of_particles_with_four():
    truth = event_of([A] * 4 + [B] * 3 + [0]).truth
    tracks = {"A": [0] * 4 + [-1] * 4, "B": [-1] * 4 + [0] * 3 + [-1], "both": [0] * 4 + [1] * 3 + [2]}
    scores = {name: trackml_score(np.array(track), truth) for name, track in tracks.items()}
    assert {name: score.value for name, score in scores.items()} == {"A": 1.0, "B": 0.0, "both": 1.0}
    assert scores["A"].weights == "uniform"


def test_score_of_a_real_event(golden):
    from trkx.runtime.events import open_events

    event = open_events(golden / "trackml_small")[0].read()
    truth = event.truth
    everything = np.where(truth.particle_id != 0, truth.particle_id, -1)
    assert trackml_score(everything, truth).value == pytest.approx(1.0)
    expected = 0.0
    broken = np.where(np.arange(len(event)) % 3 == 0, everything, -1)  # a third of the hits: some particles keep a majority
    for row in naive(broken, truth.particle_id).items():
        track, facts = row
        if facts["double_majority"]:
            expected += float(truth.weight[(broken == track)].astype(np.float64).sum())
    assert trackml_score(broken, truth).value == pytest.approx(expected / truth.weight.astype(np.float64).sum())
    assert 0.0 < expected < 0.5
