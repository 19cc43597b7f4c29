import numpy as np
import pytest

from trkx.runtime.edges import canonical, oriented
from trkx.runtime.tracks import Tracks


def tracks(label, min_hits):
    return Tracks(7, np.arange(len(label)) + 100, np.asarray(label, np.int64), min_hits)


@pytest.mark.parametrize("label, min_hits, track_id", [
    ([], 3, []),
    ([0], 3, [-1]),
    ([0], 1, [0]),
    ([0, 1, 1, 2, 2, 2, 0], 2, [0, 1, 1, 2, 2, 2, 0]),
    ([0, 1, 1, 2, 2, 2, 0], 3, [-1, -1, -1, 0, 0, 0, -1]),
    ([0, 1, 2, 1, 2], 2, [-1, 0, 1, 0, 1]),
])
def test_track_numbers(label, min_hits, track_id):
    found = tracks(label, min_hits)
    assert found.track_id.tolist() == track_id
    assert found.track_id.dtype == np.int64
    assert found.num_tracks == max(track_id, default=-1) + 1
    assert len(found.hits_of_tracks()) == found.num_tracks


def test_hits_of_tracks():
    assert [hits.tolist() for hits in tracks([0, 1, 2, 1, 2, 2], 2).hits_of_tracks()] == [[101, 103], [102, 104, 105]]


POSITION = np.array([[9, 0, 0], [1, 0, 0], [0, 5, 0], [0, 0, 5], [3, 4, 0]], np.float32)


@pytest.mark.parametrize("direction, pairs, edges", [
    ("by_index", [[0, 4, 1], [1, 2, 3]], [[0, 2, 1], [1, 4, 3]]),
    ("by_radius", [[0, 1, 1], [1, 2, 3]], [[1, 1, 1], [0, 2, 3]]),
    ("by_radius", [[2, 3, 4], [3, 2, 2]], [[2, 2, 2], [3, 3, 4]]),  # the same radius: the lower index is the source
])
def test_orientation(direction, pairs, edges):
    assert oriented(np.array(pairs), POSITION, direction).tolist() == edges


def test_orientation_decides_in_float64():
    position = np.array([[1000.0, 0.001, 0.0], [1000.0, 0.0, 0.0]], np.float32)  # equal in float32 when squared
    assert oriented(np.array([[0], [1]]), position, "by_radius").tolist() == [[1], [0]]


def test_canonical_order(rng):
    edges = rng.integers(0, 30, (2, 200))
    found = canonical(edges)
    assert found.T.tolist() == sorted(edges.T.tolist(), key=lambda edge: (edge[1], edge[0]))
    assert found.flags.c_contiguous
