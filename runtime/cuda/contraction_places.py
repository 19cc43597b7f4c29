"""Where edge contraction on a GPU puts the hits and edges of mixed components: each a square matrix of its size class.

A component is mixed if an edge below 0 lies between its hits (`trkx.runtime.labelling.split`), and goes by its root, its lowest
hit. Components take numbers, and hits slots, in whatever order programs come. Hits are then put in order by counting, and whole
numbers summed: the pairs to join, and so the clusters, are the same in every run.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton.language as tl

from trkx.runtime.cuda.launch import kernel

SMALLEST = 16
CLASSES = 6
SIZES = tuple(SMALLEST << group for group in range(CLASSES))
"""Places of a component of each class: 16, 32, 64, 128, 256, 512. A component with more hits has none."""
BLOCK = 128
WARPS = 4
PLAIN = {"BLOCK": BLOCK, "num_warps": WARPS, "enable_fp_fusion": False}
SETTINGS = PLAIN | {"SMALLEST": SMALLEST, "CLASSES": CLASSES}


class Mixed(NamedTuple):
    """Mixed components.

    size: hits of each, at its root, 0 at other hits, int32 [N]. number: of each in its class, int32 [N]. counts: of components in
    each class, and of larger ones, int32 [CLASSES + 1].
    """

    size: torch.Tensor
    number: torch.Tensor
    counts: torch.Tensor


class Places(NamedTuple):
    """Places of hits, component after component, class after class, each component's in the order of its hits.

    place: of each hit, int32 [N], -1 where it has none. hit: at each place, int32, -1 where a component leaves it free.
    """

    place: torch.Tensor
    hit: torch.Tensor


def mixed_components(source: torch.Tensor, target: torch.Tensor, units: torch.Tensor, root: torch.Tensor) -> Mixed:
    """Return the mixed components of edges and their weights, int64 [E] each and `aligned`, with the root of each hit, int32 [N].

    E and N are above 0. Three launches, and no wait for the device.
    """
    hits, edges = len(root), len(source)
    row = hits + -hits % 4  # so that each begins at a multiple of 16 bytes
    mixed, size, number = torch.zeros((3, row), dtype=torch.int32, device=root.device)[:, :hits]
    counts = torch.zeros(CLASSES + 1, dtype=torch.int32, device=root.device)
    grid = (-(-hits // BLOCK),)
    mark_kernel[(-(-edges // BLOCK),)](source, target, units, root, mixed, edges, **PLAIN)
    size_kernel[grid](root, mixed, size, hits, **PLAIN)
    number_kernel[grid](size, number, counts, hits, **SETTINGS)
    return Mixed(size, number, counts)


def placed(root: torch.Tensor, mixed: Mixed, places: int, limit: int) -> Places:
    """Return places for the hits of mixed components with at most `limit` hits; places: of all of them. Two launches."""
    hits = len(root)
    filled, slots = torch.zeros_like(root), torch.empty(places, dtype=torch.int32, device=root.device)
    place, hit = torch.empty_like(root), torch.full_like(slots, -1)
    grid = (-(-hits // BLOCK),)
    slot_kernel[grid](root, *mixed, filled, slots, hits, limit, **SETTINGS)
    place_kernel[grid](root, *mixed, slots, place, hit, hits, limit, **SETTINGS)
    return Places(place, hit)


@kernel()
def class_of(size: tl.tensor, SMALLEST: tl.constexpr, CLASSES: tl.constexpr) -> tl.tensor:
    """Return the class of components with so many hits, int32; CLASSES for those beyond."""
    group = (size > SMALLEST).to(tl.int32)
    for number in tl.static_range(1, CLASSES):
        group += (size > (SMALLEST << number)).to(tl.int32)
    return group


@kernel()
def first_of(counts: tl.tensor, group: tl.tensor, SMALLEST: tl.constexpr, CLASSES: tl.constexpr) -> tl.tensor:
    """Return the first place of classes, int32, by the counts of components in each class."""
    first = group * 0
    for number in tl.static_range(0, CLASSES - 1):
        first += tl.where(group > number, tl.load(counts + number) * (SMALLEST << number), 0)
    return first


@kernel("edges")
def mark_kernel(
    source: tl.tensor, target: tl.tensor, units: tl.tensor, root: tl.tensor, mixed: tl.tensor, edges: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: 1 to mixed, int32 [N], at the root of each edge below 0 of [n * BLOCK, (n + 1) * BLOCK) inside a component."""
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = edge < edges
    live = live & (tl.load(units + edge, mask=live, other=0) < 0)
    one, two = tl.load(source + edge, mask=live, other=0), tl.load(target + edge, mask=live, other=0)
    home = tl.load(root + one, mask=live, other=0)
    live = live & (one != two) & (home == tl.load(root + two, mask=live, other=0))
    tl.store(mixed + home, tl.full([BLOCK], 1, tl.int32), mask=live)  # whoever comes last writes the same


