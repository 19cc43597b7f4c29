"""Run by test_cuda_contraction.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import os

import numpy as np
import pytest
import torch
from support.small_events import small_events

from trkx.runtime.cuda import contraction, labelling
from trkx.runtime.cuda.contraction import batches, contract_on_device, most_units
from trkx.runtime.cuda.contraction_places import SIZES, mixed_components
from trkx.runtime.cuda.labelling import edge_contraction_cuda
from trkx.runtime.labelling import edge_contraction
from trkx.runtime.labelling.contract import contract
from trkx.runtime.neighbours import radius_graph

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def on_device(edges, weight, hits, in_registers=128):
    return edge_contraction_cuda(
        torch.from_numpy(edges).to(DEVICE), torch.from_numpy(np.asarray(weight, np.float64)).to(DEVICE), hits, in_registers
    ).cpu().numpy()


def component(rng, hits, density=1.5, highest=4):
    """Return edges and weights that make one component, with negative edges inside and ties: a tree and others."""
    tree = np.stack([rng.integers(0, np.arange(1, hits)), np.arange(1, hits)])
    others = rng.integers(0, hits, (2, int(density * hits)))
    weight = np.concatenate([rng.integers(1, highest + 1, hits - 1), rng.integers(-highest - 1, highest, others.shape[1])])
    edges, weight = np.concatenate([tree, others, tree[:, :1]], 1), np.append(weight, -1).astype(float)
    flip = rng.random(len(weight)) < 0.5
    return np.where(flip, edges[::-1], edges), weight


def event(rng, sizes, **more):
    """Return components of these sizes, hits and edges in any order, among hits without edges."""
    parts, start = [], 0
    for size in sizes:
        edges, weight = component(rng, size, **more)
        parts.append((edges + start, weight))
        start += size
    hits = int(start) + 5
    edges, weight = np.concatenate([e for e, _ in parts], 1), np.concatenate([w for _, w in parts])
    order = rng.permutation(edges.shape[1])
    return rng.permutation(hits)[edges[:, order]], weight[order], hits


def check(edges, weight, hits, in_registers=128):
    expected = edge_contraction(edges, weight, hits)
    found = on_device(edges, weight, hits, in_registers)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    return expected


@pytest.mark.parametrize("in_registers", [128, 0])
def test_sizes_around_those_of_classes(in_registers, rng):
    sizes = [2, 3, 16, 17, 31, 33, 64, 65, 128, 129] if in_registers else [2, 16, 17, 32, 65, 128]
    expected = check(*event(rng, sizes, density=1.0), in_registers)
    assert len(sizes) + 5 < expected.max() + 1 < 300


def test_a_full_component_is_in_its_own_class(rng):
    edges, weight, hits = event(rng, [2, 16, 17, 32, 33, 5])
    root = edge_contraction(edges, np.abs(weight), hits)
    root = np.unique(root, return_index=True)[1][root].astype(np.int32)
    given = (*edges, (weight * 2**20).astype(np.int64), root)
    mixed = mixed_components(*(torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE) for array in given))
    assert mixed.counts.tolist() == [3, 2, 1, 0, 0, 0, 0]
    size, number = mixed.size.cpu().numpy(), mixed.number.cpu().numpy()
    assert sorted(size[size > 0]) == [2, 5, 16, 17, 32, 33]
    assert np.array_equal(size[size > 0], np.bincount(root, minlength=hits)[size > 0])
    assert [sorted(number[(size > low) & (size <= 2 * low)]) for low in (16, 32)] == [[0, 1], [0]]


def test_large_ones_and_one_that_is_too_large(rng, monkeypatch):
    on_host = []
    real = labelling._contract_on_host
    monkeypatch.setattr(labelling, "_contract_on_host", lambda *given: (on_host.append(given[-1]), real(*given)))
    check(*event(rng, [129, 7, 257], density=0.3))
    assert not on_host
    check(*event(rng, [20, 513, 3], density=0.3))
    assert on_host == [512]


@pytest.mark.parametrize("in_registers", [128, 0])
@pytest.mark.parametrize(("highest", "density"), [(1, 0.6), (2, 1.0), (3, 4.0)])
def test_many_small_ones(in_registers, highest, density, rng):
    check(*event(rng, rng.integers(2, 24, 15), density=density, highest=highest), in_registers)


def pairs_of(hits):
    return np.stack(np.triu_indices(hits, 1))


GRAPHS = {  # hits, edges, weights
    "no hits": lambda rng: (0, np.empty((2, 0)), []),
    "one hit": lambda rng: (1, np.empty((2, 0)), []),
    "a hit and itself": lambda rng: (1, np.zeros((2, 3)), [1.0, -1.0, 0.0]),
    "one pair, both signs": lambda rng: (2, np.array([[0, 1], [1, 0]]), [2.0, -1.0]),
    "one pair, gone": lambda rng: (2, np.array([[0, 1], [1, 0]]), [1.0, -2.0]),
    "all below 0": lambda rng: (20, rng.integers(0, 20, (2, 50)), -rng.uniform(0.1, 2, 50)),
    "all above 0": lambda rng: (20, rng.integers(0, 20, (2, 50)), rng.uniform(0.1, 2, 50)),
    "all 0": lambda rng: (20, rng.integers(0, 20, (2, 50)), np.zeros(50)),
    "all pairs, all alike but one": lambda rng: (20, pairs_of(20), np.append(np.ones(189), -1.0)),
    "all pairs of a full class": lambda rng: (16, pairs_of(16), rng.integers(-2, 3, 120)),
    "largest weights": lambda rng: (128, pairs_of(128), np.where(rng.random(8128) < 0.6, 1e4, -1e9)),
    "infinite": lambda rng: (30, rng.integers(0, 30, (2, 90)), rng.choice([np.inf, -np.inf, 1.0], 90)),
    "repeated, both ways": lambda rng: (30, rng.integers(0, 30, (2, 40)).repeat(6, axis=1), rng.integers(-3, 4, 240)),
    "halves of a unit": lambda rng: (60, rng.integers(0, 60, (2, 120)), rng.integers(-3, 4, 120) * 0.5 * 2.0**-20),
    "a star": lambda rng: (40, np.stack([np.full(39, 39), np.arange(39)]), rng.integers(-1, 3, 39)),
    "a ring": lambda rng: (70, np.stack([np.arange(70), (np.arange(70) + 1) % 70]), np.append(np.ones(69), -3.0)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name, rng):
    hits, edges, weight = GRAPHS[name](rng)
    for in_registers in (128, 0) if len(weight) < 1000 else (128,):
        check(edges.astype(np.int64), np.asarray(weight, np.float64), hits, in_registers)


def test_graph_of_an_event(rng):
    one = small_events(3)[1]
    x, y, z = one.position.T
    points = np.stack([np.arctan2(y, x) * 3.0, z / np.hypot(x, y), np.hypot(x, y) / 400.0], 1).astype(np.float32)
    edges = radius_graph(points, 0.2).pairs
    distance = np.linalg.norm(points[edges[0]] - points[edges[1]], axis=1)
    weight = 0.13 - distance + rng.normal(0, 0.04, len(distance))
    expected = check(edges, weight, len(one))
    assert len(np.unique(expected)) > len(np.unique(edge_contraction(edges, np.maximum(weight, 0.0), len(one)))) + 20


@pytest.mark.parametrize(("hits", "in_registers"), [(16, 128), (32, 128), (100, 128), (32, 0), (140, 0)])
def test_sums_up_to_the_last_bit_that_they_have(hits, in_registers, rng):
    """Weights given in units, of which all together are just below what fits; a join of all that is above 0 makes such a sum."""
    edges = np.sort(component(rng, hits, density=1.0)[0], axis=0)
    edges = np.ascontiguousarray(np.unique(edges[:, edges[0] != edges[1]], axis=1))
    count = edges.shape[1]
    size = min(size for size in SIZES if size >= hits)
    for part in (0.95, 0.05):
        units = (most_units(size) - 1) // count - rng.integers(0, 9, count)
        units *= np.where(rng.random(count) < part, 1, -1)
        units[0] = -abs(units[0])
        assert most_units(size) * 0.99 < np.abs(units).sum() < most_units(size)
        root = torch.zeros(hits, dtype=torch.int32, device=DEVICE)
        given = [torch.from_numpy(array).to(DEVICE) for array in (*edges, units)]
        mixed = mixed_components(*given, root)
        contract_on_device(*given, root, mixed, mixed.counts.tolist()[:-1], in_registers)
        np.testing.assert_array_equal(root.cpu().numpy(), contract(*edges, units.copy(), hits))


def test_weights_whose_sums_may_not_fit_go_to_the_host(rng, monkeypatch):
    on_host = []
    real = labelling._contract_on_host
    monkeypatch.setattr(labelling, "_contract_on_host", lambda *given: (on_host.append(given[-1]), real(*given)))
    edges, weight, hits = event(rng, [20, 70, 9])
    for name, above in (("none", 0), ("small ones", 16), ("all", None)):
        on_host.clear()
        limits = {"none": 0, "small ones": 1 << 45, "all": 1 << 60}[name]
        monkeypatch.setattr(labelling, "most_units", lambda size, limit=limits: limit >> (0 if size == 16 else 20))
        check(edges, weight, hits)
        assert on_host == ([] if above is None else [above]), name
    assert most_units(128) > 8128 * 1e4 * 2**20 and most_units(512) == 1 << 45


def test_matrices_that_are_too_many_come_in_batches(rng, monkeypatch):
    monkeypatch.setattr(contraction, "CELLS", 4500)
    check(*event(rng, [*rng.integers(2, 17, 25), *rng.integers(17, 30, 5), 60]))
    assert list(batches([3, 0, 2], 4096)) == [[(0, 0, 3)], [(2, 0, 1)], [(2, 1, 1)]]
    assert list(batches([20, 1], 2048)) == [[(0, 0, 8)], [(0, 8, 8)], [(0, 16, 4), (1, 0, 1)]]
    assert list(batches([2, 1, 0, 0], 1 << 25)) == [[(0, 0, 2), (1, 0, 1)]]
    assert list(batches([0, 0], 512)) == []


def test_warming_up_launches_every_form_that_events_do(rng, monkeypatch):
    launched, real = [], contraction._launch
    monkeypatch.setattr(contraction, "_launch", lambda *given: (launched.append((given[3], given[5])), real(*given)))
    contraction.warm_up(torch.device(DEVICE))
    warm = set(launched)
    check(*event(rng, [5, 20, 40]), contraction.IN_REGISTERS)
    assert len(launched) == len(SIZES) + 3 and warm == {(size, contraction.IN_REGISTERS) for size in SIZES}
    assert set(launched) == warm


def test_runs_are_alike_and_inputs_are_left_as_they_are(rng):
    edges, weight, hits = event(rng, rng.integers(2, 40, 8))
    given = torch.from_numpy(edges).to(DEVICE), torch.from_numpy(weight).to(DEVICE)
    first = edge_contraction_cuda(*given, hits)
    for _ in range(2 if DEVICE == "cpu" else 50):
        assert torch.equal(edge_contraction_cuda(*given, hits), first)
    assert np.array_equal(given[0].cpu().numpy(), edges) and np.array_equal(given[1].cpu().numpy(), weight)
    order = rng.permutation(len(weight))
    flat = torch.from_numpy(np.ascontiguousarray(edges[::-1, order].T)).to(DEVICE).t()  # rows that are not contiguous
    assert torch.equal(edge_contraction_cuda(flat, given[1][torch.from_numpy(order).to(DEVICE)], hits), first)
