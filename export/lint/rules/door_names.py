"""TRKX016: names and order of inputs and output."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.doors import doors_of, names_to_export, stage_of
from trkx.export.lint.finding import Remark, Rule, Severity, Subject


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None:
        return
    severity: Severity = "error" if subject.target.by_name else "warning"
    binds = f"{subject.target.name} binds by {'name' if subject.target.by_name else 'position'}"
    stage = stage_of(subject.stage, subject.target, doors)
    fix = f"Export with {names_to_export(subject.target, stage)}, in this order." if subject.target.names else ""
    for role, value in doors.roles():
        called = subject.target.name_of(stage, role)
        if value.name != called:
            yield Remark(f"input '{value.name}' stands where the contract has '{called}'; {binds}", value.name, severity, fix)
    called = subject.target.name_of(stage, "output")
    if doors.output is not None and doors.output.name != called:
        name = doors.output.name
        yield Remark(f"output '{name}' is called '{called}' in the contract; {binds}", name, severity, fix)
    order = [value.name for value in doors.inputs]
    wanted = [value.name for _, value in doors.roles()]
    if not subject.target.by_name and [name for name in order if name in wanted] != wanted:
        message = f"inputs are in the order {', '.join(order)}, expected {', '.join(wanted)}; {binds}"
        yield Remark(message, order[0], "error")


RULE = Rule(
    id="TRKX016",
    name="door-names",
    title="inputs or output have other names, or another order, than the contract",
    severity="warning",
    kinds=("onnx",),
    reason=(
        "TensorRT and Triton bind x, edge_index, edge_attr and output by name and find nothing under another; ACTS's ONNX "
        "Runtime plugin binds by position. With names and order of the contract one file serves all."
    ),
    affected="all targets; an error where the target binds by name",
    fix="Export with input_names=[\"x\", \"edge_index\"] and output_names=[\"output\"], in this order.",
    link="https://github.com/acts-project/acts/tree/main/Plugins/Gnn",
    check=_check,
)