@kernel("hits")
def size_kernel(root: tl.tensor, mixed: tl.tensor, size: tl.tensor, hits: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Program n: add hits [n * BLOCK, (n + 1) * BLOCK) of mixed components to size, int32 [N], at their roots."""
    hit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = hit < hits
    home = tl.load(root + hit, mask=live, other=0)
    live = live & (tl.load(mixed + home, mask=live, other=0) != 0)
    tl.atomic_add(size + home, tl.full([BLOCK], 1, tl.int32), mask=live, sem="relaxed")


@kernel("hits")
def number_kernel(
    size: tl.tensor, number: tl.tensor, counts: tl.tensor, hits: tl.tensor,
    BLOCK: tl.constexpr, SMALLEST: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: number in its class, int32 [N], of each component with its root in [n * BLOCK, (n + 1) * BLOCK)."""
    hit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    has = tl.load(size + hit, mask=hit < hits, other=0)
    one = tl.full([BLOCK], 1, tl.int32)
    mine = tl.atomic_add(counts + class_of(has, SMALLEST, CLASSES), one, mask=has > 0, sem="relaxed")
    tl.store(number + hit, mine, mask=has > 0)


@kernel("hits", "limit")
def slot_kernel(
    root: tl.tensor, size: tl.tensor, number: tl.tensor, counts: tl.tensor, filled: tl.tensor, slots: tl.tensor, hits: tl.tensor,
    limit: tl.tensor, BLOCK: tl.constexpr, SMALLEST: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: put hits [n * BLOCK, (n + 1) * BLOCK) among those of their component in slots, int32; filled: how many, [N]."""
    hit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    home = tl.load(root + hit, mask=hit < hits, other=0)
    has = tl.load(size + home, mask=hit < hits, other=0)
    live = (has > 0) & (has <= limit)
    group = class_of(has, SMALLEST, CLASSES)
    start = first_of(counts, group, SMALLEST, CLASSES) + tl.load(number + home, mask=live, other=0) * (SMALLEST << group)
    slot = tl.atomic_add(filled + home, tl.full([BLOCK], 1, tl.int32), mask=live, sem="relaxed")
    tl.store(slots + start + slot, hit, mask=live)


@kernel("hits", "limit")
def place_kernel(
    root: tl.tensor, size: tl.tensor, number: tl.tensor, counts: tl.tensor, slots: tl.tensor, place: tl.tensor, hit_at: tl.tensor,
    hits: tl.tensor, limit: tl.tensor, BLOCK: tl.constexpr, SMALLEST: tl.constexpr, CLASSES: tl.constexpr,
) -> None:  # fmt: skip
    """Program n: place, int32 [N], of hits [n * BLOCK, (n + 1) * BLOCK): as many of their component come before; -1: none."""
    hit = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    home = tl.load(root + hit, mask=hit < hits, other=0)
    has = tl.load(size + home, mask=hit < hits, other=0)
    live = (has > 0) & (has <= limit)
    has = tl.where(live, has, 0)
    group = class_of(has, SMALLEST, CLASSES)
    start = first_of(counts, group, SMALLEST, CLASSES) + tl.load(number + home, mask=live, other=0) * (SMALLEST << group)
    found = start
    slot, most = 0, tl.max(has, 0)
    while slot < most:
        found += (tl.load(slots + start + slot, mask=slot < has, other=hits) < hit).to(tl.int32)
        slot += 1
    tl.store(place + hit, tl.where(live, found, -1), mask=hit < hits)
    tl.store(hit_at + found, hit, mask=live)
