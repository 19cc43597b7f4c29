"""Which input of an ONNX graph is which of the contract's: by name, and by type and order where names are others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from trkx.export.lint.finding import Subject
from trkx.export.lint.walking import FLOATS, INTEGERS
from trkx.export.targets import Target

CLASSIFIERS = ("filter", "gnn")
Dim = int | str | None


@dataclass(frozen=True)
class Doors:
    """Inputs and outputs of a graph.

    Attributes:
        inputs: without the weights, which old files list as inputs too.
        outputs: all of them.
        x, edge_index, edge_attr: those of `inputs` that are taken for the contract's, None if there is none.
        output: the contract's output: the one of that name, otherwise the first.
        classifier: the graph scores edges (its stage says so, or it reads an edge_index).
    """

    inputs: tuple[onnx.ValueInfoProto, ...]
    outputs: tuple[onnx.ValueInfoProto, ...]
    x: onnx.ValueInfoProto | None
    edge_index: onnx.ValueInfoProto | None
    edge_attr: onnx.ValueInfoProto | None
    output: onnx.ValueInfoProto | None
    classifier: bool

    def roles(self) -> list[tuple[str, onnx.ValueInfoProto]]:
        """Return (name in the contract, input) of the inputs that have a role, in the contract's order."""
        found = (("x", self.x), ("edge_index", self.edge_index), ("edge_attr", self.edge_attr))
        return [(name, value) for name, value in found if value is not None]


def doors_of(subject: Subject) -> Doors | None:
    """Return the doors of a subject's main graph; None for a subject that is no ONNX file."""
    if subject.model is None:
        return None
    graph = subject.model.graph
    weights = {item.name for item in graph.initializer} | {item.values.name for item in graph.sparse_initializer}
    inputs = tuple(value for value in graph.input if value.name not in weights)
    edge_index = _of(inputs, "edge_index", INTEGERS, ())
    edge_attr = next((value for value in inputs if value.name == "edge_attr"), None)
    x = _of(inputs, "x", FLOATS, ("edge_attr",))
    if edge_attr is None and edge_index is not None:  # the second table of features is that of the edges
        floats = [value for value in inputs if dtype_of(value) in FLOATS and value is not x]
        edge_attr = floats[0] if floats else None
    classifier = subject.stage in CLASSIFIERS or (subject.stage != "embedding" and edge_index is not None)
    outputs = tuple(graph.output)
    output = next((value for value in outputs if value.name == "output"), outputs[0] if outputs else None)
    return Doors(inputs, outputs, x, edge_index, edge_attr, output, classifier)


def stage_of(stage: str, target: Target, doors: Doors) -> str:
    """Return the stage whose names a target wants: the one that is known, else the one whose names the doors have.

    Where neither is so, a classifier is taken for "gnn", everything else for "embedding".
    """
    held = {value.name for value in (*doors.inputs, *doors.outputs)}
    fitting = ("gnn", "filter") if doors.classifier else ("embedding",)
    return stage or max(fitting, key=lambda one: sum(target.name_of(one, role) in held for role in ("x", "edge_index", "output")))


def names_to_export(target: Target, stage: str) -> str:
    """Return the arguments with which torch's exporter gives a network of a stage the target's names."""
    roles = ["x", *(["edge_index"] if stage in CLASSIFIERS else []),
             *(["edge_attr"] if stage in CLASSIFIERS and target.needs_edge_attr else [])]
    inputs = ", ".join(f'"{target.name_of(stage, role)}"' for role in roles)
    return f'input_names=[{inputs}] and output_names=["{target.name_of(stage, "output")}"]'


def dims_of(value: onnx.ValueInfoProto) -> tuple[Dim, ...] | None:
    """Return the dimensions that a door declares: number, name or None (unknown); None if it declares no shape."""
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        return None
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_param or (int(dim.dim_value) if dim.HasField("dim_value") else None) for dim in dims)


def dtype_of(value: onnx.ValueInfoProto) -> int | None:
    """Return the element type of a door, None if it is no tensor."""
    return int(value.type.tensor_type.elem_type) if value.type.HasField("tensor_type") else None


def shown(dims: Sequence[Dim] | None) -> str:
    """Return dimensions as messages show them."""
    return "no shape" if dims is None else f"[{', '.join('?' if dim is None else str(dim) for dim in dims)}]"


def _of(
    inputs: Sequence[onnx.ValueInfoProto], name: str, dtypes: Sequence[int], others: Sequence[str]
) -> onnx.ValueInfoProto | None:
    named = next((value for value in inputs if value.name == name), None)
    return named or next((value for value in inputs if dtype_of(value) in dtypes and value.name not in others), None)
