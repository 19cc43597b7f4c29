"""TRKX002: an opset in which a scatter can't add."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import overwrites, scatters
from trkx.export.lint.walking import label, listed, place
from trkx.export.onnx_graph import reduction_of


def _check(subject: Subject) -> Iterator[Remark]:
    opset, oldest = subject.graph.opset if subject.graph is not None else 0, subject.target.oldest_opset
    if not 0 < opset < oldest:
        return
    found = list(scatters(subject))
    told = [node for _, node in found if reduction_of(node) != "none"]
    meet = [node for graph, node in found if overwrites(graph, node)]
    if told:
        names = listed(label(node) for node in told)
        yield Remark(f"{names}: opset {opset} has no reduction, so that the file's is refused or ignored", place(told[0]))
    if meet:
        what = f"{len(meet)} scatter(s) whose indices may repeat"
        yield Remark(f"opset {opset} with {what}: before opset 16 a scatter can't add what meets", place(meet[0]))


RULE = Rule(
    id="TRKX002",
    name="old-opset",
    title="an opset before 16, in which no scatter adds",
    severity="error",
    kinds=("onnx",),
    reason=(
        "`reduction` came to ScatterElements and ScatterND with opset 16. A message-passing network in an older opset has no way "
        "to say that messages add up. Raising the number alone keeps the fault: the attribute has to be written too."
    ),
    affected="torch 1.x and 2.0 by default (opset 14 and older), any torch with opset_version below 16",
    fix="`trkx repair` raises the opset and writes the reduction; or export again with opset_version=18.",
    link="https://github.com/onnx/onnx/pull/3484",
    check=_check,
)
