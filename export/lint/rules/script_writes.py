"""TRKX042: TorchScript code that writes into its inputs, or into what the module stores."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACTS, archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.operators import writes
from trkx.shown import shown


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each write into memory that is not the code's own; writing into a fresh tensor is fine."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    flow = archive_of(subject).flow
    for operation in flow.operations:
        written = operation.args[0] if writes(operation.short) and operation.args else operation.named.get("out")
        if written is None or not operation.name.startswith(("torch.", "ops.")):
            continue
        for memory in sorted(written.memory):
            yield Remark(f"{shown(operation.short)} writes into {shown(memory)}", operation.where)
    for attribute, where in flow.writes:
        yield Remark(f"sets the module's '{shown(attribute)}'", where)


RULE = Rule(
    id="TRKX042",
    name="script-writes-input",
    title="writes into an input or into the module",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "ACTS passes views of its own arrays, and one model serves all threads of events: an in-place operator on an "
        "input changes the event for the stages after it, one on a stored tensor changes the model for every event that "
        "follows."
    ),
    affected="all versions",
    fix=(
        "Use the operator without the underscore (relu, not relu_ or inplace=True) on inputs, views of them, and stored "
        "tensors."
    ),
    link=ACTS,
    check=check,
)
