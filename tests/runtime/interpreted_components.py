"""Run by test_cuda_components.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import os

import numpy as np
import pytest
import torch

from trkx.errors import InputError
from trkx.runtime.cuda import twins
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.labelling import connected_components

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


def path(rng, hits):
    order = rng.permutation(hits)
    return np.stack([order[:-1], order[1:]])[:, rng.permutation(hits - 1)]


GRAPHS = {  # hits, edges
    "nothing": lambda rng: (0, np.empty((2, 0), np.int64)),
    "one hit": lambda rng: (1, np.empty((2, 0), np.int64)),
    "a hit and itself": lambda rng: (1, np.zeros((2, 3), np.int64)),
    "no edges": lambda rng: (7, np.empty((2, 0), np.int64)),
    "sparse": lambda rng: (1000, rng.integers(0, 1000, (2, 600))),
    "at the threshold": lambda rng: (1000, rng.integers(0, 1000, (2, 1000))),
    "dense": lambda rng: (300, rng.integers(0, 300, (2, 4000))),
    "repeated": lambda rng: (50, rng.integers(0, 50, (2, 20)).repeat(30, axis=1)),
    "a path upwards": lambda rng: (2000, np.stack([np.arange(1999), np.arange(1, 2000)])),
    "a path downwards": lambda rng: (2000, np.stack([np.arange(1999, 0, -1), np.arange(1998, -1, -1)])),
    "a shuffled path": lambda rng: (2000, path(rng, 2000)),
    "a star": lambda rng: (700, np.stack([np.full(699, 699), np.arange(699)])),
    "tracks": lambda rng: (1200, np.concatenate([path(rng, 12) + 12 * n for n in range(100)], 1)[:, rng.permutation(1100)]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_cpu(name, rng):
    hits, edges = GRAPHS[name](rng)
    edges = edges.astype(np.int64)
    expected = connected_components(edges, hits, "scipy")
    given = torch.from_numpy(edges).to(DEVICE)
    found = components_cuda(given, hits)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    np.testing.assert_array_equal(twins.connected_components(torch.from_numpy(edges), hits).numpy(), expected)
    assert given.cpu().numpy().tolist() == edges.tolist()


def test_order_has_no_say(rng):
    edges = rng.integers(0, 500, (2, 450))
    first = components_cuda(torch.from_numpy(edges).to(DEVICE), 500)
    for _ in range(3):
        shuffled = edges[:, rng.permutation(450)]
        swapped = np.where(rng.random(450) < 0.5, shuffled, shuffled[::-1])
        assert torch.equal(components_cuda(torch.from_numpy(swapped).to(DEVICE), 500), first)
    assert 10 < int(first.max()) < 400


def test_refuses_what_makes_no_sense():
    for edges in (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), torch.zeros(2, 3)):
        with pytest.raises(InputError, match="edges must be int64"):
            components_cuda(edges.to(DEVICE), 5)
    for bad in ([[0], [5]], [[-1], [2]]):
        with pytest.raises(InputError, match="but there are 5 hits"):
            components_cuda(torch.tensor(bad, device=DEVICE), 5)
    with pytest.raises(InputError, match="but there are 0 hits"):
        components_cuda(torch.tensor([[0], [0]], device=DEVICE), 0)
