"""The lowerings as rows: name, what it is, and how it is written. Which target gets which stands in `trkx.export.targets`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trkx.errors import ExportError, unknown_name
from trkx.export.lowerings import buckets, doubling, prefix64, scatter, segments
from trkx.export.lowerings.aggregations import Aggregation
from trkx.export.lowerings.builder import Builder
from trkx.export.targets import target_of

Prepare = Callable[[Builder, str, str], Any]
"""(builder, name of index [E], name of size [1]) to what all sums over that index share."""
Write = Callable[[Builder, Any, Aggregation], str]
"""(builder, prepared, aggregation) to the name of the result, [N, F]; a node without edges has 0 (sum) or -infinity (max)."""


@dataclass(frozen=True)
class Lowering:
    """One way to sum over edges.

    Attributes:
        name: the word of `--lowering`.
        title: what it is, in a few words.
        prepare, total: how it is written.
        largest: the same for maxima; None: maxima are written as ScatterElements.
        double: needs real float64.
        sorts: sorts the edges in the file (TopK over all edges).
    """

    name: str
    title: str
    prepare: Prepare
    total: Write
    largest: Write | None
    double: bool = False
    sorts: bool = True


LOWERINGS: Mapping[str, Lowering] = {
    row.name: row
    for row in (
        Lowering(
            "buckets",
            "gather by degree, sum the middle axis",
            buckets.prepare,
            lambda b, p, a: buckets.total(b, p, a.values),
            lambda b, p, a: buckets.largest(b, p, a.values),
            double=True,
        ),
        Lowering(
            "scatter",
            "ScatterElements(add), a few columns at a time",
            scatter.prepare,
            lambda b, p, a: scatter.total(b, p, a.values, a.width),
            lambda b, p, a: scatter.largest(b, p, a.values, a.width),
            sorts=False,
        ),
        Lowering(
            "prefix64",
            "differences of a running sum in float64",
            prefix64.prepare,
            lambda b, p, a: prefix64.total(b, p, a.values),
            None,
            double=True,
        ),
        Lowering(
            "doubling",
            "segmented doubling",
            doubling.prepare,
            lambda b, p, a: doubling.total(b, p, a.values, a.kind),
            lambda b, p, a: doubling.largest(b, p, a.values, a.kind),
        ),
        Lowering(
            "segments",
            "counting sort, segmented sums in blocks of 32",
            segments.prepare,
            lambda b, p, a: segments.total(b, p, a.values, a.kind),
            lambda b, p, a: segments.largest(b, p, a.values, a.kind),
            sorts=False,
        ),
    )
}


def lowering_of(target: str, name: str | None = None) -> Lowering:
    """Return the lowering of a target: its default, or the one that is asked for if the target can run it.

    Raises:
        ExportError: an unknown target or lowering, a target that is no ONNX engine, or one on which that lowering is not right.
    """
    row = target_of(target)
    if not row.lowerings:
        raise ExportError(f"target {target} takes {row.format} files, in which sums are torch's own; a lowering is for ONNX.")
    if name is None:
        return LOWERINGS[row.lowerings[0]]
    if name not in LOWERINGS:
        raise ExportError(unknown_name("lowering", name, LOWERINGS))
    if name not in row.lowerings:
        raise ExportError(f"lowering {name} is not right or not fast on {target}; choose {' or '.join(row.lowerings)}.")
    return LOWERINGS[name]
