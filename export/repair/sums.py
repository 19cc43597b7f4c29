"""Rewrite: a scatter that overwrites where torch's scatter_add or index_add stood becomes one that adds."""

from __future__ import annotations

import onnx
from onnx import helper

from trkx.export.lint.counting import counts
from trkx.export.lint.uniform import uniform
from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import STANDARD, label, place, reads
from trkx.export.onnx_graph import SCATTERS, Graph, reduction_of
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.zeros import all_zeros

_RULE = "TRKX001"
_DECLARE = "If it is meant to be a sum, say so with --sum {name}; otherwise export again with an accumulating operator."


def summed(model: onnx.ModelProto, request: Request) -> Outcome:
    """Set reduction "add" where a scatter into zeros is added to zeros, which only a sum can mean; refuse other overwriting ones.

    torch writes `zeros.scatter_add(0, index, values)` up to opset 15, and `index_add` and `index_put(accumulate=True)` with its
    older exporter in every opset, as `zeros + scatter(zeros, index, values)`: right as long as no index repeats
    (`torch.onnx.symbolic_opset9.scatter_add`). An assignment has no reason for the addition.
    """
    graph = Graph(model)
    changes, refusals, meant = [], [], []
    known = set()
    for part in graph.all():
        for node in part.nodes:
            if node.op_type not in SCATTERS or node.domain not in STANDARD or reduction_of(node) != "none":
                continue
            known |= {node.name, node.output[0]}
            declared = bool({node.name, node.output[0]} & request.sums)
            if indices_unique(part, node) and not declared:
                continue
            why = _proof(part, node, declared)
            if not why and len(node.input) > 2 and uniform(part, node.input[2]) and not counts(part, node):
                continue  # whichever of equal numbers comes last, the result is the same
            if not why:
                refusals.append(_refused(part, node))
                continue
            set_reduction(node, "add")
            changes.append(Change("summed", _RULE, place(node), f"{node.op_type} adds now instead of overwriting", why))
            meant.append((node.output[0], "sum"))
    refusals += [
        Refusal("summed", _RULE, name, "no overwriting scatter has this name", "Take a name from the findings of trkx lint.")
        for name in sorted(request.sums - known)
    ]
    return Outcome(graph.model, tuple(changes), tuple(refusals), tuple(meant))


def set_reduction(node: onnx.NodeProto, reduction: str) -> None:
    """Give a scatter a reduction instead of the one that it has or lacks."""
    kept = [item.SerializeToString() for item in node.attribute if item.name != "reduction"]
    del node.attribute[:]
    node.attribute.extend(onnx.AttributeProto.FromString(data) for data in kept)
    node.attribute.append(helper.make_attribute("reduction", reduction))


def _proof(graph: Graph, node: onnx.NodeProto, declared: bool) -> str:
    """Return why a scatter is a sum, "" if that is not proven."""
    if len(node.input) < 3 or not all_zeros(graph, node.input[0]):
        return ""
    if declared:
        return "values go into zeros, and the user declared it to be a sum"
    result = node.output[0]
    readers = [reader for reader in graph.nodes if result in reads(reader)]
    if len(readers) != 1 or readers[0].op_type != "Add" or result in {value.name for value in graph.graph.output}:
        return ""
    other = [name for name in readers[0].input if name != result]
    if len(other) == 1 and all_zeros(graph, other[0]):
        return "zeros + scatter(zeros, index, values) is how torch writes scatter_add, and means nothing else"
    return ""


def _refused(graph: Graph, node: onnx.NodeProto) -> Refusal:
    name = place(node)
    if len(node.input) > 2 and all_zeros(graph, node.input[0]):
        why = "overwrites in zeros where indices may repeat, which is what a plain scatter or assignment writes too"
        return Refusal("summed", _RULE, label(node), why, _DECLARE.format(name=name))
    why = "overwrites in a table that is not provably zeros where indices may repeat, so it can't be told from an assignment"
    return Refusal("summed", _RULE, label(node), why, "Export again with an accumulating operator and opset 18.")
