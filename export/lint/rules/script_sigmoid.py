"""TRKX043: a TorchScript classifier that returns scores instead of logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trkx.export.lint.code import ACTS, archive_of, scores_edges
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.following import Operation
from trkx.export.lint.operators import SIGMOIDS
from trkx.export.lint.values import Value
from trkx.export.lint.views import VIEWS

_CURVES = {**dict.fromkeys(SIGMOIDS, (0.0, 1.0)), "tanh": (-1.0, 1.0), "erf": (-1.0, 1.0)}
"""Operator to the numbers between which its result lies."""
_CUTTING = frozenset(("clamp", "clamp_min", "clamp_max", "hardtanh", "nan_to_num", "clone", "contiguous"))
_DECIDING = frozenset(("gt", "ge", "lt", "le"))
NEAR, LONGEST = 1e-3, 40


def check(subject: Subject) -> Iterator[Remark]:
    """Yield the output if a sigmoid is the last operator that changes its numbers, but for bounds, factors and shifts."""
    flow = archive_of(subject).flow
    if flow.returned is None or not scores_edges(subject):
        return
    values = flow.returned.items if flow.returned.items is not None else (flow.returned,)
    for value in values:
        found = _squashed(flow.operations, value)
        if found:
            yield Remark(f"the output is {found}", f"{flow.forward.name}" if flow.forward is not None else "")


def _squashed(operations: Sequence[Operation], value: Value) -> str:
    """Return by what a value lies between 0 and 1, "" if that is not known: back to the operator that made its numbers."""
    factor, shift = 1.0, 0.0
    for _ in range(LONGEST):
        makers = (item for item in reversed(operations) if item.result is value and all(one is not value for one in item.args))
        made = next(makers, None)
        name = made.short.rstrip("_") if made is not None else value.made_by
        ends = sorted(factor * end + shift for end in _CURVES.get(name, (0.0, 1.0)))
        within = factor != 0.0 and ends[0] >= -NEAR and ends[1] <= 1.0 + NEAR
        if name in _CURVES and within:
            return f"a {'scaled ' if (factor, shift) != (1.0, 0.0) and name in SIGMOIDS else ''}{name}"
        if name in _DECIDING and within:
            return "a decision (0 or 1)"
        if made is None or not made.args or name in _CURVES:
            return ""
        if name == "exp" and within:
            return "the exponential of log_sigmoid" if made.args[0].made_by == "log_sigmoid" else ""
        if name not in (*VIEWS, *_CUTTING):
            scaled = _scaled(name, made)
            if scaled is None:
                return ""
            factor, shift = factor * scaled[0], factor * scaled[1] + shift
        value = made.args[0]
    return ""


def _scaled(name: str, made: Operation) -> tuple[float, float] | None:
    """Return factor and shift of an operator that scales or shifts its first argument by a number, None for any other."""
    if name == "neg":
        return -1.0, 0.0
    number = made.args[1].const if len(made.args) > 1 else None
    if not isinstance(number, int | float) or isinstance(number, bool):
        return None
    if name == "mul":
        return number, 0.0
    if name in ("div", "true_divide") and number:
        return 1.0 / number, 0.0
    if name in ("add", "sub", "rsub") and (len(made.args) < 3 or made.args[2].const == 1) and "alpha" not in made.named:
        return (-1.0, number) if name == "rsub" else (1.0, -number if name == "sub" else number)
    return None


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
