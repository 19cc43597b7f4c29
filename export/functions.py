"""Local functions of an ONNX file: how large it is without them, and the file without them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import onnx
import onnx.inliner

from trkx.errors import ExportError
from trkx.export.inference import plausible

MOST_NODES, MOST_BYTES, DEEPEST = 200_000, 2**29, 64
"""Nodes and bytes of a file once every call is replaced by the function's nodes, and calls inside calls. A function that calls
the next one twice, and so on, makes a kilobyte as large as one likes."""
Key = tuple[str, str, str]


def without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every call of a local function replaced by its nodes; the model itself if it has no functions.

    Raises:
        ExportError: functions that call themselves, or that grow beyond MOST_NODES, MOST_BYTES or DEEPEST, or that onnx's
            inliner refuses.
    """
    if not model.functions:
        return model
    problem = growth_problem(model)
    if problem:
        raise ExportError(f"local functions {problem}; export the network without functions.")
    try:
        plain: onnx.ModelProto = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # compiled code with its own error classes
        raise ExportError(f"local functions can't be inlined: {str(error).strip() or type(error).__name__}") from error
    if not plausible(plain):
        raise ExportError("local functions grow ranks, constants or values of shapes beyond any plausible size.")
    domains = {node.domain for node in _nodes(plain.graph.node)}
    kept = [item for item in plain.opset_import if item.domain in ("", "ai.onnx") or item.domain in domains]
    copies = [onnx.helper.make_opsetid(item.domain, item.version) for item in kept]
    del plain.opset_import[:]
    plain.opset_import.extend(copies)
    return plain


def unfolded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without functions, or as it is where that can't be: then it still has them."""
    try:
        return without_functions(model)
    except ExportError:
        return model


def growth_problem(model: onnx.ModelProto) -> str:
    """Return why a model must not be inlined, "" if it may be. Counts, and builds nothing."""
    functions = {(item.domain, item.name, item.overload): item for item in model.functions}
    calls = {key: [name for name in map(_key, _nodes(item.node)) if name in functions] for key, item in functions.items()}
    try:
        order = list(TopologicalSorter({key: set(inside) for key, inside in calls.items()}).static_order())
    except CycleError as error:
        return f"call themselves: {' calls '.join(key[1] for key in error.args[1])}"
    sizes: dict[Key, tuple[int, int, int]] = {}
    for key in order:
        item = functions[key]
        sizes[key] = _with_calls(len(list(_nodes(item.node))), item.ByteSize(), (sizes[name] for name in calls[key]))
    names = [name for name in map(_key, _nodes(model.graph.node)) if name in functions]
    nodes, size, depth = _with_calls(0, 0, (sizes[name] for name in names))
    if nodes > MOST_NODES:
        return f"would become {nodes:.3g} nodes, expected at most {MOST_NODES}"
    if size > MOST_BYTES:
        return f"would take {size:.3g} bytes, expected at most {MOST_BYTES}"
    return f"call each other {depth - 1} deep, expected at most {DEEPEST}" if depth > DEEPEST + 1 else ""


def _with_calls(nodes: int, size: int, called: Iterable[tuple[int, int, int]]) -> tuple[int, int, int]:
    deepest = 0
    for more, longer, depth in called:
        nodes, size, deepest = min(nodes + more, 10**30), min(size + longer, 10**30), max(deepest, depth)
    return nodes, size, deepest + 1


def _key(node: onnx.NodeProto) -> Key:
    return node.domain, node.op_type, node.overload


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those of the bodies inside them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for item in node.attribute:
            for body in (*([item.g] if item.HasField("g") else ()), *item.graphs):
                waiting.extend(body.node)
