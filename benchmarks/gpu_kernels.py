"""Kernels of networks on fresh random inputs: sums over edges, with hits of many edges among them, and chains of layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from gpu_checks import Check, judged_close
from gpu_device import Device

from trkx.runtime.cuda.networks.chain import DeviceChain, Gather
from trkx.runtime.cuda.networks.chain_twins import ChainTwin
from trkx.runtime.cuda.networks.sums import PIECE, gathered, segments_from_index
from trkx.runtime.tiled.chains import Chain, Layer
from trkx.runtime.tiled.rows import Step

WIDTH = 48
HUBS = (PIECE - 1, PIECE, PIECE + 1, 10_000)
HIDDEN = (Step("norm"), Step("scale"), Step("act", "silu"))
NAMED = ("fp32", "tf32", "bf16", "fp16")


def kernels(device: Device, sizes: tuple[int, ...], precisions: tuple[str, ...], seed: int) -> Iterator[Check]:
    """Compare sums and chains with float64 on the same device; in reduced precision with the same rounding."""
    rng = np.random.default_rng(seed)
    for rows in sizes:
        yield from sums(device, rows, rng)
        for widths in ((WIDTH, WIDTH), (96, 96, 96), (512, 512)):
            for precision in precisions:
                if precision in NAMED:
                    yield chain(device, rows, widths, precision, rng)


def sums(device: Device, edges: int, rng: np.random.Generator) -> Iterator[Check]:
    """Compare sums and maxima of random edges at hits, a few of which have as many as `HUBS` says, if there are so many."""
    hits = max(edges // 4, 1)
    index = rng.integers(0, hits, edges)
    place = 0
    for number, count in enumerate(HUBS):
        if place + count <= edges // 2 and number < hits:
            index[place : place + count] = number
            place += count
    there = torch.from_numpy(rng.permutation(index)).to(device.torch)
    values = torch.from_numpy(rng.normal(size=(edges, WIDTH)).astype(np.float32)).to(device.torch)
    segments = segments_from_index(there, hits)
    wide = values.double()
    wanted = wide.new_zeros(hits, WIDTH).index_add_(0, there, wide)
    yield judged_close(f"sums of {edges:,} edges at {hits:,} hits", gathered("sum", values, segments), wanted, "fp32")
    spread = there[:, None].expand(-1, WIDTH)
    most = wide.new_full((hits, WIDTH), -torch.inf).scatter_reduce_(0, spread, wide, "amax")
    most = torch.where(most == -torch.inf, 0.0, most)
    same = torch.equal(gathered("max", values, segments).double(), most)
    yield Check(f"maxima of {edges:,} edges at {hits:,} hits", "equal" if same else "differ", same)


def chain(device: Device, rows: int, widths: tuple[int, ...], precision: str, rng: np.random.Generator) -> Check:
    """Compare the logits of a chain with random weights, of rows that read a block of their own and gather two of hits."""
    blocks = {"edge": 20, "source": 7, "target": 7}
    inputs = sum(blocks.values())
    layers = []
    for width in widths:
        layers.append(_layer(rng, inputs, width, HIDDEN))
        inputs = width
    layers.append(_layer(rng, inputs, 1, ()))
    parts = np.split(layers[0].weight, np.cumsum(list(blocks.values()))[:-1], axis=1)
    made = Chain({name: np.ascontiguousarray(part) for name, part in zip(blocks, parts, strict=True)}, tuple(layers), judges=True)
    hits = max(rows // 3, 1)
    edge, node = (torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(device.torch)
                  for shape in ((rows, 20), (hits, 7)))
    ends = torch.from_numpy(rng.integers(0, hits, (2, rows))).to(device.torch)
    found = []
    for one in (DeviceChain.of(made, precision, device.torch), ChainTwin(made, precision, device.torch, torch.float64)):
        products = [one.product(name, node, name == "source") for name in ("source", "target")]
        gathers = [Gather(product, end) for product, end in zip(products, ends, strict=True)]
        found.append(one.logits(rows, {"edge": edge}, gathers))
    name = f"chain of {' x '.join(map(str, widths))} in {precision}, {rows:,} rows"
    return judged_close(name, found[0], found[1].double().reshape(-1), precision)


def _layer(rng: np.random.Generator, inputs: int, outputs: int, steps: tuple[Step, ...]) -> Layer:
    weight, bias = rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), 0.1 * rng.normal(size=outputs)
    factor, summand = (start + 0.1 * rng.normal(size=outputs) for start in (1.0, 0.0))
    scales = tuple((factor.astype(np.float32), summand.astype(np.float32)) for step in steps if step.kind == "scale")
    return Layer(weight.astype(np.float32), bias.astype(np.float32), steps, scales)
