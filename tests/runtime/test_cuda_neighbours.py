import sys

import numpy as np
import pytest
from support.kernels import MODES, run, run_kernels

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")

from trkx.runtime.cuda import order  # noqa: E402
from trkx.runtime.cuda.order import blocks_from_points, splits  # noqa: E402


@pytest.mark.parametrize("mode", MODES)
def test_neighbours(mode):
    assert " passed" in run_kernels("interpreted_neighbours.py", mode)


REFUSED = """
import torch
from trkx.errors import InputError
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.neighbours import radius_graph_cuda
for call in (lambda: radius_graph_cuda(torch.zeros(4, 3), 1.0), lambda: components_cuda(torch.zeros(2, 3).long(), 4)):
    try:
        call()
    except InputError as error:
        assert "expected a tensor on a CUDA device, found one on cpu; move it there" in str(error), error
    else:
        raise AssertionError("no error")
"""


def test_tensors_on_the_cpu_are_refused_unless_interpreted():
    assert run([sys.executable, "-c", REFUSED], interpret=False).returncode == 0
    assert run([sys.executable, "-c", REFUSED], interpret=True).returncode != 0


@pytest.mark.parametrize("lanes", [16, 32, 64])
def test_leaves_are_rarely_far_from_full(lanes):
    for count in [*range(1, 2000, 7), 30_000, 100_001, 1_000_000]:
        blocks = int(np.prod(splits(count, lanes), dtype=np.int64))
        assert -(-count // blocks) <= lanes
        assert blocks <= 1.26 * -(-count // lanes) + 1


@pytest.mark.parametrize("small", [order.SMALL, 4])
@pytest.mark.parametrize(("count", "dim"), [(1, 1), (2, 3), (33, 1), (500, 8), (777, 32)])
def test_blocks(count, dim, small, rng, monkeypatch):
    monkeypatch.setattr(order, "SMALL", small)
    points = torch.from_numpy(rng.normal(size=(count, dim)).astype(np.float32))
    points[:: 3] = points[0].clone()
    blocks = blocks_from_points(points, 16)
    there = blocks.ids >= 0
    assert sorted(blocks.ids[there].tolist()) == list(range(count))
    rows = blocks.coordinates.transpose(1, 2)[there]
    assert torch.equal(rows, points[blocks.ids[there].long()])
    assert not blocks.coordinates.transpose(1, 2)[~there].any()
    for block in range(len(blocks.ids)):
        inside = blocks.coordinates[block][:, there[block]]
        if inside.shape[1]:
            assert torch.equal(blocks.low[:, block], inside.amin(1))
            assert torch.equal(blocks.high[:, block], inside.amax(1))
        else:
            assert (blocks.low[:, block] == torch.inf).all()
            assert (blocks.high[:, block] == -torch.inf).all()


def test_long_and_short_rows_sort_alike(rng, monkeypatch):
    values = torch.from_numpy(rng.normal(size=(5, 40)).astype(np.float32).round(1))
    values[0, :5], values[1, 3], values[2, 4:6], values[3, 7] = 0.0, -0.0, torch.inf, -1e30
    short = order._sorted(values)
    monkeypatch.setattr(order, "SMALL", 4)
    assert torch.equal(values.gather(1, order._sorted(values)), values.gather(1, short))


def test_blocks_are_compact(rng):
    """In a square, the boxes of 1024 blocks are not much longer than 1/32 of its side."""
    points = torch.from_numpy(rng.uniform(size=(32_000, 2)).astype(np.float32))
    blocks = blocks_from_points(points, 32)
    assert float((blocks.high - blocks.low).mean()) < 2.5 / np.sqrt(blocks.low.shape[1])
