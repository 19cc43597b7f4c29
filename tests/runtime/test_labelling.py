import numpy as np
import pytest

from trkx.errors import InputError, SpecError
from trkx.runtime.labelling import BACKENDS, connected_components, union_find

NONE = np.empty((2, 0), np.int64)
CASES = [
    (NONE, 0, []),
    (NONE, 3, [0, 1, 2]),
    ([[3], [1]], 4, [0, 1, 2, 1]),
    ([[4, 2, 0], [2, 0, 4]], 5, [0, 1, 0, 2, 0]),
    ([[5, 5, 1, 3], [4, 1, 0, 2]], 6, [0, 0, 1, 1, 0, 0]),
    ([[1, 1, 2], [2, 2, 2]], 3, [0, 1, 1]),
    ([[3, 2, 1], [2, 1, 0]], 4, [0, 0, 0, 0]),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("edges, hits, expected", CASES)
def test_components(backend, edges, hits, expected):
    found = connected_components(np.asarray(edges, np.int64), hits, backend)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("edges", [0, 100, 400, 1000, 5000])
def test_backends_agree(edges, rng):
    edge_index = rng.integers(0, 1000, (2, edges))
    own = connected_components(edge_index, 1000)
    np.testing.assert_array_equal(own, connected_components(edge_index, 1000, "scipy"))
    shuffled = edge_index[::-1, rng.permutation(edges)]
    np.testing.assert_array_equal(own, connected_components(shuffled, 1000))


@pytest.mark.parametrize("edges, message", [
    ([[0], [5]], "hits 0 to 5, but there are 5"),
    ([[-1], [2]], "hits -1 to 2"),
    ([0, 1], r"\[2\]"),
])
def test_bad_edges(edges, message):
    with pytest.raises(InputError, match=message):
        connected_components(np.asarray(edges, np.int64), 5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("edges", [[[0], [5]], [[5], [0]], [[-1], [2]], [[2], [-1]], [[0, 1, 4], [1, 2, 9]], [[2**40], [0]]])
def test_every_backend_refuses_hits_that_do_not_exist(backend, edges):
    with pytest.raises(InputError, match="there are 5 hits"):
        connected_components(np.asarray(edges, np.int64), 5, backend)
    with pytest.raises(InputError, match="there are 0 hits"):
        connected_components(np.zeros((2, 1), np.int64), 0, backend)


def _path(n, rng):
    return np.stack([np.arange(n - 1), np.arange(1, n)])


SHAPES = {
    "path": _path,
    "path backwards": lambda n, rng: _path(n, rng)[::-1, ::-1],
    "path in any order": lambda n, rng: _path(n, rng)[:, rng.permutation(n - 1)],
    "path with other numbers": lambda n, rng: rng.permutation(n)[_path(n, rng)],
    "star of the lowest": lambda n, rng: np.stack([np.zeros(n - 1, np.int64), np.arange(1, n)]),
    "star of the highest": lambda n, rng: np.stack([np.full(n - 1, n - 1), np.arange(n - 1)])[:, rng.permutation(n - 1)],
    "tree": lambda n, rng: np.stack([np.arange(1, n), np.arange(1, n) // 2]),
    "many small ones": lambda n, rng: np.stack([np.arange(n), np.arange(n) // 7 * 7]),
    "sparse": lambda n, rng: rng.integers(0, n, (2, n // 2)),
    "one and some alone": lambda n, rng: rng.integers(0, n, (2, 3 * n)),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parents", [np.int32, np.int64])
def test_union_find_on_awkward_graphs(shape, parents, rng):
    edges = np.ascontiguousarray(SHAPES[shape](3000, rng))
    parent = np.arange(3000, dtype=parents)
    assert union_find.join(*edges, parent)
    assert (parent <= np.arange(3000)).all()
    expected = connected_components(edges, 3000, "scipy")
    np.testing.assert_array_equal(union_find.numbered(parent), expected)
    np.testing.assert_array_equal(connected_components(np.asfortranarray(edges), 3000), expected)


def test_parents_are_wide_enough():
    assert union_find.parents_type(2**31 - 1) is np.int32
    assert union_find.parents_type(2**31) is np.int64


def test_edges_are_not_changed(rng):
    edges = rng.integers(0, 50, (2, 80))
    before = edges.copy()
    connected_components(edges, 50)
    np.testing.assert_array_equal(edges, before)


def test_unknown_backend():
    with pytest.raises(SpecError, match=r"unknown labelling backend 'scipi'. Did you mean 'scipy'\?"):
        connected_components(NONE, 3, "scipi")
