"""Whether what is half in a file may be: the plan of the same graph in float32 is made again, from what the file holds.

No name is trusted: every node of the file is judged by the bounds that its own graph proves, so that a product which could
meet infinity in float16 is seen although numbers on finite events are right.
"""

from __future__ import annotations

import onnx
from onnx import numpy_helper

from trkx.export.lint.walking import label
from trkx.export.onnx_graph import HALF, Graph
from trkx.export.precision.plan import PRODUCTS, ROOM, Plan, plan_of
from trkx.export.precision.structure import FLOAT
from trkx.export.precision.table import TYPES, HalfType

ROOM_OF_ROUNDED = 0.75
"""Share of the largest number for weights that are rounded already: a bound at the border of the plan's share may have moved."""


def strays(model: onnx.ModelProto, half: HalfType, exact: onnx.ModelProto | None = None) -> list[str]:
    """Return what is half and must not be by the plan, in sentences; one as well if nothing is half where something could be.

    Args:
        model: the file.
        half: the type that it says it computes in.
        exact: the same with its half weights put back to float32; None for a file without its float32 twin.
    """
    graph = Graph(model)
    places = [place for place, node in enumerate(graph.nodes) if node.op_type != "Cast" and _computes_half(graph, node)]
    plan = plan_of(Graph(widened(model if exact is None else exact, graph)), half, ROOM if exact else ROOM_OF_ROUNDED)
    if plan.products and not any(graph.nodes[place].op_type in PRODUCTS for place in places):
        return [f"says {half.name}, but no product computes in it, where {plan.products} can: it is float32 under another name"]
    return [_sentence(graph.nodes[place], plan, half) for place in places if place not in plan.half]


def widened(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Return a model without half precision: its half weights in float32, its casts to and from half types left out.

    Nodes keep their places and names. Weights that are subnormal in the type become 0: what they were before is not known.
    graph: of the file, with its types.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    for tensor in result.graph.initializer:
        if tensor.data_type in HALF:
            tensor.CopyFrom(_wide(tensor))
    for node in result.graph.node:
        for item in node.attribute:
            if node.op_type == "Constant" and item.name == "value" and item.t.data_type in HALF:
                item.t.CopyFrom(_wide(item.t))
            if node.op_type == "Cast" and item.name == "to" and item.i in (FLOAT, *HALF):
                item.i = FLOAT
        if node.op_type == "Cast" and {graph.dtype(node.input[0]), graph.dtype(node.output[0])} <= {FLOAT, *HALF}:
            node.op_type = "Identity"
            del node.attribute[:]
    return result


def _wide(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor).astype("f4")
    values[abs(values) < _SMALLEST[tensor.data_type]] = 0.0
    return numpy_helper.from_array(values, tensor.name)


_SMALLEST = {half.onnx: half.smallest for half in TYPES.values()}


def _computes_half(graph: Graph, node: onnx.NodeProto) -> bool:
    return any(graph.dtype(name) in HALF for name in (*node.input, *node.output) if name) and node.op_type != "Constant"


def _sentence(node: onnx.NodeProto, plan: Plan, half: HalfType) -> str:
    why = next((item.why for item in plan.kept if item.node == label(node)), "")
    reason = f"it is one of those that {why}" if why else "it stands between no half products, or may pass the largest number"
    return f"{label(node)} computes in {half.name}, expected float32: {reason}"
