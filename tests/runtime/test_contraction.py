"""Edge contraction: against a naive twin, order and sign, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest

from trkx.errors import InputError
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.labelling.contract import contract
from trkx.runtime.labelling.contraction import UNIT


def naive(edges, weight, num_hits, first=min):
    """Sum all weights between all clusters anew in every step; of equal sums the pair with the first edge, by (low, high)."""
    units = np.rint(np.asarray(weight) * UNIT).astype(np.int64).tolist()
    label = np.arange(num_hits)
    while True:
        sums, rank = {}, {}
        for (a, b), unit in zip(edges.T.tolist(), units, strict=True):
            key = tuple(sorted((int(label[a]), int(label[b]))))
            if key[0] != key[1]:
                sums[key] = sums.get(key, 0) + unit
                rank[key] = first(rank.get(key, (min(a, b), max(a, b))), (min(a, b), max(a, b)))
        most = max(sums.values(), default=0)
        if most <= 0:
            return np.unique(label, return_inverse=True)[1]
        best = first((key for key in sums if sums[key] == most), key=rank.__getitem__)
        label[label == best[1]] = best[0]


@pytest.mark.parametrize(("hits", "count"), [(2, 1), (5, 8), (12, 30), (30, 60), (40, 300)])
def test_equals_the_naive_algorithm(rng, hits: int, count: int) -> None:
    for _ in range(10):
        edges = rng.integers(0, hits, (2, count))
        weight = rng.normal(0.3, 2.0, count)
        found = edge_contraction(edges, weight, hits)
        assert np.array_equal(found, naive(edges, weight, hits))
        assert count < 30 or len(np.unique(found)) < hits


@pytest.mark.parametrize(("hits", "count", "highest"), [(6, 12, 1), (12, 30, 1), (20, 60, 2), (30, 70, 3), (24, 200, 9)])
def test_ties_go_to_the_first_edge(rng, hits: int, count: int, highest: int) -> None:
    others = 0
    for _ in range(40):
        edges, weight = rng.integers(0, hits, (2, count)), rng.integers(-highest, highest + 1, count)
        expected = naive(edges, weight, hits)
        assert np.array_equal(edge_contraction(edges, weight.astype(float), hits), expected)
        others += not np.array_equal(expected, naive(edges, weight, hits, max))
    assert others >= 4  # ties did decide


def test_a_tie_looks_at_all_edges_between_clusters_those_of_weight_0_included() -> None:
    """Hits 0 and 3 are joined first; then 1 and 2 are as near to them, and may not be together."""
    edges, weight = np.array([[0, 1, 0, 1], [3, 3, 2, 2]]), np.array([9.0, 2.0, 2.0, -8.0])
    assert edge_contraction(edges, weight, 4).tolist() == [0, 1, 0, 0]
    for more in ([0.0], [-0.25 / UNIT], [1.0, -1.0]):
        nothing = np.array([[1] * len(more), [0] * len(more)])
        found = edge_contraction(np.concatenate([edges, nothing], 1), np.concatenate([weight, more]), 4)
        assert found.tolist() == [0, 0, 1, 0]


def test_ties_are_the_same_however_hits_are_numbered_in_their_order(rng) -> None:
    for _ in range(20):
        edges, weight = rng.integers(0, 40, (2, 120)), rng.integers(-3, 4, 120).astype(float)
        number = np.sort(rng.permutation(500)[:40])
        found = edge_contraction(number[edges], weight, 500)[number]
        assert np.array_equal(np.unique(found, return_inverse=True)[1], edge_contraction(edges, weight, 40))


def test_does_not_depend_on_order_direction_or_repetition(rng) -> None:
    edges, weight = rng.integers(0, 60, (2, 300)), rng.normal(0.5, 2.0, 300)
    found = edge_contraction(edges, weight, 60)
    order = rng.permutation(300)
    flip = rng.random(300) < 0.5
    turned = np.where(flip, edges[::-1], edges)[:, order]
    assert np.array_equal(found, edge_contraction(turned, weight[order], 60))
    halves = np.tile(edges, 2), np.tile(np.round(weight * 2**18) / 2**19, 2)
    assert np.array_equal(edge_contraction(edges, np.round(weight * 2**18) / 2**18, 60), edge_contraction(*halves, 60))


def test_a_single_false_bridge_does_not_join_two_tracks() -> None:
    track = [(i, i + step) for step in (1, 2) for i in range(10 - step)]
    edges = np.array([*track, *((a + 10, b + 10) for a, b in track), (4, 14), (5, 14), (4, 15)]).T
    weight = np.array([5.0] * (2 * len(track)) + [2.0, -4.0, -4.0])
    assert len(np.unique(connected_components(edges[:, weight > 0], 20))) == 1
    assert edge_contraction(edges, weight, 20).tolist() == [0] * 10 + [1] * 10


def test_equals_components_where_no_edge_is_negative(rng) -> None:
    edges = rng.integers(0, 200, (2, 150))
    weight = rng.uniform(0.1, 3.0, 150)
    assert np.array_equal(edge_contraction(edges, weight, 200), connected_components(edges, 200))


def whole(edges, weight, num_hits):
    """The kernel on all edges at once, without components: sorted pairs, each once."""
    pairs = {}
    for a, b, unit in zip(*np.sort(edges, axis=0).tolist(), np.rint(weight * UNIT).astype(int).tolist(), strict=True):
        if a != b:
            pairs[a, b] = pairs.get((a, b), 0) + unit
    low, high = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    root = contract(low, high, np.array([pairs[key] for key in sorted(pairs)], np.int64), num_hits)
    return np.unique(root, return_inverse=True)[1]


@pytest.mark.parametrize(("hits", "count", "shift"), [(300, 300, 0.5), (300, 400, -1.0), (300, 500, 1.5), (1000, 1500, 0.5)])
@pytest.mark.parametrize("ties", [False, True])
def test_component_by_component_is_the_same_as_all_at_once(rng, hits, count, shift, ties) -> None:
    several = 0
    for _ in range(5):
        edges, weight = rng.integers(0, hits, (2, count)), rng.normal(shift, 2.0, count)
        weight = np.rint(weight) if ties else weight
        found = edge_contraction(edges, weight, hits)
        assert np.array_equal(found, whole(edges, weight, hits))
        components = connected_components(edges[:, weight > 0], hits)
        several += len(np.unique(found)) > len(np.unique(components)) > 20
    assert several  # some components were not just taken as they are


def test_zero_and_repeated_weights_inside_a_positive_component(rng) -> None:
    edges = np.array([[0, 1, 0, 3, 4, 3, 2], [1, 2, 2, 4, 3, 3, 2]])
    assert edge_contraction(edges, np.array([1.0, 1.0, 0.0, 1.0, -3.0, -9.0, -9.0]), 5).tolist() == [0, 0, 0, 1, 2]
    assert edge_contraction(edges, np.array([1.0, 1.0, 0.0, 3.0, -1.0, -9.0, -9.0]), 5).tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("edges", [[[0, 5], [1, 0]], [[0, 1], [1, -1]], [[0, -1], [1, 1]], [[0, 1], [1, 5]]])
@pytest.mark.parametrize("weight", [[1.0, 1.0], [1.0, -1.0]])
def test_edges_outside_the_hits_are_refused_whatever_they_weigh(edges, weight) -> None:
    with pytest.raises(InputError, match="there are 5 hits"):
        edge_contraction(np.array(edges), np.array(weight), 5)


@pytest.mark.parametrize("edges", [np.array([0, 1]), np.zeros((3, 2), np.int64)])
def test_edges_that_are_not_two_rows_are_refused(edges) -> None:
    with pytest.raises(InputError, match=r"must be int64 \[2, E\], found \["):
        edge_contraction(edges, np.ones(2), 5)


@pytest.mark.parametrize("hits", [0, 1, 7])
def test_without_edges_every_hit_is_alone(hits: int) -> None:
    assert edge_contraction(np.empty((2, 0), np.int64), np.empty(0), hits).tolist() == list(range(hits))


@pytest.mark.parametrize(("weight", "word"), [([1.0, float("nan")], "NaN"), ([1.0], "expected 2 weights")])
def test_bad_weights_are_refused(weight, word) -> None:
    with pytest.raises(InputError, match=word):
        edge_contraction(np.array([[0, 1], [1, 2]]), np.array(weight), 3)


def test_infinite_logits_are_just_large() -> None:
    edges = np.array([[0, 1, 0], [1, 2, 2]])
    assert edge_contraction(edges, np.array([np.inf, np.inf, -np.inf]), 3).tolist() in ([0, 0, 1], [0, 1, 1])


def test_work_grows_with_the_edges_not_with_their_square(rng) -> None:
    """Nearly all is positive: one cluster that grows by one hit at a time, the case in which careless merging is quadratic."""
    import time

    edge_contraction(np.array([[0], [1]]), np.ones(1), 2)  # compile
    sizes = (2_000, 16_000)
    given, seconds = {}, dict.fromkeys(sizes, np.inf)
    for hits in sizes:
        given[hits] = rng.integers(0, hits, (2, 10 * hits)), rng.uniform(0.1, 3.0, 10 * hits)
        given[hits][1][0] = -0.1  # a component without a negative edge is not contracted at all
    for _ in range(5):
        for hits, (edges, weight) in given.items():
            began = time.thread_time()  # of the processor: what others do on a busy machine does not count
            assert len(np.unique(edge_contraction(edges, weight, hits))) < 20
            seconds[hits] = min(seconds[hits], time.thread_time() - began)
    assert seconds[16_000] < 40 * seconds[2_000]  # 8 times the edges, found: 13 times; quadratic would be 64 times
