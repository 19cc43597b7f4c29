import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from trkx.runtime.neighbours import radius_graph
from trkx.runtime.neighbours import sort as sorting
from trkx.runtime.neighbours.blocks import blocks_from_points
from trkx.runtime.neighbours.exact import keep_nearest
from trkx.runtime.neighbours.lanes import keep_lanes, lowest_bit, near_boxes, near_points
from trkx.runtime.neighbours.nearest import kth
from trkx.runtime.neighbours.order import cut, sort_subtree
from trkx.runtime.neighbours.sort import bucket_counts, key_bits, sorted_pairs
from trkx.runtime.neighbours.work import search_work


# not cached: Numba's cache would not notice a change of the intrinsics
@numba.njit
def _points(lanes, block, query, axes, reach2, sure2):
    return near_points(lanes, block, lanes, query, axes, reach2, sure2)


@numba.njit
def _boxes(lanes, low, high, boxes, under, over, axes, reach2):
    return near_boxes(lanes, low, high, boxes, under, over, axes, reach2)


@numba.njit
def _keep(values, block, mask, out, place):
    return keep_lanes(values, block, mask, out, place)


@numba.njit
def _lowest(mask):
    return lowest_bit(mask)


def bits(where):
    return sum(1 << n for n, bit in enumerate(where) if bit)


@pytest.mark.parametrize("axes", [4, 8, 32])
def test_sixteen_distances(axes, rng):
    lanes = rng.integers(-3, 4, (3, axes, 16)).astype(np.float32)  # whole numbers: float32 is exact
    lanes[1, :, 13:] = np.inf
    for lane in (0, 7, 15):
        distance = ((lanes[1] - lanes[2, :, lane, None]) ** 2).sum(axis=0)
        reach2, sure2 = np.sort(distance[:13])[[9, 5]]
        found = _points(lanes.ravel(), axes * 16, 2 * axes * 16 + lane, axes, reach2, sure2)
        assert found == bits(distance <= reach2) | bits(distance < sure2) << 16


@pytest.mark.parametrize("axes", [4, 12])
def test_sixteen_boxes(axes, rng):
    low = rng.integers(-9, 9, (axes, 16)).astype(np.float32)
    high = low + rng.integers(0, 4, (axes, 16)).astype(np.float32)
    low[:, 14:], high[:, 14:] = np.inf, -np.inf
    lanes = np.concatenate([low.ravel(), high.ravel()])
    for lane in range(14):
        gap = np.maximum(0, np.maximum(low - high[:, lane, None], low[:, lane, None] - high))
        squared = (gap * gap).sum(axis=0)
        reach2 = np.sort(squared)[6]
        found = _boxes(lanes, 0, axes * 16, lanes, lane, axes * 16 + lane, axes, reach2)
        assert found == bits(squared <= reach2)
        assert not found >> 14


def test_lanes_are_packed(rng):
    values = rng.integers(0, 1 << 30, 48).astype(np.int32)
    for mask in (0, 1, 1 << 15, 0xFFFF, 0b1010_0110_0000_0001, *rng.integers(0, 1 << 16, 50).tolist()):
        out = np.full(40, -1, np.int32)
        count = _keep(values, 16, mask, out, 5)
        assert out[5 : 5 + count].tolist() == [values[16 + n] for n in range(16) if mask >> n & 1]
        assert (out[:5] == -1).all()
        assert (out[21:] == -1).all()
    assert [_lowest(mask) for mask in (1, 6, 1 << 40)] == [0, 1, 40]


def test_other_processors_find_the_same(tmp_path):
    code = """
import numpy as np
from trkx.runtime.neighbours import radius_graph
points = np.random.default_rng(5).normal(size=(3000, 6)).astype(np.float32)
pairs = radius_graph(points, 1.0).pairs
assert pairs.shape[1] > 5_000
assert np.array_equal(pairs, radius_graph(points, 1.0, backend="brute").pairs)
"""
    generic = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=generic, check=True)


