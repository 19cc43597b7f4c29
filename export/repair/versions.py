"""Rewrite: the opset and the IR version are ones that the target accepts and in which a scatter can add."""

from __future__ import annotations

import onnx
from onnx import version_converter

from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import STANDARD
from trkx.export.onnx_graph import SCATTERS, Graph, reduction_of
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.editing import rename
from trkx.export.repair.norms import OPSET, half_norms
from trkx.export.targets import Target

PREFERRED = 18
"""Opset that an older file is brought to: all targets accept it, scatters add, max and min in scatters too."""
ONLY_TYPES = frozenset((
    "Cast", "CastLike", "Constant", "ConstantOfShape", "Equal", "Flatten", "Identity", "If", "IsInf", "IsNaN", "Loop",
    "ReduceMax", "ReduceMin", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze",
))
"""Operators to which opsets from 19 on added element types, and to Cast `saturate` for 8-bit floats, but no other meaning
(https://github.com/onnx/onnx/blob/main/docs/Changelog.md)."""
_AGAIN = "Export the network again with opset {opset}."


def versioned(model: onnx.ModelProto, request: Request) -> Outcome:
    """Convert the opset if the target can't take it or a mended graph needs a newer one; lower an IR version that is too new."""
    graph, target = Graph(model, infer=False), request.target
    found, wanted = graph.opset, min(PREFERRED, target.opset)
    changes: list[Change] = []
    if found > target.opset or found < _least(model, target):
        outcome = _converted(model, found, target.opset if found > target.opset else wanted)
        if outcome.refusals:
            return outcome
        model, changes = outcome.model, list(outcome.changes)
    if model.ir_version > target.ir:
        needed = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
        if needed > target.ir or model.configuration:
            why = f"IR version {model.ir_version}, and {target.name} takes at most {target.ir}"
            return Outcome(model, refusals=(Refusal("versioned", "TRKX021", "ir_version", why, _AGAIN.format(opset=wanted)),))
        what = f"IR version {model.ir_version} became {target.ir}"
        changes.append(Change("versioned", "TRKX021", "ir_version", what, "the graph uses nothing that the newer one brought"))
        model.ir_version = target.ir
    return Outcome(model, tuple(changes))


def _least(model: onnx.ModelProto, target: Target) -> int:
    """Return the oldest opset in which everything in a file can be said as it is meant."""
    graph, least = Graph(model), 0
    for part in graph.all():
        overwrites = [node for node in part.nodes if node.op_type in SCATTERS and reduction_of(node) == "none"]
        if any(node.domain in STANDARD and not indices_unique(part, node) for node in overwrites):
            least = max(least, target.oldest_opset)
        if next(half_norms(part), None) is not None:
            least = max(least, OPSET)
    return least


def _converted(model: onnx.ModelProto, found: int, wanted: int) -> Outcome:
    rule = "TRKX002" if wanted > found else "TRKX021"
    properties = {item.key: item.value for item in model.metadata_props}
    _unlist_weights(model)
    names = ([value.name for value in model.graph.input], [value.name for value in model.graph.output])
    try:
        result = _relabelled(model, found, wanted) or version_converter.convert_version(model, wanted)
        onnx.checker.check_model(result, full_check=True)
    except Exception as error:  # the C++ side has its own error classes
        why = f"opset {found} can't be converted to {wanted}: {(str(error).strip() or repr(error)).splitlines()[0]}"
        return Outcome(model, refusals=(Refusal("versioned", rule, "opset", why, _AGAIN.format(opset=wanted)),))
    if names != ([value.name for value in result.graph.input], [value.name for value in result.graph.output]):
        why = f"conversion from opset {found} to {wanted} changed inputs or outputs"
        return Outcome(model, refusals=(Refusal("versioned", rule, "opset", why, _AGAIN.format(opset=wanted)),))
    _keep_names(model.graph, result.graph)
    del result.metadata_props[:]
    onnx.helper.set_model_props(result, properties)
    why = "a scatter can add only from opset 16 on" if wanted > found else "the newest that the target accepts"
    return Outcome(result, (Change("versioned", rule, "opset", f"opset {found} became {wanted}", why),))


def _keep_names(before: onnx.GraphProto, after: onnx.GraphProto) -> None:
    """Give scatters the output names that they had: for Scatter, of opsets 9 and 10, the converter makes new ones."""
    old, new = ([node.output[0] for node in graph.node if node.op_type in SCATTERS] for graph in (before, after))
    if len(old) == len(new):
        rename(after, {now: was for was, now in zip(old, new, strict=True) if now != was and was not in new})


def _relabelled(model: onnx.ModelProto, found: int, wanted: int) -> onnx.ModelProto | None:
    """Return the model under an older opset in which every operator of it says the same, None if there is one that does not.

    onnx's converter has no way back for many operators to which a newer opset only added element types.
    """
    if wanted > found:
        return None
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for part in Graph(result, infer=False).all():
        for node in part.nodes:
            if node.domain not in STANDARD:
                continue
            now, then = (onnx.defs.get_schema(node.op_type, version).since_version for version in (found, wanted))
            if now != then and node.op_type not in ONLY_TYPES:
                return None
            kept = [item.SerializeToString() for item in node.attribute if item.name != "saturate" or item.i != 1]
            del node.attribute[:]
            node.attribute.extend(onnx.AttributeProto.FromString(data) for data in kept)
    for item in result.opset_import:
        if item.domain in STANDARD:
            item.version = wanted
    return result


def raised(model: onnx.ModelProto) -> None:
    """Raise the IR version to the one that the opsets need, at least 4, where weights need not be listed as inputs."""
    needed = max(4, onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True))
    _unlist_weights(model)
    model.ir_version = max(model.ir_version, needed)


def _unlist_weights(model: onnx.ModelProto) -> None:
    if model.ir_version < 4:
        weights = {item.name for item in model.graph.initializer}
        kept = [value.SerializeToString() for value in model.graph.input if value.name not in weights]
        del model.graph.input[:]
        model.graph.input.extend(onnx.ValueInfoProto.FromString(data) for data in kept)
        model.ir_version = 4
