"""TRKX021: an opset or IR version that the target does not accept."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD

OLDEST = 7
"""Oldest opset that ONNX Runtime promises to run; TensorRT starts at 9."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None:
        return
    model, target = subject.model, subject.target
    versions = sorted({item.version for item in model.opset_import if item.domain in STANDARD})
    if not versions:
        yield Remark("the file imports no opset of the default domain, so its operators have no meaning", "opset_import")
    elif len(versions) > 1:
        yield Remark(f"the file imports opsets {', '.join(map(str, versions))} of the default domain", "opset_import")
    newest = onnx.defs.onnx_opset_version()
    for version in versions:
        if version > newest:
            yield Remark(f"opset {version} is newer than {newest}, the newest that is known here", "opset_import")
        elif target.opset and version > target.opset:
            yield Remark(f"opset {version}, but {target.runs} takes {target.opset} in every supported version", "opset_import")
        elif version < OLDEST:
            yield Remark(f"opset {version} is older than {OLDEST}, the oldest that engines promise", "opset_import", "warning")
    if model.ir_version > onnx.IR_VERSION:
        yield Remark(f"IR version {model.ir_version} is newer than {onnx.IR_VERSION}, the newest known here", "ir_version")
    elif target.ir and model.ir_version > target.ir:
        yield Remark(f"IR version {model.ir_version}, but {target.runs} takes at most {target.ir}", "ir_version")


RULE = Rule(
    id="TRKX021",
    name="too-new",
    title="opset or IR version is newer than the target accepts",
    severity="error",
    kinds=("onnx",),
    reason="An engine refuses a file with a newer opset or IR version, or reads operators with another meaning.",
    affected="torch 2.9 and newer write opset 20 by default; onnx 1.18 and newer write IR 11 and more",
    fix="Export for this target (`trkx export --target`), or convert: onnx.version_converter.convert_version(model, OPSET).",
    link="https://onnxruntime.ai/docs/reference/compatibility.html",
    check=_check,
)
