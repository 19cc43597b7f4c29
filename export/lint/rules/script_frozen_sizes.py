"""TRKX045: TorchScript code in which a number of hits or edges is a literal."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACCUMULATING, archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.following import Operation
from trkx.export.lint.values import Dim, Value, sizes_of
from trkx.export.lint.views import WHOLE_AXIS
from trkx.shown import shown


def check(subject: Subject) -> Iterator[Remark]:
    """Yield literals where the size of the event must be. Only what is certain: an axis of hits or edges meets a number."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    for operation in archive_of(subject).flow.operations:
        base = operation.short.rstrip("_")
        if base in ACCUMULATING or base in ("index_put", "scatter"):
            yield from _aggregation(operation, base)
        elif base in ("view", "reshape", "expand", "broadcast_to"):
            yield from _view(operation, base)
        elif base == "slice":
            yield from _slice(operation)


def _aggregation(operation: Operation, base: str) -> Iterator[Remark]:
    """A sum over edges goes to the nodes: their number is not a constant of the network."""
    into, index = operation.arg(0), operation.arg(1) if base == "index_put" else operation.arg(2)
    if base == "index_put":
        items = index.items
        index, axis = (items[0] if items else Value()), 0
    else:
        axis = operation.arg(1).number or 0
    if index.endpoint and into.shape and -len(into.shape) <= axis < len(into.shape) and not into.memory:
        size = into.shape[axis]
        if isinstance(size, int) and size > 1:
            yield Remark(f"{shown(operation.short)} sums edges into {size} nodes, whatever the number of hits", operation.where)


def _view(operation: Operation, base: str) -> Iterator[Remark]:
    old, sizes = operation.arg(0).shape, sizes_of(operation.arg(1))
    if old is None or not sizes or not any(isinstance(size, str) for size in old):
        return
    new: tuple[Dim, ...] = sizes
    if base in ("view", "reshape"):
        frozen = all(isinstance(size, int) and size >= 0 for size in new)
        axis = next(size for size in old if isinstance(size, str))
        if frozen:
            yield Remark(f"{base} of an axis of {axis} to {list(new)}", operation.where)
        return
    padded = (1,) * (len(new) - len(old)) + old
    for size, wanted in zip(padded, new, strict=False):
        if isinstance(size, str) and isinstance(wanted, int) and wanted != -1:
            yield Remark(f"{base} of an axis of {size} to {wanted}", operation.where)


def _slice(operation: Operation) -> Iterator[Remark]:
    shape, axis, end = operation.arg(0).shape, operation.arg(1).number or 0, operation.arg(3).number
    if shape is None or end is None or not -len(shape) <= axis < len(shape) or not isinstance(shape[axis], str):
        return
    if 1 < end < WHOLE_AXIS and operation.arg(2).const in (None, 0):
        yield Remark(f"only the first {end} of an axis of {shape[axis]} are used", operation.where, "warning")


RULE = Rule(
    id="TRKX045",
    name="script-frozen-size",
    title="a number of hits or edges is written into the code",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "A trace keeps every size that Python computed, int(index.max()) + 1 or int(x.shape[0]) among them, as the number "
        "that it was for the example. Another event then stops with an index out of range, or loses hits."
    ),
    affected="torch.jit.trace, all versions",
    fix=(
        "Take sizes from a tensor's shape inside the network (x.shape[0], not int(x.shape[0]) or len(x)), or script that "
        "function."
    ),
    link="https://github.com/pytorch/pytorch/issues/17583",
    check=check,
)
