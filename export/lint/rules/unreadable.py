"""TRKX000: a file that can't be read, is no model, or is not the one that its bundle lists.

Opening a file finds these faults, before any rule can look at it; `trkx.export.lint.run` reports them under this rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from trkx.export.lint.finding import Remark, Rule, Subject


def _check(subject: Subject) -> Iterable[Remark]:
    return ()  # a file that was opened does not have this fault


RULE = Rule(
    id="TRKX000",
    name="unreadable",
    title="the file can't be read, is no model, or is not what its bundle lists",
    severity="error",
    kinds=("onnx", "torchscript", "aoti"),
    reason=(
        "Nothing can be said of a file that is truncated, damaged, made to harm, or of another format than the target takes, and "
        "nothing vouches for one that was edited after its bundle was verified."
    ),
    affected="interrupted copies, git-lfs pointers, checkpoints in place of models, files exchanged in a bundle",
    fix="Copy or export the file again; the message says what was found.",
    link="https://onnx.ai/onnx/repo-docs/IR.html",
    check=_check,
)
