"""What the scatters of a graph do: which overwrite where they may meet, and what was meant, as far as a file tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Subject
from trkx.export.lint.intervals import made_by
from trkx.export.lint.uniform import uniform
from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import MOVING, STANDARD, listed, sources
from trkx.export.onnx_graph import SCATTERS, Graph, attribute, reduction_of
from trkx.export.repair.zeros import all_zeros

STEPS_ON = 8
_MEAN = re.compile(r"aten\.scatter_reduce\.\w+\](\(args = .*\bmean\b)|aten\.scatter_reduce\.\w+$")
_ASSIGNED = re.compile(r"aten\.(scatter\.(src|value)|index_put_?\.default|index_copy|index_fill)")
_PASSING = MOVING | {"Cast", "CastLike", "GatherND"}
_OF_COUNTS = frozenset(("Clip", "Sqrt", "Reciprocal", "Pow", "Log"))


def scatters(subject: Subject) -> Iterator[tuple[Graph, onnx.NodeProto]]:
    """Yield (graph or body, node) of every scatter of a file that has data, indices and updates."""
    for graph in subject.graph.all() if subject.graph is not None else ():
        for node in graph.nodes:
            if node.op_type in SCATTERS and node.domain in STANDARD and len(node.input) > 2 and all(node.input) and node.output:
                yield graph, node


def overwrites(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a scatter has no reduction and its result depends on which update comes last.

    It does not where no two updates meet, nor where all of them are one number, unless that number is there to be counted.
    """
    if reduction_of(node) != "none" or indices_unique(graph, node):
        return False
    return not uniform(graph, node.input[2]) or counts(graph, node)


def counts(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether what is made of a scatter of one number into zeros makes sense for a count only.

    A count is divided by, bounded from below, or (as torch writes `scatter_add` up to opset 15) added to zeros. A mask is not.
    """
    if not all_zeros(graph, node.input[0]) or all_zeros(graph, node.input[2]):
        return False
    waiting, seen = [(node.output[0], 0)], {node.output[0]}
    while waiting:
        name, steps = waiting.pop()
        for reader in graph.consumers(name):
            if reader.domain not in STANDARD or not reader.output:
                continue
            others = [item for item in reader.input if item != name]
            if _counted(graph, reader, name, others):
                return True
            fixed = reader.op_type == "Add" and all(uniform(graph, item) for item in others)
            passing = reader.op_type in _PASSING and (reader.input[0] == name or reader.op_type == "Concat")
            if (fixed or passing) and steps < STEPS_ON and reader.output[0] not in seen:
                seen.add(reader.output[0])
                waiting.append((reader.output[0], steps + 1))
    return False


def _counted(graph: Graph, reader: onnx.NodeProto, name: str, others: list[str]) -> bool:
    if reader.op_type == "Add":
        return len(others) == 1 and all_zeros(graph, others[0])
    if reader.op_type == "Max":  # the larger of two masks is a mask
        return all(uniform(graph, item) for item in others)
    return reader.input[-1 if reader.op_type == "Div" else 0] == name and reader.op_type in (*_OF_COUNTS, "Div")


def is_mean(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether an overwriting scatter was `scatter_reduce(reduce="mean")`.

    torch's exporter writes no reduction for the mean, and for nothing else that it calls scatter_reduce. It leaves a note of the
    call, the call's name, or, without `include_self`, a scatter of zeros to the same places just before.
    """
    note = notes(node)
    if note:
        return bool(_MEAN.search(note))
    if "scatter_reduce" in node.name or "scatter_reduce" in node.output[0]:
        return True
    inner = made_by(graph, node.input[0])
    return (
        inner is not None and inner.op_type in SCATTERS and len(inner.input) > 2 and reduction_of(inner) == "none"
        and inner.input[1] == node.input[1] and attribute(inner, "axis", 0) == attribute(node, "axis", 0)
        and all_zeros(graph, inner.input[2])
    )


def assigned(node: onnx.NodeProto) -> bool:
    """Return whether the exporter's note says that the network itself overwrites: scatter, index_copy, index_put without sum."""
    note = notes(node)
    return bool(_ASSIGNED.search(note)) and not re.search(r"index_put\S*\(args = .*, True\)|accumulate: True", note)


def notes(node: onnx.NodeProto) -> str:
    """Return what torch's exporter wrote about the call that a node comes from, "" if it did not or it was removed."""
    found = {item.key: item.value for item in node.metadata_props}
    return str(found.get("pkg.torch.onnx.fx_node") or found.get("namespace", ""))


def came_from(graph: Graph, node: onnx.NodeProto) -> str:
    """Return where the indices of a scatter come from, for a message."""
    inputs = {value.name for value in graph.graph.input}
    names = {f"'{name}'" if name in inputs else (maker.op_type if maker is not None else f"'{name}'")
             for name, maker in sources(graph, node.input[1], MOVING | {"Cast"})}
    return listed(sorted(names))


def number_type(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return the element type of what a scatter writes, None if the file does not say."""
    found = (graph.dtype(name) for name in (node.input[0], node.input[2], node.output[0]))
    return next((dtype for dtype in found if dtype is not None), None)
