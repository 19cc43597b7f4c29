"""TRKX044: TorchScript code that returns an input, or a tensor that the module keeps."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACTS, archive_of, scores_edges
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each foreign memory that the output shares."""
    flow = archive_of(subject).flow
    if flow.returned is None or flow.forward is None:
        return
    values = flow.returned.items if flow.returned.items is not None else (flow.returned,)
    for memory in sorted({memory for value in values for memory in value.memory}):
        yield Remark(f"the output shares its memory with {shown(memory)}", flow.forward.name,
                     None if scores_edges(subject) else "warning")


RULE = Rule(
    id="TRKX044",
    name="script-returns-input",
    title="returns an input or a stored tensor",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "ACTS runs sigmoid_() on the output, in place. If that is a view of an input, the event changes; if it is a "
        "stored tensor, the model changes, and every later event is wrong."
    ),
    affected="all versions of ACTS",
    fix="Return a tensor of its own: add .clone() before the return, and export again.",
    link=ACTS,
    check=check,
)
