"""A float32 model with the nodes of a plan in half precision: casts where values enter and leave, weights rounded once."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import helper

from trkx.errors import ExportError
from trkx.export.lint.walking import reads
from trkx.export.onnx_graph import HALF, Graph
from trkx.export.precision.plan import Plan, plan_of
from trkx.export.precision.table import HalfType, tensor_of
from trkx.export.repair.editing import names_of, new_name, prune, replace_nodes


@dataclass(frozen=True)
class Converted:
    """model: in half precision, doors as before. plan: what was converted and what was not."""

    model: onnx.ModelProto
    plan: Plan


def in_half(model: onnx.ModelProto, half: HalfType) -> Converted:
    """Return a copy of a float32 model whose hidden products, and what stands between them, compute in a half type.

    Doors keep names and types, indices stay int64; each value is cast at most once each way, each weight rounded once.

    Raises:
        ExportError: local functions, or values of a half type already.
    """
    graph = Graph(model)
    if model.functions:
        raise ExportError("local functions can't be converted to half precision; inline them first (trkx exports have none).")
    present = {item.data_type for part in graph.all() for item in part.graph.initializer}
    present |= {graph.dtype(name) or 0 for node in graph.nodes for name in node.output}
    if present & set(HALF):
        raise ExportError("expected a float32 graph, found values in half precision; convert the float32 file of this network.")
    plan = plan_of(graph, half)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    _Conversion(graph, result.graph, half, plan, names_of(model)).write()
    prune(result.graph)
    return Converted(result, plan)


class _Conversion:
    """Names in half precision, as they come to be while nodes are written."""

    def __init__(self, graph: Graph, to: onnx.GraphProto, half: HalfType, plan: Plan, taken: set[str]) -> None:
        self.graph, self.to, self.type, self.plan, self.taken = graph, to, half, plan, taken
        self.halves: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def write(self) -> None:
        """Give the new graph its nodes and initialisers."""
        wide = {value.name for value in self.graph.graph.output}  # read as float32 by something
        for place, node in enumerate(self.graph.nodes):
            wide |= reads(node) if place not in self.plan.half else set(node.input) - set(self._floats(node))
        for place, node in enumerate(self.graph.nodes):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if place in self.plan.half:
                floats = set(self._floats(node))
                for number, name in enumerate(node.input):
                    if name in floats:
                        copy.input[number] = self._half(name)
                self._leave(copy, node.output[0], node.output[0] in wide)
            else:
                self.nodes.append(copy)
        replace_nodes(self.to, self.nodes)

    def _leave(self, copy: onnx.NodeProto, name: str, wide: bool) -> None:
        self.halves[name] = copy.output[0] = self._name(name)
        self.nodes.append(copy)
        if wide:
            self._cast(copy.output[0], name, onnx.TensorProto.FLOAT)

    def _floats(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a half node that become half: data and constants, not the index of a Gather."""
        if node.op_type == "Gather":
            return list(node.input[:1])
        return [name for name in node.input if name]

    def _half(self, name: str) -> str:
        """Return the half form of a value, made where it is first needed."""
        if name not in self.halves:
            value = self.graph.constant(name)
            self.halves[name] = self._name(name)
            if value is not None:
                self.to.initializer.append(tensor_of(value, self.type, self.halves[name]))
            else:
                self._cast(name, self.halves[name], self.type.onnx)
        return self.halves[name]

    def _cast(self, source: str, output: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [source], [output], name=new_name(self.taken, f"{output}_Cast"), to=to))

    def _name(self, stem: str) -> str:
        return new_name(self.taken, f"{stem}_{self.type.short}")
