"""What the scatters of a graph do: which overwrite where they may meet, and what was meant, as far as a file tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from trkx.export.lint.counting import counts, may_count
from trkx.export.lint.finding import Subject
from trkx.export.lint.intervals import made_by
from trkx.export.lint.uniform import uniform
from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import MOVING, STANDARD, listed, sources
from trkx.export.onnx_graph import SCATTERS, Graph, attribute, reduction_of
from trkx.export.repair.zeros import all_zeros

_MEAN = re.compile(r"aten\.scatter_reduce\.\w+\](\(args = .*\bmean\b)|aten\.scatter_reduce\.\w+$")
_ASSIGNED = re.compile(r"aten\.(scatter\.(src|value)|index_put_?\.default|index_copy|index_fill)")


def scatters(subject: Subject) -> Iterator[tuple[Graph, onnx.NodeProto]]:
    """Yield (graph or body, node) of every scatter of a file that has data, indices and updates."""
    return scatters_of(subject.graph) if subject.graph is not None else iter(())


def scatters_of(graph: Graph) -> Iterator[tuple[Graph, onnx.NodeProto]]:
    """Yield (graph or body, node) of every scatter of a graph that has data, indices and updates."""
    for part in graph.all():
        for node in part.nodes:
            if node.op_type in SCATTERS and node.domain in STANDARD and len(node.input) > 2 and all(node.input) and node.output:
                yield part, node


def overwrites(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a scatter has no reduction and its result depends on which update comes last.

    It does not where no two updates meet, nor where all of them are one number, unless that number is there to be counted.
    """
    if reduction_of(node) != "none" or indices_unique(graph, node):
        return False
    return not uniform(graph, node.input[2]) or counts(graph, node)


def unclear(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a scatter of one number, which `overwrites` lets pass as a mask, may be a count as well."""
    if reduction_of(node) != "none" or not uniform(graph, node.input[2]) or not may_count(graph, node):
        return False
    return not indices_unique(graph, node) and not assigned(node)


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
