"""TRKX014: a tensor with 2^31 elements or more in the largest event."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.axes import Axes
from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.sizes import elements, shown
from trkx.export.lint.walking import on_tensorrt

LIMIT = 2**31
EDGES_PER_HIT = 10
"""Candidate graphs of tracking have at least about ten edges a hit, so a [num_hits, num_edges] table counts as E * E / 10."""


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    axes, edges = Axes(subject.graph, doors), subject.max_edges
    moving = {name: shape for name, shape in axes.shapes.items() if any(size is not None and size.dynamic for size in shape)}
    counts = {name: elements(shape, edges, edges // EDGES_PER_HIT) or 0 for name, shape in moving.items()}
    wide = {name: count for name, count in counts.items() if count >= LIMIT}
    if not wide:
        return
    name = max(wide, key=lambda item: (wide[item], item))
    others = f", and {len(wide) - 1} more are beyond 2^31" if len(wide) > 1 else ""
    found = f"'{name}' {shown(axes.shapes[name])} has {wide[name]:.2g} elements at {edges} edges"
    yield Remark(f"{found}, more than 32 bits count{others}", name, "error" if on_tensorrt(subject.target) else "warning")


RULE = Rule(
    id="TRKX014",
    name="wide-tensor",
    title="a tensor has 2^31 elements or more in the largest event",
    severity="warning",
    kinds=("onnx",),
    reason=(
        "CUDA kernels and TensorRT's scatter plugin count elements with 32 bits. With 128 features 2^31 is reached at 16.7 "
        "million edges, with concatenated edge inputs (3 x 128) at 5.6 million, with 3 x 256 at 2.8 million."
    ),
    affected="TensorRT, all versions; the CUDA provider of ONNX Runtime; on a CPU it is 8 GiB in float32",
    fix="Lower --max-edges if events are smaller, cut earlier, or split the first layer by block: nothing is concatenated then.",
    link="https://github.com/NVIDIA/TensorRT/issues/3815",
    check=_check,
)
