"""TRKX013: operators that the target's engine does not have, or that lint can't look into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD, bodies_of, label, listed, place
from trkx.export.onnx_graph import SCATTERS


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
    for item in model.functions:
        yield from _function(item, {name for _, name in functions}, target.foreign_domains)


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


def _function(item: onnx.FunctionProto, functions: set[str], known: Sequence[str]) -> Iterator[Remark]:
    """Yield what is wrong with a local function: the other rules do not see into it."""
    waiting, inside = list(item.node), []
    while waiting:
        node = waiting.pop()
        inside.append(node)
        waiting += [inner for body in bodies_of(node) for inner in body.node]
    name = f"local function '{item.domain}.{item.name}'"
    fix = "Inline it: onnx.inliner.inline_local_functions(model)."
    hidden = [node for node in inside if node.op_type in SCATTERS]
    strange = [node for node in inside if node.domain not in (*STANDARD, *known) and node.op_type not in functions]
    if hidden or strange:
        found = listed(label(node) for node in hidden or strange)
        yield Remark(f"{name} hides {found} from the other rules", item.name, fix=fix)
    elif item.domain in STANDARD:
        yield Remark(f"{name} has the domain of the standard operators: engines differ in which they run", item.name)
    else:
        yield Remark(f"{name} is not looked into by the other rules", item.name, "warning", fix)


RULE = Rule(
    id="TRKX013",
    name="foreign-operators",
    title="operators outside of standard ONNX, or unknown to the opset that the file declares",
    severity="error",
    kinds=("onnx",),
    reason=(
        "An engine without the operator refuses the file, or needs a library beside it: torch_scatter's operators exist only "
        "where its C++ library is linked. A local function hides what is in it from checks."
    ),
    affected="exports of networks with torch_scatter or torch_sparse; files that an engine's own optimiser has written",
    fix="Write the aggregation with plain torch operations (index_add, scatter_add, scatter_reduce) and export again.",
    link="https://github.com/onnx/onnx/blob/main/docs/IR.md",
    check=_check,
)
