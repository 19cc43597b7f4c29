"""TRKX030: operators that TensorRT runs in a plug-in only."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Severity, Subject
from trkx.export.lint.scatters import scatters
from trkx.export.lint.walking import label, listed, on_tensorrt, place
from trkx.export.onnx_graph import reduction_of


def _check(subject: Subject) -> Iterator[Remark]:
    if not on_tensorrt(subject.target):
        return
    found = [node for _, node in scatters(subject) if node.op_type == "ScatterElements" and reduction_of(node) != "none"]
    if found:
        names = listed(label(node) for node in found)
        severity: Severity = "note" if subject.target.needs_edge_attr else "warning"  # ACTS loads the stock plug-ins itself
        message = f"{len(found)} node(s) add up in TensorRT's ScatterElements plug-in: {names}"
        yield Remark(message, place(found[0]), severity)


RULE = Rule(
    id="TRKX030",
    name="tensorrt-plugins",
    title="sums in a plug-in of TensorRT",
    severity="warning",
    kinds=("onnx",),
    reason=(
        "TensorRT has no layer that adds by index; its parser takes a plug-in, which must be loaded where the engine is built "
        "and where it is run. It adds with atomics: the last digits differ from run to run. It neither wraps nor checks indices."
    ),
    affected="TensorRT 10 and 11; before 10.0 the reduction is ignored, without a word",
    fix="Export with --lowering segments, the default for tensorrt: native layers only, the same digits in every run.",
    link="https://github.com/NVIDIA/TensorRT/tree/main/plugin/scatterElementsPlugin",
    check=_check,
)
