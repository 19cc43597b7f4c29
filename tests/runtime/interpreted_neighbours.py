"""Run by test_cuda_neighbours.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import os

import numpy as np
import pytest
import torch

from trkx.errors import InputError, SpecError
from trkx.runtime.cuda import near as near_module
from trkx.runtime.cuda import neighbours, twins
from trkx.runtime.cuda.near import near_blocks, pair_blocks, screen
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.rows import aligned
from trkx.runtime.neighbours import radius_graph

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def sphere(rng, count, dim):
    points = rng.normal(size=(count, dim))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


CLOUDS = {
    "lattice": lambda rng: np.stack(np.meshgrid(np.arange(7.0), np.arange(7.0)), -1).reshape(-1, 2),
    "one dimension": lambda rng: rng.uniform(0, 30, (90, 1)),
    "eight, ball": lambda rng: 0.5 * rng.normal(size=(90, 8)),
    "five, sphere": lambda rng: sphere(rng, 60, 5),
    "thirty-two": lambda rng: 0.9 * sphere(rng, 40, 32),
    "a far outlier": lambda rng: np.vstack([rng.normal(size=(50, 3)), [[1e7, -1e7, 1e7]]]),
    "the farthest outlier": lambda rng: np.vstack([rng.normal(size=(40, 3)), [[1e15, -1e15, 1e15]]]),
    "two far groups": lambda rng: np.vstack([0.5 * rng.normal(size=(30, 6)), 0.5 * rng.normal(size=(30, 6)) + 1e5]),
    "all equal": lambda rng: np.full((80, 3), 0.3),
    "two points": lambda rng: np.array([[0.0, 0.0], [1.0, 0.0]]),
    "two points far apart": lambda rng: np.array([[0.0, 0.0], [2.0, 0.0]]),
    "one point": lambda rng: np.zeros((1, 4)),
    "no points": lambda rng: np.zeros((0, 4)),
}


def search(points, radius, k_max=None, **settings):
    found = radius_graph_cuda(torch.from_numpy(points).to(DEVICE), radius, k_max, **settings)
    return found.pairs.cpu().numpy(), found.truncated


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("k_max", [None, 2])
def test_equals_the_cpu(name, k_max, rng):
    points = CLOUDS[name](rng).astype(np.float32)
    expected = radius_graph(points, 1.0, k_max, "brute")
    found = radius_graph_cuda(torch.from_numpy(points).to(DEVICE), 1.0, k_max)
    assert all(aligned(row) is row for row in found.pairs)
    pairs, truncated = search(points, 1.0, k_max, lanes=32 if len(points) > 64 else 16)
    assert pairs.dtype == np.int64
    np.testing.assert_array_equal(pairs, expected.pairs)
    assert truncated == expected.truncated
    twin, truncated = twins.radius_graph(torch.from_numpy(points), 1.0, k_max)
    np.testing.assert_array_equal(twin.numpy(), expected.pairs)
    assert truncated == expected.truncated


def test_rows_longer_than_a_tile(rng):
    count = neighbours.ROW_TILE + 10
    points = (0.01 * rng.integers(0, 20, (count, 2))).astype(np.float32)
    for k_max in (None, neighbours.ROW_TILE + 2):
        expected = radius_graph(points, 1.0, k_max, "brute")
        pairs, truncated = search(points, 1.0, k_max)
        np.testing.assert_array_equal(pairs, expected.pairs)
        assert truncated == expected.truncated == (0 if k_max is None else count)


def test_truncated_hits_in_parts(rng, monkeypatch):
    points = (0.3 * rng.normal(size=(40, 3))).astype(np.float32)
    expected = radius_graph(points, 0.4, 3, "brute")
    monkeypatch.setattr(neighbours, "HELD", 64)
    pairs, truncated = search(points, 0.4, 3)
    np.testing.assert_array_equal(pairs, expected.pairs)
    assert truncated == expected.truncated > 5


@pytest.mark.parametrize("radius", [1e-30, 1e-19, 1e-3, 1e12])
def test_scales(radius, rng):
    points = (rng.uniform(0, 5, (50, 3)) * radius).astype(np.float32)
    expected = radius_graph(points, radius, backend="brute").pairs
    assert 0 < expected.shape[1] < 50 * 49 // 2
    np.testing.assert_array_equal(search(points, radius)[0], expected)


def test_radius_is_inclusive_to_the_last_bit():
    points = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 100.0]], np.float32)
    assert search(points, 5.0)[0].tolist() == [[0], [1]]
    assert search(points, np.nextafter(5.0, 0.0))[0].shape == (2, 0)


def close_calls(rng):
    """Return points and a radius with a pair that float32 puts on the wrong side, with fused products and without."""
    points = rng.normal(size=(24, 8)).astype(np.float32)
    exact = twins.squared_distances(torch.from_numpy(points)).numpy()
    plain, fused = np.zeros_like(exact, np.float32), np.zeros_like(exact, np.float32)
    for axis in points.T:
        delta = axis[:, None] - axis[None, :]
        plain += delta * delta
        fused = (fused + delta.astype(np.float64) ** 2).astype(np.float32)
    rough = np.minimum(plain, fused)
    worst = np.unravel_index(np.argmax(rough - exact), exact.shape)
    radius = float(np.sqrt(exact[worst]))
    while radius * radius < exact[worst]:
        radius = np.nextafter(radius, np.inf)
    assert np.float32(radius * radius) < rough[worst]
    return points, radius


def test_float64_decides_close_calls(rng):
    points, radius = close_calls(rng)
    np.testing.assert_array_equal(search(points, radius)[0], radius_graph(points, radius, backend="brute").pairs)


def test_without_a_margin_float32_would_be_wrong(rng, monkeypatch):
    points, radius = close_calls(rng)
    monkeypatch.setattr(neighbours, "screen", lambda radius, dim: (radius * radius, radius * radius))
    assert search(points, radius)[0].shape[1] < radius_graph(points, radius, backend="brute").pairs.shape[1]


def test_blocks_have_no_say_and_runs_repeat(rng):
    points = (0.6 * rng.normal(size=(50, 4))).astype(np.float32)
    first = search(points, 0.7, 4)
    for lanes in (16, 64):
        again = search(points, 0.7, 4, lanes=lanes)
        np.testing.assert_array_equal(again[0], first[0])
        assert again[1] == first[1] > 0


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_near_blocks(dim, rng):
    points = torch.from_numpy(rng.uniform(0, 4, (150, dim)).astype(np.float32)).to(DEVICE)
    found = near_blocks(points, 0.5, lanes=16)
    expected = twins.near_blocks(found.blocks, screen(0.5, dim)[1])
    count = len(expected)
    assert 8 <= count < int(expected.sum()) < count * count
    assert found.near.tolist() == expected.nonzero()[:, 1].tolist()
    assert found.first.diff().tolist() == expected.sum(1).tolist()
    assert pair_blocks(found).tolist() == expected.triu().nonzero().t().tolist()


def test_more_blocks_than_a_tile(rng, monkeypatch):
    monkeypatch.setattr(near_module, "TILE", 4)
    points = torch.from_numpy(rng.uniform(0, 4, (150, 2)).astype(np.float32)).to(DEVICE)
    found = near_blocks(points, 0.5, lanes=16)
    assert found.near.tolist() == twins.near_blocks(found.blocks, screen(0.5, 2)[1]).nonzero()[:, 1].tolist()


def test_refuses_what_makes_no_sense(rng):
    points = rng.normal(size=(10, 3)).astype(np.float32)
    for radius in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(SpecError, match="radius must be a finite number above 0"):
            search(points, radius)
    with pytest.raises(SpecError, match="k_max must be at least 1"):
        search(points, 1.0, 0)
    for shape in ((10,), (10, 0), (2, 33)):
        with pytest.raises(InputError, match="D from 1 to 32"):
            search(np.zeros(shape, np.float32), 1.0)
    for bad in (np.nan, np.inf, -np.inf):
        broken = points.copy()
        broken[7, 1] = bad
        with pytest.raises(InputError, match="1 of 10 points are NaN or infinite, the first is point 7"):
            search(broken, 1.0)
    with pytest.raises(InputError, match="at most 1e\\+15"):
        search(np.full((3, 2), 1e16, np.float32), 1.0)
    for k_max in (None, 2):
        with pytest.raises(InputError, match="more than 44 pairs"):
            search(points, 100.0, k_max, max_pairs=44)
    assert search(points, 100.0, max_pairs=45)[0].shape == (2, 45)


def test_takes_views_and_other_floats(rng):
    points = rng.normal(size=(3, 20)).astype(np.float64)
    expected = radius_graph(points.T.astype(np.float32), 1.0, backend="brute").pairs
    np.testing.assert_array_equal(search(points.T, 1.0)[0], expected)
