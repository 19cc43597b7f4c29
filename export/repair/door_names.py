"""Rewrite: inputs and output have the target's names and the order of the contract, where it is clear which is which."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from trkx.export.lint.doors import dtype_of, names_to_export, stage_of
from trkx.export.lint.walking import FLOATS, INTEGERS, listed
from trkx.export.onnx_graph import Graph
from trkx.export.repair.change import Change, Outcome, Refusal, Request, doors_in
from trkx.export.repair.editing import names_of, new_name, rename

_RULE = "TRKX016"
ORDER = ["x", "edge_index", "edge_attr"]
_AXES = {"x": (0, "num_hits"), "edge_index": (1, "num_edges"), "edge_attr": (0, "num_edges")}


def named(model: onnx.ModelProto, request: Request) -> Outcome:
    """Rename x, edge_index, edge_attr and output to what the target calls them, and put the inputs in this order."""
    if request.keep_names:
        return Outcome(model)
    doors = doors_in(model, request)
    stage = stage_of(request.stage, request.target, doors)
    called = {role: request.target.name_of(stage, role) for role in (*ORDER, "output")}
    pairs = [(called[role], value) for role, value in doors.roles() if value.name != called[role]]
    if doors.output is not None and doors.output.name != called["output"]:
        pairs.append((called["output"], doors.output))
    wrong = listed([value.name for _, value in pairs], 5)
    usual = [called[role] for role in ORDER][:len(doors.inputs)]
    problem = _ambiguous(model, request, called) if pairs or [value.name for value in doors.inputs] != usual else ""
    if problem:
        if not request.target.by_name:
            return Outcome(model)
        todo = f"Export again with {names_to_export(request.target, stage)}."
        return Outcome(model, refusals=(Refusal("named", _RULE, wrong, problem, todo),))
    changes = []
    if pairs:
        new = {value.name: name for name, value in pairs}
        rename(model.graph, _out_of_the_way(model, set(new.values()) - set(new)))
        rename(model.graph, new)
        what = f"{', '.join(f'{old} is {name}' for old, name in new.items())} now"
        changes.append(Change("named", _RULE, wrong, what, "the only input or output of that type and rank"))
    order = [called[role] for role, _ in doors.roles()]
    inputs = {value.name: value for value in model.graph.input}
    if [name for name in inputs if name in order] != order:
        _reorder(model, [*(inputs[name] for name in order), *(value for name, value in inputs.items() if name not in order)])
        what = f"inputs are in the order {', '.join(order)} now"
        changes.append(Change("named", _RULE, order[0], what, "engines that bind by position take them in this order"))
    return Outcome(model, tuple(changes))


def _ambiguous(model: onnx.ModelProto, request: Request, called: Mapping[str, str]) -> str:
    """Say why it is not clear which input or output is which, "" if it is. called: what the target calls each of them."""
    doors = doors_in(model, request)
    floats = [value for value in doors.inputs if dtype_of(value) in FLOATS]
    integers = [value for value in doors.inputs if dtype_of(value) in INTEGERS]
    names = {value.name for value in floats}
    if len(integers) > 1 or (len(floats) > 1 and not names & {"x", "edge_attr"}) or len(floats) > 2:
        return f"inputs {listed((value.name for value in doors.inputs), 6)}: more than one could be the same of the contract's"
    odd = [value.name for role, value in doors.roles() if (dtype_of(value) in INTEGERS) != (role == "edge_index")]
    if odd:
        return f"input '{odd[0]}' has the name of another's type"
    if len(doors.outputs) != 1:
        return f"{len(doors.outputs)} outputs, of which none is known to be '{called['output']}'"
    return ""


def _out_of_the_way(model: onnx.ModelProto, wanted: set[str]) -> dict[str, str]:
    """Return new names for inner values that have a name that a door is to get."""
    taken = names_of(model)
    return {name: new_name(taken, name) for name in sorted(wanted & taken)}


def _reorder(model: onnx.ModelProto, values: list[onnx.ValueInfoProto]) -> None:
    copies = []
    for value in values:
        copy = onnx.ValueInfoProto()
        copy.CopyFrom(value)
        copies.append(copy)
    del model.graph.input[:]
    model.graph.input.extend(copies)


def name_axes(model: onnx.ModelProto, request: Request) -> None:
    """Call dynamic axes at the doors num_hits and num_edges, unless names are to be kept."""
    if request.keep_names:
        return
    doors = doors_in(model, request)
    graph = Graph(model, infer=False)
    rows = [(value, *_AXES[role]) for role, value in doors.roles()]
    if doors.output is not None:
        rows.append((doors.output, 0, "num_edges" if doors.classifier else "num_hits"))
    for value, axis, name in rows:
        dims = value.type.tensor_type.shape.dim
        shape = graph.shape(value.name)
        if shape is None or len(shape) <= axis or isinstance(shape[axis], int) or shape[axis] == name:
            continue
        dims[axis].dim_param = name
