"""One stage as one ONNX file: dynamic axes, the names of the contract, float32 and int64 at the doors, no external data."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
from torch import nn

from trkx.errors import ExportError
from trkx.export.folding import folded
from trkx.export.lint.scatters import overwrites, scatters_of
from trkx.export.lint.walking import label
from trkx.export.lowerings.lower import lowered
from trkx.export.lowerings.table import lowering_of
from trkx.export.onnx_graph import Graph, reduction_of
from trkx.export.targets import target_of
from trkx.export.translation import translations

NEWEST_IR = 10


@dataclass(frozen=True)
class Door:
    """One input or output: name, element type, dimensions (a string is a dynamic axis, an int is fixed)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


def doors(stage: str, num_features: int, width: int = 1, num_edge_features: int = 0) -> tuple[tuple[Door, ...], Door]:
    """Return the inputs and the output that the file of a stage must have.

    width: columns of the output. num_edge_features: columns of edge_attr, 0 for a network that reads none.
    """
    x = Door("x", "FLOAT", ("num_hits", num_features))
    if stage == "embedding":
        return (x,), Door("output", "FLOAT", ("num_hits", width))
    more = (Door("edge_attr", "FLOAT", ("num_edges", num_edge_features)),) if num_edge_features and stage == "gnn" else ()
    return (x, Door("edge_index", "INT64", (2, "num_edges")), *more), Door("output", "FLOAT", ("num_edges", width))


def example_inputs(stage: str, num_features: int, num_edge_features: int = 0) -> tuple[torch.Tensor, ...]:
    """Return inputs to trace with: 7 hits with different positive features, 11 edges, some of them repeated."""
    x = torch.linspace(0.05, 0.95, 7 * num_features).reshape(num_features, 7).T.contiguous()
    if stage == "embedding":
        return (x,)
    edges = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 0, 1, 1, 2], [1, 2, 2, 3, 4, 5, 6, 1, 6, 5, 6]])
    if not num_edge_features or stage != "gnn":
        return x, edges
    return x, edges, torch.linspace(-0.9, 0.8, 11 * num_edge_features).reshape(num_edge_features, 11).T.contiguous()


DYNAMIC_AXIS = {"x": (0, "num_hits"), "edge_index": (1, "num_edges"), "edge_attr": (0, "num_edges")}
"""Name of an input to its dynamic axis and that axis' name."""


def dynamic_shapes(count: int) -> tuple[dict[int, Any], ...]:
    """Return torch's declaration of the dynamic axes of the first `count` inputs; edge_index and edge_attr share theirs."""
    edges = torch.export.Dim("num_edges") if count > 2 else torch.export.Dim.DYNAMIC
    return ({0: torch.export.Dim.DYNAMIC}, {1: edges}, {0: edges})[:count]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence messages that say nothing about the network: no torchvision, a deprecated name, a fold not taken, names of axes."""
    names = ("torch.onnx._internal.exporter._registration", "onnxscript.optimizer._constant_folding")
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning)
            warnings.filterwarnings("ignore", message=r"# The axis name: num_edges will not be used")  # we name axes ourselves
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def onnx_model(
    stage: str, network: nn.Module, num_features: int, target: str = "ort-cpu", lowering: str | None = None,
    num_edge_features: int = 0,
) -> onnx.ModelProto:
    """Return the ONNX model of one network, with the target's opset, its sums over edges, and named axes.

    Args:
        stage: "embedding", "filter" or "gnn".
        network: float32 module in eval mode.
        num_features: columns of x.
        target: a key of `trkx.export.targets.TARGETS` whose files are ONNX.
        lowering: how sums over edges are written, a key of `trkx.export.lowerings.table.LOWERINGS`; None for the target's own.
        num_edge_features: columns of edge_attr.

    Raises:
        ExportError: the network can't be translated, or the target is not right with that lowering.
    """
    sums, opset = lowering_of(target, lowering), target_of(target).opset
    names = [door.name for door in doors(stage, num_features, 1, num_edge_features)[0]]
    inputs = example_inputs(stage, num_features, num_edge_features)
    try:
        with _quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                network, inputs, dynamo=True, dynamic_shapes=dynamic_shapes(len(inputs)), opset_version=opset, input_names=names,
                output_names=["output"], custom_translation_table=translations(), verbose=False,
                external_data=False, optimize=False,
            )
    except ExportError:
        raise
    except Exception as error:  # torch raises many kinds here; all mean that this network has no ONNX form
        raise ExportError(f"{stage}: torch could not translate the network to ONNX: {error}") from error
    if program is None:
        raise ExportError(f"{stage}: torch returned no ONNX program.")
    with _quiet_exporter():
        program.model = folded(program.model)
    model: onnx.ModelProto = lowered(program.model_proto, sums)[0]
    _name_axes(model)
    _strip_build_paths(model)
    return model


def name_doors(model: onnx.ModelProto, stage: str, target: str) -> None:
    """Give inputs and output of a finished model, in place, the names that the target knows them by."""
    row = target_of(target)
    names = {value.name: row.name_of(stage, value.name) for value in (*model.graph.input, *model.graph.output)}
    for value in (*model.graph.input, *model.graph.output):
        value.name = names[value.name]
    for node in model.graph.node:
        for held in (node.input, node.output):
            held[:] = [names.get(name, name) for name in held]


def _name_axes(model: onnx.ModelProto) -> None:
    """Rename the exporter's symbols to num_hits and num_edges; inner shapes are left to be inferred again."""
    symbols: dict[str, str] = {}
    for value in model.graph.input:
        axis, name = DYNAMIC_AXIS[value.name]
        symbol = value.type.tensor_type.shape.dim[axis].dim_param
        if symbol:
            symbols[symbol] = name
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = symbols.get(dim.dim_param, dim.dim_param)


