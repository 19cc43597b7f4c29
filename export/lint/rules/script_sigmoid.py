"""TRKX043: a TorchScript classifier that returns scores instead of logits."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACTS, archive_of, scores_edges
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.operators import SIGMOIDS


def check(subject: Subject) -> Iterator[Remark]:
    """Yield the output if a sigmoid is the last operator that changes its numbers."""
    flow = archive_of(subject).flow
    if flow.returned is None or not scores_edges(subject):
        return
    values = flow.returned.items if flow.returned.items is not None else (flow.returned,)
    for value in values:
        if value.made_by in SIGMOIDS:
            yield Remark(f"the output is a {value.made_by}", f"{flow.forward.name}" if flow.forward is not None else "")


RULE = Rule(
    id="TRKX043",
    name="script-sigmoid-output",
    title="a sigmoid at the output",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "ACTS and trkx apply the sigmoid themselves and cut on its result. A sigmoid in the model is applied twice: every "
        "score then lies between 0.5 and 0.73, and every edge passes a cut of 0.5."
    ),
    affected="all versions of ACTS",
    fix="Return the logits and export again.",
    link=ACTS,
    check=check,
)
