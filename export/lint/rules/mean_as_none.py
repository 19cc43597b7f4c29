"""TRKX004: a mean over edges that was exported without reduction."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import is_mean, overwrites, scatters
from trkx.export.lint.walking import label, place


def _check(subject: Subject) -> Iterator[Remark]:
    for graph, node in scatters(subject):
        if overwrites(graph, node) and is_mean(graph, node):
            message = f"{label(node)} stands for a mean and has no reduction: it gives the last message"
            yield Remark(message, place(node))


RULE = Rule(
    id="TRKX004",
    name="mean-as-none",
    title="a mean over edges, exported without reduction",
    severity="error",
    kinds=("onnx",),
    reason=(
        "ONNX has no reduction for the mean, and torch's exporter writes none at all: each hit gets one of its messages, the "
        "last. Hits with one edge are right, so that a small test does not see it."
    ),
    affected="torch.onnx.export(dynamo=True) of scatter_reduce mean: seen in torch 2.13 to 2.15, onnxscript 0.7.2, not fixed",
    fix="Write the mean as scatter_add divided by the count (as torch_geometric does), or export with `export-models`.",
    link="https://github.com/onnx/onnx/issues/5100",
    check=_check,
)
