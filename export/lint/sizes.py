"""Lengths of axes in hits and edges, and the arithmetic of shapes that is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

HUGE = 2**62


@dataclass(frozen=True)
class Size:
    """Length of an axis: `edges` times num_edges plus `hits` times num_hits plus `fixed`."""

    edges: int = 0
    hits: int = 0
    fixed: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.edges + other.edges, self.hits + other.hits, self.fixed + other.fixed)

    def __mul__(self, factor: int) -> Size:
        return Size(self.edges * factor, self.hits * factor, self.fixed * factor)

    def __str__(self) -> str:
        parts = [("num_edges", self.edges), ("num_hits", self.hits)]
        shown = [name if factor == 1 else f"{factor} {name}" for name, factor in parts if factor]
        return " + ".join([*shown, *([str(self.fixed)] if self.fixed or not shown else [])])

    @property
    def dynamic(self) -> bool:
        """Whether the length changes with the event."""
        return bool(self.edges or self.hits)

    def at(self, edges: int, hits: int) -> int:
        """Return the length in an event of so many edges and hits."""
        return self.edges * edges + self.hits * hits + self.fixed


Sizes = tuple[Size | None, ...]
ONE, MINUS_ONE = Size(fixed=1), Size(fixed=-1)


def tame(size: Size | None) -> Size | None:
    """Return a size, None for one that no tensor has: a hostile graph may double it in every node."""
    return size if size is not None and max(abs(size.edges), abs(size.hits), abs(size.fixed)) < HUGE else None


def elements(sizes: Sizes, edges: int, hits: int) -> int | None:
    """Return how many elements a value has in an event, None if an axis is unknown."""
    return prod(size.at(edges, hits) for size in sizes if size is not None) if None not in sizes else None


def shown(sizes: Sizes) -> str:
    """Return sizes as messages show them."""
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"


def broadcast(one: Sizes | None, other: Sizes | None) -> Sizes | None:
    """Return the sizes of two values that are broadcast against each other, None if a rank is unknown."""
    if one is None or other is None:
        return None
    rank = max(len(one), len(other))
    left = (ONE,) * (rank - len(one)) + one
    right = (ONE,) * (rank - len(other)) + other
    return tuple(_wider(a, b) for a, b in zip(left, right, strict=True))


def clash(one: Sizes | None, other: Sizes | None) -> tuple[Size, Size] | None:
    """Return (a length that changes with the event, a fixed one above 1) that are broadcast against each other, if any."""
    if one is None or other is None:
        return None
    for a, b in zip(reversed(one), reversed(other), strict=False):
        for moving, fixed in ((a, b), (b, a)):
            if moving is not None and fixed is not None and moving.dynamic and not fixed.dynamic and fixed.fixed > 1:
                return moving, fixed
    return None


def _wider(one: Size | None, other: Size | None) -> Size | None:
    if one == ONE:
        return other
    if other == ONE or one == other:
        return one
    for size, unknown in ((one, other), (other, one)):
        if size is not None and unknown is None and not size.dynamic:
            return size  # the other can only be 1 or the same
    return None


def reshaped(given: Sizes | None, wanted: Sizes, allow_zero: bool = False) -> Sizes:
    """Return the sizes of a value of sizes `given` after Reshape to `wanted`: 0 copies an axis, -1 is what is left."""
    result = list(copied(given, wanted, allow_zero))
    if MINUS_ONE in result:
        result[result.index(MINUS_ONE)] = _left_over(given, [size for size in result if size != MINUS_ONE])
    return tuple(result)


def copied(given: Sizes | None, wanted: Sizes, allow_zero: bool = False) -> Sizes:
    """Return the target of a Reshape with its zeros replaced by the axes that they copy."""
    if allow_zero:
        return wanted
    known = given or ()
    return tuple(
        size if size != Size() else known[place] if place < len(known) else None for place, size in enumerate(wanted)
    )


def uncancelled(given: Sizes, others: Sequence[Size | None]) -> tuple[list[Size], int, int] | None:
    """Return (lengths of `given` that move with the event and are not among `others`, product of its fixed ones, of theirs).

    None if a length is unknown, or if one of `others` moves and is not among those of `given`.
    """
    if None in given or None in others:
        return None
    moving = [size for size in given if size is not None and size.dynamic]
    for size in others:
        if size is not None and size.dynamic:
            if size not in moving:
                return None
            moving.remove(size)
    have = prod(size.fixed for size in given if size is not None and not size.dynamic)
    need = prod(size.fixed for size in others if size is not None and not size.dynamic)
    return moving, have, need


def _left_over(given: Sizes | None, others: Sequence[Size | None]) -> Size | None:
    rest = uncancelled(given, others) if given is not None else None
    if rest is None or len(rest[0]) > 1 or rest[2] <= 0:
        return None
    moving, have, need = rest
    whole = (moving[0] if moving else ONE) * have
    if any(part % need for part in (whole.edges, whole.hits, whole.fixed)):
        return None
    return Size(whole.edges // need, whole.hits // need, whole.fixed // need)
