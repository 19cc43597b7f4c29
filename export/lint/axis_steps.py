"""What each ONNX operator does to the lengths of axes: one function an operator, listed in STEPS. Unknown is always allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import onnx

from trkx.export.lint.sizes import ONE, Size, Sizes, broadcast, reshaped
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import Graph, attribute

if TYPE_CHECKING:
    from trkx.export.lint.axes import Axes

Step = Callable[["Axes", Graph, onnx.NodeProto], Sequence[Sizes | None]]
TO_THE_END = 2**31 - 1
LONGEST_VECTOR = 64


def input_of(node: onnx.NodeProto, place: int) -> str:
    """Return the name of an input, "" if it is left out."""
    return str(node.input[place]) if place < len(node.input) else ""


def whole_numbers(graph: Graph, node: onnx.NodeProto, name: str, place: int) -> list[int] | None:
    """Return integers given as attribute `name` (older opsets) or as the constant input `place`; None if neither is there."""
    given = attribute(node, name)
    if given is not None:
        return [int(item) for item in given] if isinstance(given, list | tuple) else None
    value = constant(graph, input_of(node, place)) if input_of(node, place) else None
    if value is None or value.dtype.kind not in "iu" or value.size > LONGEST_VECTOR:
        return None
    return [int(item) for item in value.ravel()]


def vector_of(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sizes | None:
    """Return the elements of a node's first output where they are lengths of axes: what `Shape` starts, and what follows it."""
    first = sizes_held(axes, graph, input_of(node, 0))
    if node.op_type == "Shape":
        shape = axes.of(graph, input_of(node, 0))
        return None if shape is None else shape[attribute(node, "start", 0):attribute(node, "end", len(shape))]
    if node.op_type in ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape"):
        return first
    if node.op_type == "Concat":
        parts = [sizes_held(axes, graph, name) for name in node.input]
        joined = [size for part in parts if part is not None for size in part]
        return tuple(joined) if None not in parts and len(joined) <= LONGEST_VECTOR else None
    if first is None:
        return None
    if node.op_type == "Gather":
        index = constant(graph, input_of(node, 1))
        places = [] if index is None or index.dtype.kind not in "iu" else [int(item) for item in index.ravel()[:LONGEST_VECTOR]]
        inside = places and all(-len(first) <= item < len(first) for item in places)
        return tuple(first[item] for item in places) if inside else None
    if node.op_type == "Slice":
        cut = [whole_numbers(graph, node, name, place) for place, name in enumerate(("", "starts", "ends", "axes", "steps"))]
        start, end, step = cut[1], cut[2], cut[4] or [1]
        return first[start[0]:end[0]:step[0]] if start and end and step[0] else None
    second = sizes_held(axes, graph, input_of(node, 1))
    if node.op_type in ("Add", "Mul") and second is not None and len(first) == len(second) == 1:
        one, other = first[0], second[0]
        if one is not None and other is not None:
            if node.op_type == "Add":
                return (one + other,)
            if not (one.dynamic and other.dynamic):
                return (one * other.fixed if one.dynamic else other * one.fixed,)
    return None


def sizes_held(axes: Axes, graph: Graph, name: str) -> Sizes | None:
    """Return the elements of a value as lengths: one that was followed from a `Shape`, or a constant of at most 64 integers."""
    if not name or name in axes.vectors:
        return axes.vectors.get(name)
    value = constant(graph, name)
    if value is None or value.dtype.kind not in "iu" or value.ndim > 1 or value.size > LONGEST_VECTOR:
        return None
    return tuple(Size(fixed=int(item)) for item in value.ravel())


