import numpy as np
import pytest

from trkx.errors import InputError, SpecError
from trkx.runtime.neighbours import BACKENDS, radius_graph
from trkx.runtime.neighbours.exact import squared_distances


def by_definition(points, radius):
    wide = points.astype(np.float64)
    return [
        (i, j)
        for i in range(len(wide))
        for j in range(i + 1, len(wide))
        if sum((a - b) * (a - b) for a, b in zip(wide[i].tolist(), wide[j].tolist(), strict=True)) <= radius * radius
    ]


def sphere(rng, count, dim):
    points = rng.normal(size=(count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng, count, dim):
    return (sphere(rng, count // 10 + 1, dim).repeat(10, axis=0)[:count] + rng.normal(0, 0.02, (count, dim))).astype(np.float32)


CLOUDS = {
    "plane lattice": lambda rng: np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), -1).reshape(-1, 2).astype(np.float32),
    "line": lambda rng: np.outer(rng.uniform(0, 30, 400), [1.0, 2.0, -1.0, 0.5]).astype(np.float32),
    "one dimension": lambda rng: rng.uniform(0, 100, (500, 1)).astype(np.float32),
    "eight, clustered": lambda rng: 4 * clustered(rng, 1500, 8),
    "five, ball": lambda rng: rng.normal(size=(800, 5)).astype(np.float32),
    "thirty-two": lambda rng: 1.2 * sphere(rng, 400, 32),
    "a far outlier": lambda rng: np.vstack([rng.normal(size=(500, 3)), [[1e7, -1e7, 1e7]]]).astype(np.float32),
    "far from zero": lambda rng: (rng.normal(size=(500, 4)) * 2 + 1e4).astype(np.float32),
    "two far groups": lambda rng: np.vstack([rng.normal(size=(200, 6)), rng.normal(size=(200, 6)) + 1e5]).astype(np.float32),
    "all equal": lambda rng: np.full((300, 8), 0.3, np.float32),
    "pairs of equals": lambda rng: rng.normal(size=(200, 3)).astype(np.float32).repeat(2, axis=0),
    "two points": lambda rng: np.array([[0.0, 0.0], [1.0, 0.0]], np.float32),
}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k_max", [None, 1, 4])
def test_backends_agree(name, k_max, rng):
    points = CLOUDS[name](rng)
    expected = radius_graph(points, 1.0, k_max, "brute")
    for backend in ("grid", "kdtree"):
        found = radius_graph(points, 1.0, k_max, backend)
        np.testing.assert_array_equal(found.pairs, expected.pairs, err_msg=backend)
        assert found.truncated == expected.truncated


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dim", [1, 3, 8])
def test_definition(backend, dim, rng):
    points = rng.uniform(0, 3 if dim < 8 else 1.5, (60, dim)).astype(np.float32)
    found = radius_graph(points, 0.9, backend=backend).pairs
    assert found.dtype == np.int64
    assert list(map(tuple, found.T.tolist())) == by_definition(points, 0.9)
    assert found.shape[1] > 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_radius_is_inclusive_to_the_last_bit(backend):
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 100.0]], np.float32)
    assert radius_graph(points, 5.0, backend=backend).pairs.tolist() == [[0], [1]]
    assert radius_graph(points, np.nextafter(5.0, 0.0), backend=backend).pairs.shape == (2, 0)


@pytest.mark.parametrize("radius", [1e-30, 1e-12, 1e-3, 1e3, 1e12])
def test_scales(radius, rng):
    points = (rng.uniform(0, 5, (200, 3)) * radius).astype(np.float32)
    expected = radius_graph(points, radius, backend="brute").pairs
    np.testing.assert_array_equal(radius_graph(points, radius).pairs, expected)
    assert 0 < expected.shape[1] < 200 * 199 // 2


def test_the_largest_coordinates(rng):
    points = np.where(rng.random((60, 32)) < 0.5, -1e15, 1e15).astype(np.float32)
    points[30:] = points[:30] * np.float32(0.9)
    found = radius_graph(points, 1e15).pairs
    np.testing.assert_array_equal(found, radius_graph(points, 1e15, backend="brute").pairs)
    assert found.shape[1] == 30


def test_pairs_within_rounding_of_the_radius_follow_the_float64_sum(rng):
    base = sphere(rng, 3000, 8)
    step = sphere(rng, 3000, 8)
    points = np.concatenate([base, (base + 0.1 * step).astype(np.float32)]).astype(np.float32)
    pairs = radius_graph(points, 0.1).pairs
    np.testing.assert_array_equal(pairs, radius_graph(points, 0.1, backend="brute").pairs)
    own = pairs[1] - pairs[0] == 3000
    assert 500 < own.sum() < 2500


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_order(threads, rng):
    points = 3 * clustered(rng, 5000, 8)
    np.testing.assert_array_equal(radius_graph(points, 0.3, threads=threads).pairs, radius_graph(points, 0.3, threads=3).pairs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [0, 1])
def test_no_pairs(backend, count):
    found = radius_graph(np.zeros((count, 8), np.float32), 1.0, 5, backend)
    assert found.pairs.shape == (2, 0)
    assert found.pairs.dtype == np.int64
    assert found.truncated == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_nearest_of_a_line(backend):
    points = np.array([[0.0], [1.0], [2.0], [3.5]], np.float32)
    # nearest of 0: 1; of 1: 0 and 2 at the same distance, so 0; of 2: 1; of 3.5: 2
    found = radius_graph(points, 10.0, 1, backend)
    assert found.pairs.T.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert found.truncated == 4


def test_nearest_keeps_what_one_end_keeps(rng):
    points = rng.normal(size=(300, 3)).astype(np.float32)
    pairs = radius_graph(points, 1.0).pairs
    distance = squared_distances(points, pairs)
    ranked = [[] for _ in points]
    for (i, j), d in zip(pairs.T.tolist(), distance.tolist(), strict=True):
        ranked[i].append((d, j))
        ranked[j].append((d, i))
    best = [{j for _, j in sorted(row)[:3]} for row in ranked]
    found = radius_graph(points, 1.0, 3)
    assert found.pairs.T.tolist() == [[i, j] for i, j in pairs.T.tolist() if j in best[i] or i in best[j]]
    assert found.truncated == sum(len(row) > 3 for row in ranked) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_too_many_pairs(backend):
    points = np.zeros((3000, 8), np.float32)
    with pytest.raises(InputError, match=r"more than 100,000 pairs within 0\.1 among 3,000 hits"):
        radius_graph(points, 0.1, backend=backend, max_pairs=100_000)


@pytest.mark.parametrize("change, error, message", [
    ({"backend": "gird"}, SpecError, "Did you mean 'grid'"),
    ({"radius": 0.0}, SpecError, "radius must be"),
    ({"radius": float("nan")}, SpecError, "radius must be"),
    ({"k_max": 0}, SpecError, "k_max must be at least 1"),
    ({"points": np.zeros((4, 33), np.float32)}, InputError, r"\[4, 33\]"),
    ({"points": np.zeros(4, np.float32)}, InputError, r"\[4\]"),
    ({"points": np.array([[0.0], [-2e15]], np.float32)}, InputError, r"at most 1e\+15.* found 2e\+15"),
    ({"radius": 1e26}, InputError, r"at most 1e\+15.* found 1e\+26"),
    ({"points": np.array([[0.0], [np.nan], [np.inf]], np.float32)}, InputError, "2 of 3 points .* point 1"),
])
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        radius_graph(**{"points": np.zeros((4, 3), np.float32), "radius": 1.0, **change})
