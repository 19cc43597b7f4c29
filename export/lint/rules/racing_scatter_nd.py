"""TRKX003: ScatterND with a reduction where the engine loses updates or refuses it."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import scatters
from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import label, on_tensorrt, place
from trkx.export.onnx_graph import reduction_of


def _check(subject: Subject) -> Iterator[Remark]:
    target = subject.target
    for graph, node in scatters(subject):
        reduction = reduction_of(node)
        if target.scatter_nd_add or node.op_type != "ScatterND" or reduction == "none":
            continue
        found = f"{label(node)} with reduction '{reduction}'"
        if on_tensorrt(target):
            yield Remark(f"{found}: TensorRT has no such layer, the parser rejects it", place(node))
        elif not indices_unique(graph, node):
            yield Remark(f"{found}: threads overwrite each other's results, other ones on every run", place(node))


RULE = Rule(
    id="TRKX003",
    name="racing-scatter-nd",
    title="ScatterND with a reduction, which races on a CPU and which TensorRT rejects",
    severity="error",
    kinds=("onnx",),
    reason=(
        "ONNX Runtime's CPU kernel adds without synchronisation: with 2 threads and 200 000 edges 10 of 10 runs were wrong, each "
        "in another way. One thread is right, so that a small test does not see it. TensorRT rejects the operator or, before "
        "version 10, ignores the reduction."
    ),
    affected=(
        "written by torch 2.9 and newer for index_add and index_put(accumulate=True); ONNX Runtime 1.15 to 1.32 with more than "
        "one thread, not fixed; TensorRT, all versions"
    ),
    fix="`trkx repair` rewrites it as ScatterElements. Or export with `export-models`, or write the network with scatter_add.",
    link="https://github.com/microsoft/onnxruntime/issues/23396",
    check=_check,
)