def _first(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sizes | None:
    return axes.of(graph, input_of(node, 0))


def _same(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    return (_first(axes, graph, node),)


def _broadcast(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    found = _first(axes, graph, node)
    for name in node.input[1:]:
        found = broadcast(found, axes.of(graph, name))
    return (found,)


def _gather(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, index = _first(axes, graph, node), axes.of(graph, input_of(node, 1))
    axis = _axis(node, data)
    if data is None or index is None or axis is None:
        return ()
    return (data[:axis] + index + data[axis + 1:],)


def _index_shape(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    return (axes.of(graph, input_of(node, 1)),)


def _axis(node: onnx.NodeProto, sizes: Sizes | None, default: int = 0) -> int | None:
    if sizes is None:
        return None
    axis = attribute(node, "axis", default)
    return axis % len(sizes) if isinstance(axis, int) and -len(sizes) <= axis < len(sizes) else None


def _unsqueeze(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, places = _first(axes, graph, node), whole_numbers(graph, node, "axes", 1)
    if data is None or places is None:
        return ()
    rank = len(data) + len(places)
    new = {place % rank for place in places}
    rest = iter(data)
    return (tuple(ONE if place in new else next(rest, None) for place in range(rank)),)


def _squeeze(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, places = _first(axes, graph, node), whole_numbers(graph, node, "axes", 1)
    if not data or (places is None and None in data):
        return ()
    gone = {place % len(data) for place in places} if places is not None else {k for k, size in enumerate(data) if size == ONE}
    return (tuple(size for place, size in enumerate(data) if place not in gone),)


def _transpose(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data = _first(axes, graph, node)
    if data is None:
        return ()
    order = attribute(node, "perm", list(range(len(data)))[::-1])
    return (tuple(data[place] for place in order),) if sorted(order) == list(range(len(data))) else ()


def _concat(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    parts = [axes.of(graph, name) for name in node.input]
    known = [part for part in parts if part is not None]
    axis = _axis(node, known[0]) if known else None
    if axis is None or len({len(part) for part in known}) != 1:
        return ()
    result: list[Size | None] = [next((part[k] for part in known if part[k] is not None), None) for k in range(len(known[0]))]
    joined = [part[axis] for part in known]
    result[axis] = sum((size for size in joined if size is not None), Size()) if None not in (*parts, *joined) else None
    return (tuple(result),)


def _split(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data = _first(axes, graph, node)
    axis = _axis(node, data)
    if data is None or axis is None:
        return ()
    parts, whole = whole_numbers(graph, node, "split", 1), data[axis]
    count = max(1, len(node.output))
    if parts is None and whole is not None and not whole.dynamic and whole.fixed % count == 0:
        parts = [whole.fixed // count] * count
    lengths = [Size(fixed=part) for part in parts] if parts is not None else [None] * count
    return [(*data[:axis], length, *data[axis + 1:]) for length in lengths]


def _top_k(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, count = _first(axes, graph, node), sizes_held(axes, graph, input_of(node, 1))
    axis = _axis(node, data, -1)
    if data is None or axis is None:
        return ()
    return [(*data[:axis], count[0] if count and len(count) == 1 else None, *data[axis + 1:])] * 2


def _one_hot(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    index, depth = _first(axes, graph, node), sizes_held(axes, graph, input_of(node, 1))
    axis = attribute(node, "axis", -1)
    if index is None or not -len(index) - 1 <= axis <= len(index):
        return ()
    axis %= len(index) + 1
    return ((*index[:axis], depth[0] if depth and len(depth) == 1 else None, *index[axis:]),)


def _gather_nd(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, index = _first(axes, graph, node), axes.of(graph, input_of(node, 1))
    if not data or not index or attribute(node, "batch_dims", 0) or index[-1] is None or index[-1].dynamic:
        return ()
    return (index[:-1] + data[index[-1].fixed:],)


def _gemm(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    left, right = _first(axes, graph, node), axes.of(graph, input_of(node, 1))
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return ()
    return ((left[1 if attribute(node, "transA", 0) else 0], right[0 if attribute(node, "transB", 0) else 1]),)


def _matmul(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    left, right = _first(axes, graph, node), axes.of(graph, input_of(node, 1))
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return ()
    return ((*(broadcast(left[:-2], right[:-2]) or ()), left[-2], right[-1]),)


def _reduce(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data = _first(axes, graph, node)
    if data is None:
        return ()
    single = node.op_type.startswith("Arg")
    places = [attribute(node, "axis", 0)] if single else whole_numbers(graph, node, "axes", 1)
    if places is None and input_of(node, 1):
        return ()
    if not places and attribute(node, "noop_with_empty_axes", 0):
        return (data,)
    gone = {place % len(data) for place in places} if places and data else set(range(len(data)))
    keep = attribute(node, "keepdims", 1)
    return (tuple(ONE if place in gone else size for place, size in enumerate(data) if keep or place not in gone),)


def _reshape(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    wanted = sizes_held(axes, graph, input_of(node, 1))
    return () if wanted is None else (reshaped(_first(axes, graph, node), wanted, bool(attribute(node, "allowzero", 0))),)


def _flatten(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data = _first(axes, graph, node)
    return (data,) if data is not None and len(data) == 2 and attribute(node, "axis", 1) == 1 else ()


def _expand(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    return (broadcast(_first(axes, graph, node), sizes_held(axes, graph, input_of(node, 1))),)


def _filled(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    return (sizes_held(axes, graph, input_of(node, 0)),)


def _range(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    start, end, step = (sizes_held(axes, graph, input_of(node, place)) for place in range(3))
    plain = start == (Size(),) and step == (ONE,) and end is not None and len(end) == 1
    return (end if plain else (None,),)


def _slice(axes: Axes, graph: Graph, node: onnx.NodeProto) -> Sequence[Sizes | None]:
    data, starts = _first(axes, graph, node), whole_numbers(graph, node, "starts", 1)
    if data is None:
        return ()
    ends = whole_numbers(graph, node, "ends", 2)
    held = sizes_held(axes, graph, input_of(node, 2))
    count = len(starts) if starts else 0
    places = whole_numbers(graph, node, "axes", 3) or (list(range(count)) if not input_of(node, 3) else [])
    steps = whole_numbers(graph, node, "steps", 4) or ([1] * count if not input_of(node, 4) else [])
    if not starts or len(places) != count or len(steps) != count:
        return (tuple(None for _ in data),)
    result = list(data)
    for k, (place, start, step) in enumerate(zip(places, starts, steps, strict=True)):
        size = data[place] if -len(data) <= place < len(data) else None
        end = ends[k] if ends and k < len(ends) else None
        whole = step == 1 and start == 0 and ((end is not None and end >= TO_THE_END) or (held and held[k:k + 1] == (size,)))
        turned = step == -1 and start in (-1, TO_THE_END) and end is not None and end <= -TO_THE_END
        if size is not None and not size.dynamic and end is not None and step:
            result[place] = Size(fixed=len(range(*slice(start, end, step).indices(max(size.fixed, 0)))))
        elif not (whole or turned) and -len(data) <= place < len(data):
            result[place] = None
    return (tuple(result),)


_SAME = """
    Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Cos Cosh CumSum Dropout Elu Erf Exp Floor
    Gelu HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Log LogSoftmax Mish
    Neg Not RMSNormalization Reciprocal Relu Round Scatter ScatterElements ScatterND Selu Sigmoid Sign Sin Sinh Softmax Softplus
    Softsign Sqrt Tan Tanh ThresholdedRelu
"""
_BROADCASTING = """
    Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor
"""
_REDUCE = """
    ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare
"""
BROADCASTING = frozenset(_BROADCASTING.split())
STEPS: dict[str, Step] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(BROADCASTING, _broadcast),
    **dict.fromkeys(_REDUCE.split(), _reduce),
    "Concat": _concat, "ConstantOfShape": _filled, "Expand": _expand, "Flatten": _flatten, "Gather": _gather,
    "GatherElements": _index_shape, "GatherND": _gather_nd, "Gemm": _gemm, "MatMul": _matmul, "OneHot": _one_hot, "Range": _range,
    "Reshape": _reshape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze, "TopK": _top_k, "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Shape": lambda axes, graph, node: (),
}
