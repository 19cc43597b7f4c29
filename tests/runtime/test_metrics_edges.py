"""Edges against the truth: pairs of consecutive hits, efficiency and purity."""

import numpy as np
import pytest
from truth_events import event_of

from trkx.errors import InputError
from trkx.runtime.metrics import edges as edges_module
from trkx.runtime.metrics.edges import consecutive_pairs, count_edges

A, B = 100, 200


@pytest.mark.parametrize(
    ("particle", "order", "pairs"),
    [
        ([A, A, A], [0, 1, 2], [(0, 1), (1, 2)]),
        ([A, A, A], [2, 1, 0], [(2, 1), (1, 0)]),
        ([A, B, A, B], [0, 1, 2, 3], [(0, 2), (1, 3)]),
        ([A, A, A], [0, 1, 1], [(0, 1), (1, 2)]),  # equal order: by index
        ([0, 0, 0], [0, 1, 2], []),
        ([A], [0], []),
        ([], [], []),
    ],
)
def test_consecutive_pairs(particle, order, pairs):
    found = consecutive_pairs(event_of(particle, order=order))
    assert found.dtype == np.int64
    assert found.shape == (2, len(pairs))
    assert [tuple(pair) for pair in found.T.tolist()] == pairs


# Hits 0 1 2 3 are A's, in this order; 4 5 are B's; 6 7 are noise. A is wanted.
EVENT = [A, A, A, A, B, B, 0, 0]
FIELDS = ("edges", "same_particle", "consecutive", "true", "found", "wanted", "found_wanted")


@pytest.mark.parametrize(
    ("edges", "counts"),
    [
        ([(0, 1), (1, 2), (2, 3), (4, 5)], (4, 4, 4, 4, 4, 3, 3)),
        ([(1, 0), (2, 1), (3, 2), (5, 4)], (4, 4, 4, 4, 4, 3, 3)),  # direction does not matter
        ([(0, 2), (0, 3), (1, 3)], (3, 3, 0, 4, 0, 3, 0)),  # same particle, but a hit is skipped
        ([(0, 4), (6, 7), (0, 6)], (3, 0, 0, 4, 0, 3, 0)),  # two noise hits are not one particle
        ([(4, 5)], (1, 1, 1, 4, 1, 3, 0)),
        ([(0, 1), (0, 1), (1, 0)], (3, 3, 3, 4, 1, 3, 1)),  # repeated: found once
        ([(2, 2)], (1, 0, 0, 4, 0, 3, 0)),
        ([], (0, 0, 0, 4, 0, 3, 0)),
    ],
)
def test_counts(edges, counts):
    event = event_of(EVENT)
    found = count_edges("gnn", np.array(edges, dtype=np.int64).reshape(-1, 2).T, event, event.truth.particle_id == A)
    assert tuple(getattr(found, field) for field in FIELDS) == counts


def test_rates_and_sum():
    event = event_of(EVENT)
    wanted = event.truth.particle_id == A
    one = count_edges("gnn", np.array([[0, 1], [1, 4]]), event, wanted)
    assert one.rates == {"efficiency_wanted": 1 / 3, "efficiency_all": 1 / 4, "purity": 1 / 2, "purity_consecutive": 1 / 2}
    assert (one + one).rates == one.rates
    assert (one + one).edges == 4
    none = count_edges("gnn", np.empty((2, 0), dtype=np.int64), event_of([]), np.empty(0, dtype=bool))
    assert set(none.rates.values()) == {None}
    with pytest.raises(InputError, match="gnn"):
        _ = one + count_edges("filter", np.array([[0], [1]]), event, wanted)


def test_chunks_change_nothing(rng, monkeypatch):
    event = event_of(rng.integers(0, 12, 80) * 100, order=rng.random(80))
    edges, wanted = rng.integers(0, 80, (2, 3000)), event.truth.particle_id > 500
    whole = count_edges("graph", edges, event, wanted)
    pairs = {frozenset(pair) for pair in consecutive_pairs(event).T.tolist()}
    graph = [frozenset(pair) for pair in edges.T.tolist()]
    assert whole.found == len(pairs & set(graph))
    assert whole.consecutive == sum(edge in pairs for edge in graph)
    monkeypatch.setattr(edges_module, "CHUNK", 7)
    assert count_edges("graph", edges, event, wanted) == whole


@pytest.mark.parametrize("edges", [[[0], [8]], [[-1], [0]], [[0, 1]]])
def test_graph_of_another_event_is_refused(edges):
    event = event_of(EVENT)
    with pytest.raises(InputError, match="stage graph"):
        count_edges("graph", np.array(edges), event, event.truth.particle_id == A)


def test_true_edges_of_a_real_event(golden):
    from trkx.runtime.events import open_events

    event = open_events(golden / "trackml_small")[0].read()
    pairs = consecutive_pairs(event)
    _, counts = np.unique(event.truth.particle_id[event.truth.particle_id != 0], return_counts=True)
    assert pairs.shape[1] == int((counts - 1).sum())
    assert (event.truth.order[pairs[0]] <= event.truth.order[pairs[1]]).all()
