"""TRKX006: a scatter whose indices, updates and data do not fit together."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from trkx.export.lint.doors import shown
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import scatters
from trkx.export.lint.walking import label, on_tensorrt, place
from trkx.export.onnx_graph import Graph, whole

Dim = int | str | None


def _check(subject: Subject) -> Iterator[Remark]:
    for graph, node in scatters(subject):
        data, index, updates = (graph.shape(name) for name in node.input[:3])
        if index is None or updates is None:
            continue
        if node.op_type == "ScatterND":
            expected = _of_pairs(data, index)
            if expected is not None and _unlike(updates, expected):
                message = f"{label(node)}: updates are {shown(updates)}, expected {shown(expected)} for indices {shown(index)}"
                yield Remark(message, place(node))
        elif _unlike(updates, index):
            message = f"{label(node)}: updates are {shown(updates)}, indices {shown(index)}, expected the same shape"
            yield Remark(message, place(node))
        elif on_tensorrt(subject.target) and data is not None and len(data) == len(updates):
            yield from _narrow(graph, node, data, updates)


def _of_pairs(data: tuple[Dim, ...] | None, index: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    """Return the shape of the updates of a ScatterND."""
    width = index[-1] if index else None
    if data is None or not isinstance(width, int) or width > len(data):
        return None
    return (*index[:-1], *data[width:])


def _unlike(one: tuple[Dim, ...], other: tuple[Dim, ...]) -> bool:
    """Return whether two shapes are different in (almost) every event."""
    return len(one) != len(other) or any(_other_length(a, b) or _other_length(b, a) for a, b in zip(one, other, strict=True))


def _other_length(a: Dim, b: Dim) -> bool:
    if isinstance(a, int) and isinstance(b, int):
        return a != b
    longer = isinstance(a, str) and isinstance(b, str) and re.fullmatch(r"\w+", a)  # torch writes "s43" and "Max(0, s43 - 3)"
    return bool(longer) and re.fullmatch(rf"(Max\(0, )?{a} [+-] [1-9]\d*\)?", str(b)) is not None


def _narrow(graph: Graph, node: onnx.NodeProto, data: tuple[Dim, ...], updates: tuple[Dim, ...]) -> Iterator[Remark]:
    axis = whole(node, "axis") % max(len(data), 1)
    pairs = [(a, b) for place_, (a, b) in enumerate(zip(data, updates, strict=True)) if place_ != axis]
    if any(isinstance(a, int) and isinstance(b, int) and b < a for a, b in pairs):
        message = f"{label(node)}: updates {shown(updates)} are narrower than the data {shown(data)}"
        yield Remark(f"{message}: TensorRT's plugin then writes to wrong places", place(node))


RULE = Rule(
    id="TRKX006",
    name="scatter-shapes",
    title="indices, updates and data of a scatter do not fit together",
    severity="error",
    kinds=("onnx",),
    reason=(
        "torch allows fewer indices than updates, ONNX does not: engines refuse the file when it runs. Updates with fewer "
        "columns than the data are legal, but TensorRT's plugin takes its strides from the updates and writes to wrong places."
    ),
    affected="torch.onnx.export(dynamo=True) of scatter_add with a shorter index, torch 2.9 to 2.15; TensorRT 10.0 to 11.1",
    fix="Cut the updates to the length of the indices in the network (`source[: index.shape[0]]`), and scatter whole rows.",
    link="https://github.com/pytorch/pytorch/issues/89190",
    check=_check,
)
