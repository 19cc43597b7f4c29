"""TRKX001: a scatter without reduction whose indices may repeat."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import assigned, came_from, is_mean, overwrites, scatters, unclear
from trkx.export.lint.walking import label, place
from trkx.export.repair.zeros import all_zeros

_UNCLEAR = "writes one number where indices may repeat, and what it makes is a factor: right for a mask, too small for a count"

def _check(subject: Subject) -> Iterator[Remark]:
    for graph, node in scatters(subject):
        if not overwrites(graph, node):
            if unclear(graph, node):
                yield Remark(f"{label(node)} {_UNCLEAR}", place(node), "note", "If it is a count, use scatter_add or index_add.")
            continue
        if is_mean(graph, node):
            continue
        found = f"{label(node)} has no reduction, and its indices (from {came_from(graph, node)}) may repeat"
        if assigned(node):
            message = f"{found}; the network itself overwrites here, and torch promises no order either"
            yield Remark(message, place(node), "warning", "If indices can repeat, change the network: scatter_add, not scatter.")
        elif all_zeros(graph, node.input[0]):
            yield Remark(f"{found}: of the updates that meet, the last one stays", place(node))
        else:
            yield Remark(f"{found}: the last one of those that meet replaces what was there", place(node))


RULE = Rule(
    id="TRKX001",
    name="scatter-overwrites",
    title="a scatter without reduction, where indices may repeat",
    severity="error",
    kinds=("onnx",),
    reason=(
        "The Exa.TrkX network of 2021 was published with this: torch wrote scatter_add as ScatterElements without reduction, and "
        "of all messages to a hit only the last one survived. Nothing fails; on graphs of 10 neighbours a hit 12 % of the edges "
        "changed sides of 0.5. A graph in which no hit is met twice gives right numbers, so that a small test does not see it. A "
        "count that is lost so is 1 everywhere, and makes a sum of the mean that it divides."
    ),
    affected=(
        "torch below 2.1 by default, any torch with opset_version below 16; torch.onnx.export(dynamo=False) up to 2.15 for "
        "index_add and index_put(accumulate=True) in every opset; all engines run it as written"
    ),
    fix=(
        "`trkx repair` mends it where the file proves that a sum was meant. Otherwise export again with opset 18, scatter_add. "
        "If you know that no index repeats: --ignore TRKX001."
    ),
    link="https://github.com/pytorch/pytorch/issues/32960",
    check=_check,
)