@pytest.mark.parametrize("size", [2, 15, 40, 5000])
@pytest.mark.parametrize("kind", ["spread", "equal", "two values", "sorted"])
def test_kth(size, kind, rng):
    values = {
        "spread": rng.normal(size=size), "equal": np.ones(size), "two values": rng.integers(0, 2, size) * 1.5,
        "sorted": np.arange(size) * 0.5,
    }[kind]
    for k in {1, 2, size // 2, size}:
        assert kth(values.copy(), k) == np.sort(values)[k - 1]


@pytest.mark.parametrize("kind", ["spread", "few values", "one differs", "striped"])
@pytest.mark.parametrize("place", [16, 512, 1984])
def test_cut(kind, place, rng):
    points = np.zeros((2000, 3), np.float32)
    points[:, 1] = {
        "spread": rng.normal(size=2000), "few values": rng.integers(0, 4, 2000), "one differs": np.arange(2000) == 777,
        "striped": np.arange(2000) % 31 == 5,  # what an evenly spaced sample does not see
    }[kind]
    order = rng.permutation(2000) if kind != "striped" else np.arange(2000)
    assert cut(points, order, np.empty(2000, np.float32), 0, 2000, place)
    assert points[order[:place], 1].max() <= points[order[place:], 1].min()
    assert sorted(order.tolist()) == list(range(2000))


def test_equal_points_are_not_cut():
    order = np.arange(500)
    assert not cut(np.ones((500, 4), np.float32), order, np.empty(500, np.float32), 0, 500, 256)
    sort_subtree(np.ones((500, 4), np.float32), order, 0, 500)
    assert order.tolist() == list(range(500))


@pytest.mark.parametrize("count", [1, 16, 17, 300, 20_000])
def test_blocks(count, rng):
    points = rng.normal(size=(count, 6)).astype(np.float32)
    blocks = blocks_from_points(points, 2)
    size = -(-count // 16)
    assert sorted(blocks.ids[:count].tolist()) == list(range(count))
    np.testing.assert_array_equal(blocks.points, points[blocks.ids[:count]])
    lanes = blocks.lanes.reshape(size, 8, 16)
    np.testing.assert_array_equal(lanes.transpose(0, 2, 1).reshape(-1, 8)[:count, :6], blocks.points)
    assert np.isinf(lanes.transpose(0, 2, 1).reshape(-1, 8)[count:]).all()
    assert not lanes[:-1, 6:].any()
    bounds = blocks.bounds.reshape(-1, 2, 8, 16)
    for level, start in enumerate(blocks.levels.tolist()):
        width = 16 ** (level + 1)
        for box in range(-(-count // width)):
            inside = blocks.points[box * width : (box + 1) * width]
            group = bounds[start + box // 16, :, :6, box % 16]
            np.testing.assert_array_equal(group, [inside.min(axis=0), inside.max(axis=0)])
    assert len(bounds) == blocks.levels[-1] + 1
    same = blocks_from_points(points, 1)
    assert all(np.array_equal(one, other) for one, other in zip(blocks, same, strict=True))


@pytest.mark.parametrize("few", [0, 1 << 20])
@pytest.mark.parametrize("count", [2, 5, 40, 1000, 1 << 20, 1 << 31])
def test_sorting(few, count, rng, monkeypatch):
    monkeypatch.setattr(sorting, "FEW", few)
    pairs = np.sort(rng.integers(0, count, (2, 30_000)), axis=0)
    pairs = np.unique(pairs[:, pairs[0] < pairs[1]], axis=1)
    half = key_bits(count)
    keys = rng.permutation(pairs[0] << half | pairs[1])
    parts = np.array_split(keys, 7)
    found = sorted_pairs(list(parts), [bucket_counts(part, half) for part in parts], half, 3)
    np.testing.assert_array_equal(found, pairs)


@pytest.mark.parametrize("k_max", [None, 1, 20, 100])
def test_enough_pairs_for_the_radix_sort(k_max, rng):
    points = rng.normal(0, 0.3, (6000, 3)).astype(np.float32)
    everything = radius_graph(points, 0.25, backend="kdtree").pairs
    assert everything.shape[1] > sorting.FEW
    expected, truncated = keep_nearest(points, everything, k_max)
    for threads in (1, 3):
        found = radius_graph(points, 0.25, k_max, threads=threads)
        np.testing.assert_array_equal(found.pairs, expected)
        assert found.truncated == truncated


@pytest.mark.parametrize("case", range(40))
def test_random_clouds(case, rng):
    count, dim = int(rng.integers(2, 900)), int(rng.integers(1, 33))
    points = rng.normal(size=(count, dim))
    if case % 4 == 1:  # many distances are equal, and many are just the radius
        points = np.round(points)
    if case % 4 == 2:
        points = points[rng.integers(0, count // 5 + 1, count)]
    if case % 4 == 3:
        points *= 10.0 ** rng.integers(-2, 5, dim)
    points = points.astype(np.float32)
    distance = np.linalg.norm(points[rng.integers(0, count, 50)] - points[rng.integers(0, count, 50)], axis=1)
    radius = float(np.quantile(distance, rng.uniform(0.02, 0.6))) or 1.0
    for k_max in (None, int(rng.integers(1, 30))):
        expected = radius_graph(points, radius, k_max, "brute")
        found = radius_graph(points, radius, k_max)
        np.testing.assert_array_equal(found.pairs, expected.pairs)
        assert found.truncated == expected.truncated


def test_distances_are_counted(rng):
    points = rng.normal(size=(3000, 5)).astype(np.float32)
    work = search_work(points, 0.5)
    pairs = radius_graph(points, 0.5).pairs.shape[1]
    assert pairs < work.distances < work.boxes * 16 < 3008 * 3008 * 16
    # all tiles of 16 x 16, but for the empty half of the last block, which meets only itself
    assert search_work(points, 100.0).distances == 188 * 189 // 2 * 256 - 8 * 16
    assert search_work(points[:1], 0.5) == (0, 0)
