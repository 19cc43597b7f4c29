"""TRKX050: TorchScript code that still trains, or draws random numbers."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.following import Operation
from trkx.export.lint.values import Value
from trkx.shown import shown

DROPOUTS = frozenset(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"))
DRAWS = frozenset((
    "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "bernoulli", "multinomial", "normal",
    "poisson", "uniform", "random", "exponential", "log_normal", "cauchy", "geometric",
))


def check(subject: Subject) -> Iterator[Remark]:
    """Yield dropout and batch normalisation in training mode, and random numbers, where `forward` reaches them."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    for operation in archive_of(subject).flow.operations:
        base = operation.short.rstrip("_")
        if not operation.name.startswith(("torch.", "ops.aten.")):
            continue
        training = _training(operation, base)
        if training is not None and training.const is True:
            what = f"{shown(base)} in training mode"
            if training.stored:
                yield Remark(f"{what}: the module was saved before eval()", operation.where, "warning",
                             "Call .eval() before the export; a program that calls eval() after loading is not affected.")
            else:
                yield Remark(f"{what}, as a constant that eval() does not change", operation.where)
        elif base in DRAWS:
            yield Remark(f"{shown(base)} draws random numbers: no two runs agree", operation.where, "warning",
                         "Remove it from the network, or draw the numbers before the export.")


def _training(operation: Operation, base: str) -> Value | None:
    if base in DROPOUTS:
        return None if operation.arg(1, "p").const in (0, 0.0) else operation.arg(2, "train")
    return operation.arg(5, "training") if base == "batch_norm" else None


RULE = Rule(
    id="TRKX050",
    name="script-training-mode",
    title="dropout or batch normalisation in training mode",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "In training mode dropout zeroes values at random and batch normalisation takes the statistics of the event "
        "instead of the training's: scores are wrong and change from run to run. A trace of a training model keeps the "
        "mode for ever."
    ),
    affected="all versions of torch.jit",
    fix="Call model.eval() before torch.jit.trace or torch.jit.script, and export again.",
    link="https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.eval",
    check=check,
)
