"""TRKX029: a layer whose weights are all zero."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import constant, label, place


def _check(subject: Subject) -> Iterator[Remark]:
    for graph in subject.graph.all() if subject.graph is not None else ():
        for node in graph.nodes:
            if node.op_type not in ("Gemm", "MatMul"):
                continue
            for name in (input_of(node, 0), input_of(node, 1)):
                weights = constant(graph, name) if name else None
                if weights is not None and weights.ndim == 2 and weights.size > 1 and not weights.any():
                    yield Remark(f"{label(node)} multiplies by '{name}', whose {weights.size} weights are all zero", place(node))


RULE = Rule(
    id="TRKX029",
    name="zero-weights",
    title="a layer whose weights are all zero",
    severity="warning",
    kinds=("onnx",),
    reason="The layer gives its bias for every hit and edge: weights were not trained, not loaded, or lost in a conversion.",
    affected="last layers that start at zero and were never trained; weights below 6e-8 converted to float16",
    fix="Look at the checkpoint: is it the trained one, and were all of its keys loaded?",
    link="https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.load_state_dict",
    check=_check,
)
