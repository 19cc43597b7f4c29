"""TRKX013: operators that the target's engine does not have, or that lint can't look into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from trkx.export.functions import growth_problem
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD, label, listed, place


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or subject.model is None:
        return
    model, target = subject.model, subject.target
    functions = {(item.domain, item.name) for item in model.functions}
    nodes = [node for graph in subject.graph.all() for node in graph.nodes]
    called = [node for node in nodes if (node.domain, node.op_type) not in functions]
    yield from _foreign(called, target.foreign_domains, target.name)
    version = subject.graph.opset
    if 0 < version <= onnx.defs.onnx_opset_version():
        yield from _unknown(called, version)
    if model.functions:
        yield from _functions(model, not subject.graph.model.functions)


def _foreign(nodes: Sequence[onnx.NodeProto], known: Sequence[str], target: str) -> Iterator[Remark]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        if node.domain not in (*STANDARD, *known):
            found.setdefault(node.domain, []).append(node)
    for domain, users in sorted(found.items()):
        names = listed(sorted({node.op_type for node in users}))
        yield Remark(f"{len(users)} operator(s) of domain '{domain}' ({names}), which {target} does not have", place(users[0]))


def _unknown(nodes: Sequence[onnx.NodeProto], version: int) -> Iterator[Remark]:
    seen = set()
    for node in nodes:
        if node.domain not in STANDARD or node.op_type in seen:
            continue
        seen.add(node.op_type)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
        except onnx.defs.SchemaError:
            yield Remark(f"{label(node)}: opset {version} of ONNX has no operator {node.op_type}", place(node))
            continue
        if schema.deprecated:
            yield Remark(f"{label(node)}: {node.op_type} was removed from ONNX in opset {schema.since_version}", place(node))


def _functions(model: onnx.ModelProto, inside: bool) -> Iterator[Remark]:
    """Yield what is wrong with local functions. inside: their nodes stand in the graph that the rules see."""
    names = [f"'{item.domain}.{item.name}'" for item in model.functions]
    if not inside:
        what = f"local function {listed(names)} was" if len(names) == 1 else f"local functions {listed(names)} were"
        why = growth_problem(model) or "can't be inlined"
        fix = "Export the network without functions."
        yield Remark(f"{what} not looked into: local functions {why}", model.functions[0].name, fix=fix)
        return
    for item, name in zip(model.functions, names, strict=True):
        if item.domain in STANDARD:
            yield Remark(f"local function {name} has the domain of the standard operators: engines differ in which they run",
                         item.name)


RULE = Rule(
    id="TRKX013",
    name="foreign-operators",
    title="operators outside of standard ONNX, or unknown to the opset that the file declares",
    severity="error",
    kinds=("onnx",),
    reason=(
        "An engine without the operator refuses the file, or needs a library beside it: torch_scatter's operators exist only "
        "where its C++ library is linked. Local functions are replaced by their nodes before any rule looks; one that grows "
        "without measure, or calls itself, hides what is in it."
    ),
    affected="exports of networks with torch_scatter or torch_sparse; files that an engine's own optimiser has written",
    fix="Write the aggregation with plain torch operations (index_add, scatter_add, scatter_reduce) and export again.",
    link="https://github.com/onnx/onnx/blob/main/docs/IR.md",
    check=_check,
)
