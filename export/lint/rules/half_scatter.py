"""TRKX005: a scatter that adds in half precision."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import number_type, overwrites, scatters
from trkx.export.lint.walking import dtype_name, label, on_tensorrt, place
from trkx.export.onnx_graph import HALF, reduction_of

_STOPS: dict[int, int] = {onnx.TensorProto.FLOAT16: 2048, onnx.TensorProto.BFLOAT16: 256}
"""Where a sum of ones in that type stops growing."""


def _check(subject: Subject) -> Iterator[Remark]:
    target = subject.target
    on_cpu = "cpu" in target.devices and not on_tensorrt(target)
    for graph, node in scatters(subject):
        dtype, reduction = number_type(graph, node), reduction_of(node)
        if dtype not in HALF or target.half_scatter:
            continue
        found = f"{label(node)} with reduction '{reduction}' in {dtype_name(dtype)}"
        if reduction in ("add", "mul") or (reduction == "none" and overwrites(graph, node)):
            yield Remark(f"{found}: every addition rounds, and a sum of ones stops at {_STOPS[dtype]}", place(node))
        elif reduction != "none" and on_cpu and (node.op_type == "ScatterND" or dtype == onnx.TensorProto.BFLOAT16):
            yield Remark(f"{found}: ONNX Runtime has no such kernel for a CPU", place(node))


RULE = Rule(
    id="TRKX005",
    name="half-scatter",
    title="a scatter that adds in half precision",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Engines add one message after the other in the type of the data. In float16 a sum of 8192 numbers was 32 % off, in "
        "bfloat16 one of 2048 was 52 % off, and counts stop at 2048 and 256. ONNX Runtime can't run it on a CPU at all, so that "
        "only the GPU sees the wrong sums."
    ),
    affected=(
        "onnxconverter-common, onnxruntime.transformers.float16 and ModelOpt AutoCast convert scatters by default; all engines"
    ),
    fix="`trkx repair` puts a float32 island around it. Or convert again with ScatterElements and ScatterND in the block list.",
    link="https://github.com/microsoft/onnxruntime/issues/18864",
    check=_check,
)
