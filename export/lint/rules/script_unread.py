"""TRKX054: TorchScript code that lint could not read or follow, so that its other rules say less."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each file of code that is not parsed, and why `forward` was not followed to its end."""
    archive = archive_of(subject)
    for file, reason in archive.script.broken.items():
        yield Remark(f"the code can't be read: {reason}", shown(file))
    flow = archive.flow
    if flow.incomplete and flow.forward is not None:
        yield Remark(f"`forward` was not followed to its end: {shown(flow.incomplete)}", flow.forward.name, "warning")


RULE = Rule(
    id="TRKX054",
    name="script-unread-code",
    title="code that was not read",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "What lint has not read it has not checked. torch writes code that Python's own parser reads; code that is nested "
        "without measure, or damaged, was not written by it."
    ),
    affected="damaged files, or files that were made to hide something",
    fix="Export the model again; validate the file by running it where you trust it.",
    link="https://docs.pytorch.org/docs/stable/jit_language_reference.html",
    check=check,
)
