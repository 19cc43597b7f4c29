from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from trkx.errors import InputError, SpecError
from trkx.runtime.neighbours import BACKENDS, pair_stream, radius_graph


def cloud(rng, count=4000, dim=8):
    centres = rng.normal(size=(count // 20, dim))
    return (centres[rng.integers(0, len(centres), count)] + rng.normal(0, 0.1, (count, dim))).astype(np.float32)


def in_order(parts):
    pairs = np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1)
    return pairs[:, np.lexsort((pairs[1], pairs[0]))]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k_max", [None, 1, 7, 10_000])
@pytest.mark.parametrize("task_pairs", [1, 500, 1 << 40])
def test_the_stream_holds_the_pairs_of_the_graph(backend, k_max, task_pairs, rng):
    points = cloud(rng, 1500)
    expected = radius_graph(points, 0.5, k_max, "brute")
    stream = pair_stream(points, 0.5, k_max, backend, task_pairs=task_pairs)
    parts = [stream.pairs(task) for task in range(stream.tasks)]
    assert all(part.dtype == np.int64 and part.ndim == 2 and (part[0] < part[1]).all() for part in parts)
    np.testing.assert_array_equal(in_order(parts), expected.pairs)
    assert stream.truncated == expected.truncated
    assert (stream.truncated > 0) == (k_max in (1, 7))
    if task_pairs == 1 << 40:
        assert stream.tasks == 1


@pytest.mark.parametrize("k_max", [None, 12])
def test_many_threads_get_the_same_tasks(k_max, rng):
    points = cloud(rng)
    serial = pair_stream(points, 0.5, k_max, threads=1, task_pairs=1000)
    shared = pair_stream(points, 0.5, k_max, threads=4, task_pairs=1000)
    assert shared.tasks == serial.tasks > 20
    numbers = [*range(serial.tasks), *reversed(range(serial.tasks))]
    with ThreadPoolExecutor(8) as pool:
        for number, part in zip(numbers, pool.map(shared.pairs, numbers), strict=True):
            np.testing.assert_array_equal(part, serial.pairs(number))


def test_tasks_hold_about_as_many_pairs_as_asked_for(rng):
    dense, sparse = rng.normal(0, 0.07, (3000, 4)), rng.normal(0, 3.0, (20_000, 4))
    points = np.concatenate([dense, sparse]).astype(np.float32)
    stream = pair_stream(points, 0.1, task_pairs=5000)
    sizes = np.array([stream.pairs(task).shape[1] for task in range(stream.tasks)])
    assert sizes.sum() > 100_000
    assert 1500 < np.median(sizes[sizes > 500]) < 15_000
    assert sizes.max() < 40_000


def test_neighbours_in_space_come_together(rng):
    points = cloud(rng)
    pairs = pair_stream(points, 0.5).pairs(0)
    steps = np.linalg.norm(np.diff(points[pairs[0]], axis=0), axis=1)
    assert np.median(steps) < 0.5 < np.median(np.linalg.norm(np.diff(points, axis=0), axis=1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [0, 1, 2, 16, 17, 33])
def test_small_and_equal(backend, count):
    stream = pair_stream(np.full((count, 5), 2.5, np.float32), 0.1, backend=backend)
    assert sum(stream.pairs(task).shape[1] for task in range(stream.tasks)) == count * (count - 1) // 2


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k_max", [None, 3])
def test_too_many_pairs(backend, k_max):
    points = np.zeros((3000, 8), np.float32)
    with pytest.raises(InputError, match=r"more than 100,000 pairs within 0\.1 among 3,000 hits"):
        pair_stream(points, 0.1, k_max, backend, max_pairs=100_000)


def test_too_many_pairs_that_a_sample_did_not_show(rng):
    points = cloud(rng, 12_000)
    total = radius_graph(points, 0.5).pairs.shape[1]
    stream = pair_stream(points, 0.5, max_pairs=total - 1, task_pairs=1000)
    with pytest.raises(InputError, match="more than"):
        for task in range(stream.tasks):
            stream.pairs(task)
    with pytest.raises(InputError, match="more than"):
        pair_stream(points, 0.5, 3, max_pairs=total - 1)
    stream = pair_stream(points, 0.5, max_pairs=total, task_pairs=1000)
    for task in [*range(stream.tasks), *range(stream.tasks)]:  # asked for twice is not found twice
        stream.pairs(task)
    assert pair_stream(points, 0.5, 3, max_pairs=total).truncated


def test_no_such_task(rng):
    stream = pair_stream(cloud(rng, 100), 0.5)
    for task in (-1, stream.tasks):
        with pytest.raises(IndexError, match=r"tasks are 0 to"):
            stream.pairs(task)


def test_bad_input():
    with pytest.raises(SpecError, match="Did you mean 'grid'"):
        pair_stream(np.zeros((4, 3), np.float32), 1.0, backend="gird")
    with pytest.raises(InputError, match="1 of 2 points"):
        pair_stream(np.array([[0.0], [np.nan]], np.float32), 1.0)
