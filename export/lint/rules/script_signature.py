"""TRKX049: a TorchScript `forward` that does not take or return what the contract says."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import ACTS, archive_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.flow import DOORS
from trkx.export.lint.script import Function, annotation
from trkx.shown import shown

NAMES = tuple(name for name, _, _ in DOORS)


def check(subject: Subject) -> Iterator[Remark]:
    """Yield what is wrong with forward(x[, edge_index[, edge_attr]]) -> Tensor."""
    archive = archive_of(subject)
    forward = archive.flow.forward
    if forward is None:
        if not archive.script.broken:
            yield Remark("the file holds no module with a method `forward`", shown(archive.root_class) or "data.pkl")
        return
    yield from _inputs(forward, subject.stage)
    returned = annotation(forward.node.returns)
    if returned != "Tensor":
        yield Remark(f"returns {shown(returned)}, expected one Tensor", forward.name)
    value = archive.flow.returned
    if value is not None and value.items is None and value.dtype not in ("", "float32"):
        yield Remark(f"returns {value.dtype}, expected float32", forward.name)


def _inputs(forward: Function, stage: str) -> Iterator[Remark]:
    arguments = forward.arguments
    needed = [name for name, _, optional in arguments if not optional]
    tensors = [name for name, kind, _ in arguments if kind in ("Tensor", "Optional[Tensor]")]
    strange = [(name, kind) for name, kind, optional in arguments if name not in tensors and not optional]
    for name, kind in strange:
        yield Remark(f"input '{shown(name)}' is a {shown(kind)}, expected a Tensor", forward.name)
    if not strange and not (tensors and len(needed) <= len(NAMES)):
        yield Remark(f"{len(needed)} inputs, expected x, and for edges edge_index and edge_attr", forward.name)
    elif stage == "embedding" and len(needed) > 1:
        yield Remark(f"needs {len(needed)} inputs ({shown(', '.join(needed))}), an embedding gets x only", forward.name)
    elif stage in ("filter", "gnn") and len(tensors) < 2:
        yield Remark(f"takes {len(tensors)} input, a {stage} gets x and edge_index", forward.name)
    known = [name for name in tensors if name in NAMES]
    if known != sorted(known, key=NAMES.index):
        yield Remark(f"inputs are {', '.join(known)}, the contract's order is {', '.join(NAMES)}: they are passed by place",
                     forward.name)


RULE = Rule(
    id="TRKX049",
    name="script-signature",
    title="`forward` is not that of the contract",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "ACTS calls forward(x, edge_index) or forward(x, edge_index, edge_attr) by place, and takes one float32 tensor: "
        "one row a hit from an embedding, one logit an edge from a classifier."
    ),
    affected="all versions of ACTS",
    fix="Wrap the network in a module whose forward is forward(x[, edge_index[, edge_attr]]) -> Tensor, and export that.",
    link=ACTS,
    check=check,
)