def _strip_build_paths(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about source files of this machine (stack traces, module paths)."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    for item in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def onnx_bytes(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Return the single file: metadata_props set, IR version at most 10, weights inside.

    Raises:
        ExportError: the graph is not valid ONNX, or is too large for one file (2 GiB).
    """
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    model.ir_version = min(model.ir_version, NEWEST_IR)
    model.producer_name, model.producer_version = "trkx", metadata.get("pkg.trkx.version", "")
    try:
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
    except Exception as error:  # checker and protobuf have their own error classes
        raise ExportError(f"{metadata.get('pkg.trkx.stage', 'model')}: not a valid ONNX file: {error}") from error


def _found(value: onnx.ValueInfoProto) -> Door:
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in tensor.shape.dim)
    return Door(value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), shape)


def problems_at_the_doors(
    data: bytes, stage: str, num_features: int, width: int, metadata: Mapping[str, str], target: str = "ort-cpu",
    num_edge_features: int = 0,
) -> list[str]:
    """Return what is wrong with a file before it is run; an empty list if nothing is.

    Checks opset, IR version, operator domains, external data, names, order, ranks and types of inputs and output,
    that no scatter overwrites where indices may repeat or races, and the metadata.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf has its own error classes
        return [f"not a valid ONNX file: {error}"]
    problems = []
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # so has the checker
        problems.append(f"not a valid ONNX file: {error}")
    opsets = {item.domain: item.version for item in model.opset_import}
    row = target_of(target)
    if model.ir_version > row.ir:
        problems.append(f"IR version {model.ir_version}, expected at most {row.ir}")
    if opsets.get("", 0) != row.opset:
        problems.append(f"opset {opsets.get('', 0)}, expected {row.opset}")
    strange = sorted({*opsets, *(node.domain for node in model.graph.node)} - {"", "ai.onnx"})
    if strange or model.functions:
        problems.append(f"operators outside of standard ONNX: {', '.join(strange) or 'local functions'}")
    if any(item.data_location == onnx.TensorProto.EXTERNAL for item in model.graph.initializer):
        problems.append("weights outside of the file")
    inputs, output = doors(stage, num_features, width, num_edge_features)
    inputs = tuple(replace(door, name=row.name_of(stage, door.name)) for door in inputs)
    output = replace(output, name=row.name_of(stage, output.name))
    for kind, expected, values in (("inputs", inputs, model.graph.input), ("outputs", (output,), model.graph.output)):
        found = tuple(_found(value) for value in values)
        if found != expected:
            problems.append(f"{kind} are {'; '.join(map(str, found)) or 'none'}, expected {'; '.join(map(str, expected))}")
    for part, node in scatters_of(Graph(model)):
        if node.op_type == "ScatterND" and reduction_of(node) != "none":
            what = f"ScatterND '{node.name}' has reduction '{reduction_of(node)}'"
            problems.append(f"{what}, expected ScatterElements, which never races")
        elif overwrites(part, node):
            problems.append(f"{label(node)} has reduction 'none' where indices may repeat, expected one that keeps every update")
    held = {item.key: item.value for item in model.metadata_props}
    problems += [f"metadata {key} is not that of this export" for key, value in metadata.items() if held.get(key) != value]
    return problems
