import numpy as np
import pytest

from trkx.errors import InputError, SpecError
from trkx.runtime.labelling import BACKENDS, connected_components

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


def test_unknown_backend():
    with pytest.raises(SpecError, match=r"unknown labelling backend 'scipi'. Did you mean 'scipy'\?"):
        connected_components(NONE, 3, "scipi")
