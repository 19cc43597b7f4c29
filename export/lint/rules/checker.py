"""TRKX022: what ONNX's own checker says."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.inference import bounded
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.rules.external_data import outside, tensors_of

_OTHER_RULES = ("topologically sorted", "single static assignment", "is higher than the checker's", "No Op registered for")
"""Messages of what TRKX013, TRKX019 and TRKX021 report by node."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None or any(outside(tensor) for _, tensor in tensors_of(subject.model)):
        return  # the checker would look for the other file; TRKX018 reports it
    try:
        onnx.checker.check_model(subject.model, full_check=bounded(subject.model))
    except Exception as error:  # checker, shape inference and protobuf have their own error classes
        text = " ".join(str(error).split())
        if not any(phrase in text for phrase in _OTHER_RULES):
            yield Remark(f"{text[:400]}{'…' if len(text) > 400 else ''}")


RULE = Rule(
    id="TRKX022",
    name="checker",
    title="the file is not valid ONNX",
    severity="error",
    kinds=("onnx",),
    reason="Attributes, types or shapes contradict the standard or each other: engines refuse the file, or read it differently.",
    affected="converters to half precision; exports under torch.autocast; graphs edited by hand",
    fix="Export again in float32 and convert after that, with a tool whose result the checker accepts.",
    link="https://onnx.ai/onnx/api/checker.html",
    check=_check,
)
