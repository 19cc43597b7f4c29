"""TRKX047: TorchScript code that sums in half precision, or mixes precisions that do not mix."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACCUMULATING, archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown

HALF = ("float16", "bfloat16")
FLOATS = (*HALF, "float32", "float64")


def check(subject: Subject) -> Iterator[Remark]:
    """Yield sums over edges in half precision, and layers whose input and weight have different types."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    for operation in archive_of(subject).flow.operations:
        base = operation.short.rstrip("_")
        accumulates = base in ACCUMULATING or (base == "index_put" and operation.arg(3, "accumulate").const is True)
        if accumulates and operation.arg(0).dtype in HALF:
            yield Remark(f"{shown(operation.short)} adds up in {operation.arg(0).dtype}", operation.where)
        if base in ("linear", "matmul", "mm") and operation.name.startswith("torch."):
            found = [operation.arg(0).dtype, operation.arg(1).dtype]
            if found[0] != found[1] and all(dtype in FLOATS for dtype in found):
                yield Remark(f"{base} of {found[0]} with a weight of {found[1]}: torch refuses to run that", operation.where,
                             fix="Save the model in float32; half precision belongs between casts inside of it.")


RULE = Rule(
    id="TRKX047",
    name="script-half-sum",
    title="sums over edges in half precision",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "Each add rounds: a count in float16 stops at 2048, in bfloat16 at 256, and 8192 messages of ordinary size were "
        "32 % off in float16. Weights in another type than the float32 that the contract gives do not run at all."
    ),
    affected="all versions of torch; models exported under autocast or after .half()",
    fix="Cast messages to float32 before index_add or scatter_add and the sums back after it; export again.",
    link="https://docs.pytorch.org/docs/stable/amp.html",
    check=check,
)
