"""TRKX051: TorchScript code that writes messages to nodes without adding them up: the fault of 2021 in torch's own words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trkx.export.lint.code import archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.following import Operation
from trkx.export.lint.values import Value
from trkx.shown import shown


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each write at the ends of edges, which repeat, that keeps only the last one.

    Writing one number everywhere, or what was read at the same ends, gives the same in any order, and is fine. Reading at those
    ends, adding to it and writing it back (`count[target] += 1`) is not: each edge reads what was there before all of them.
    """
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    operations = archive_of(subject).flow.operations
    for operation in operations:
        index, values = _written(operation)
        if index is None or not index.endpoint or values is None:
            continue
        if _increments(operations, operation, values):
            yield Remark(f"{shown(operation.short)} writes back what it read at the ends of edges and added to: of edges that "
                         "share a node, only one is counted", operation.where)
            continue
        if values.uniform or values.shape == () or not (values.tensor or values.memory):
            continue
        if values.gathered and values.gathered == index.endpoint:
            continue
        yield Remark(f"{shown(operation.short)} writes one row an edge to its node: of edges that share a node, only one stays",
                     operation.where)


def _increments(operations: Sequence[Operation], operation: Operation, values: Value) -> bool:
    """Return whether what is written was read from the same tensor, and one number was added to all of it."""
    sums = [item for item in operations if item.result is values and item.short.rstrip("_") in ("add", "sub")]
    one_number = [item for item in sums if any(value.known or value.uniform or value.shape == () for value in item.args[1:2])]
    read = {id(item.args[0]) for item in one_number}
    return any(id(item.result) in read and item.short in ("index", "index_select", "gather") and
               item.arg(0) is operation.arg(0) for item in operations)


def _written(operation: Operation) -> tuple[Value | None, Value | None]:
    """Return the index and the values of an operator that overwrites; None for one that adds up, or does something else."""
    base = operation.short.rstrip("_")
    if not operation.name.startswith(("torch.", "ops.aten.")):
        return None, None
    if base == "index_copy" or (base == "scatter" and len(operation.args) < 5 and "reduce" not in operation.named):
        return operation.arg(2), operation.arg(3)
    if base in ("index_put", "_index_put_impl"):
        given = len(operation.args) > 3 or "accumulate" in operation.named
        accumulates = operation.arg(3, "accumulate").const if given else False
        items = operation.arg(1).items
        if accumulates is False and items is not None and len(items) == 1:
            return items[0], operation.arg(2)
    return None, None


RULE = Rule(
    id="TRKX051",
    name="script-overwrites",
    title="messages overwrite each other",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "torch.scatter, index_copy and index_put without accumulate keep one of the values that share an index. In a "
        "network that aggregates over edges, all but one message of each node are lost; which one stays may change from "
        "run to run."
    ),
    affected="all versions of torch; the published ONNX model of Exa.TrkX had this fault for almost five years",
    fix="Use index_add or scatter_add, or index_put with accumulate=True, and export again.",
    link="https://docs.pytorch.org/docs/stable/generated/torch.Tensor.scatter_.html",
    check=check,
)
