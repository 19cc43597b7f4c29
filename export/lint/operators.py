"""What operators of torch do to what is known of their arguments: shape, dtype, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trkx.export.lint.scalars import PLAIN, number_of
from trkx.export.lint.values import DTYPES, Call, Dim, Value, constant, listed, sizes_of
from trkx.export.lint.views import VIEWS, axis_of, view_of

SIGMOIDS = frozenset(("sigmoid", "special_expit", "hardsigmoid"))
_WIDTH = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
_SAME = frozenset((
    "relu", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "tanh", "sigmoid", "special_expit", "hardsigmoid", "softplus",
    "hardtanh", "relu6", "mish", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "abs", "neg", "sin", "cos", "asinh", "atan",
    "tan", "square", "reciprocal", "clamp", "clamp_min", "clamp_max", "nan_to_num", "round", "floor", "softmax", "log_softmax",
    "layer_norm", "batch_norm", "instance_norm", "dropout", "feature_dropout", "alpha_dropout", "erf", "sign", "cumsum",
    "masked_fill", "clone", "triu", "tril", "roll", "flip", "index_add", "scatter_add", "scatter", "scatter_reduce", "index_put",
    "index_copy", "index_fill", "index_reduce", "copy", "fill", "zero", "nn_functional_normalize",
))
_ELEMENTWISE = frozenset((
    "add", "sub", "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "pow", "maximum", "minimum", "where", "atan2",
    "hypot", "fmod", "bitwise_and", "bitwise_or", "lerp", "addcmul", "addcdiv", "__and__", "__or__",
))
_COMPARING = frozenset(("eq", "ne", "lt", "gt", "le", "ge", "logical_and", "logical_or", "logical_not", "isnan", "isfinite",
                        "isinf"))
NOT_WRITING = frozenset(("requires_grad_", "detach_", "share_memory_"))


def writes(name: str) -> bool:
    """Return whether an operator ("index_add_") writes into its first argument."""
    return name.endswith("_") and not name.endswith("__") and name not in NOT_WRITING


def result_of(name: str, args: tuple[Value, ...], named: Mapping[str, Value]) -> Value:
    """Return what is known of an operator's result.

    Args:
        name: as in `torch.NAME`, without the namespace.
        args: by place.
        named: by name.
    """
    base = name.rstrip("_") if writes(name) else name
    call = Call(base, args, named)
    if base in PLAIN:
        return PLAIN[base](call)
    if not args:
        return _made(call) if base in _CREATING else Value()
    if base not in _CREATING and not any(_tensor_like(value) for value in args):
        return number_of(call)
    if base in VIEWS:
        return view_of(call)
    if base in _CREATING:
        return _made(call)
    result = _computed(call)
    out = named.get("out")
    if writes(name):
        return replace(result, memory=args[0].memory, shape=args[0].shape, dtype=args[0].dtype)
    return replace(result, memory=out.memory) if out is not None else result


def _tensor_like(value: Value) -> bool:
    return value.tensor or bool(value.memory) or (value.items is not None and any(item.tensor for item in value.items)) or (
        value.each is not None and value.each.tensor)


_UNIFORM = ("zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like", "scalar_tensor")
_CREATING = frozenset((*_UNIFORM, "empty", "new_empty", "empty_like", "rand", "randn", "rand_like", "randn_like", "arange",
                       "tensor"))


def _dtype(call: Call, otherwise: str) -> str:
    given = call.named.get("dtype")
    if given is None or given.const is None:
        return otherwise
    return DTYPES.get(given.number if given.number is not None else -1, "")


def sizes_of_creation(name: str, args: Sequence[Value]) -> Value | None:
    """Return the argument of an operator that makes a tensor of given sizes; None for other operators."""
    base = name.rstrip("_")
    if base in ("zeros", "ones", "full", "empty", "rand", "randn"):
        return args[0] if args else None
    return args[1] if base in ("new_zeros", "new_ones", "new_full", "new_empty") and len(args) > 1 else None


def _made(call: Call) -> Value:
    like = call.args[0] if call.args and (call.name.endswith("_like") or call.name.startswith("new_")) else None
    shape: tuple[Dim, ...] | None
    if call.name.endswith("_like"):
        shape = like.shape if like is not None else None
    elif call.name == "scalar_tensor":
        shape = ()
    elif call.name == "arange":
        size = call.args[0].size() if len(call.args) == 1 else None
        return Value(tensor=True, shape=(size,), dtype=_dtype(call, "int64"), made_by="arange")
    elif call.name == "tensor":
        shape = () if call.args and call.args[0].known else None
    else:
        shape = sizes_of(sizes_of_creation(call.name, call.args))
    dtype = _dtype(call, like.dtype if like is not None else "float32" if call.name not in ("tensor", "full") else "")
    return Value(tensor=True, shape=shape, dtype=dtype, uniform=call.name in _UNIFORM, made_by=call.name)


def _computed(call: Call) -> Value:
    first = call.args[0]
    name = call.name
    tensors = [value for value in call.args if value.tensor]
    if name in ("dropout", "feature_dropout", "alpha_dropout") and (call.arg(2, "train") or Value()).const is False:
        return first  # torch hands its argument back
    if name in _SAME:
        kept = first.endpoint if name in ("clone", "flip", "roll") else ""
        return Value(tensor=True, shape=first.shape, dtype=first.dtype, made_by=name, endpoint=kept and "rows",
                     gathered=first.gathered, uniform=name in ("zero", "fill") or (name == "clone" and first.uniform))
    if name in _COMPARING:
        return Value(tensor=True, shape=_broadcast(tensors), dtype="bool", made_by=name)
    if name in _ELEMENTWISE:
        gathered = {value.gathered for value in tensors if value.shape != ()}
        return Value(tensor=True, shape=_broadcast(tensors), dtype=_promoted(tensors), made_by=name,
                     gathered=gathered.pop() if len(gathered) == 1 else "",
                     uniform=all(value.uniform or value.shape == () for value in tensors))
    if name == "linear":
        weight = call.args[1].shape if len(call.args) > 1 else None
        shape = (*first.shape[:-1], weight[0] if weight else None) if first.shape else None
        return Value(tensor=True, shape=shape, dtype=first.dtype, made_by=name, gathered=first.gathered)
    if name in ("matmul", "mm", "addmm", "bmm"):
        left = call.args[1] if name == "addmm" and len(call.args) > 1 else first
        shape = (left.shape[0], None) if left.shape is not None and len(left.shape) == 2 and name != "bmm" else None
        return Value(tensor=True, shape=shape, dtype=left.dtype, made_by=name, gathered=left.gathered)
    if name in ("index", "index_select", "embedding", "gather"):
        return _gathered(call)
    if name in ("cat", "concat", "stack", "hstack", "vstack"):
        return _joined_tensors(call)
    if name in ("sum", "mean"):
        return Value(tensor=True, shape=_reduced(call), dtype=_dtype(call, first.dtype), made_by=name)
    if name in ("max", "min", "sort", "topk", "unique_consecutive") and len(call.args) > 1:
        each = Value(tensor=True, dtype=first.dtype, made_by=name)
        return listed((each, replace(each, dtype="int64")))
    return Value(tensor=bool(tensors), made_by=name)


def _broadcast(tensors: Sequence[Value]) -> tuple[Dim, ...] | None:
    shapes = [value.shape for value in tensors]
    if not shapes or any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    rank = max(len(shape) for shape in known)
    padded = [(1,) * (rank - len(shape)) + shape for shape in known]
    return tuple(_one_size(sizes) for sizes in zip(*padded, strict=True))


def _one_size(sizes: Sequence[Dim]) -> Dim:
    others = {size for size in sizes if size != 1}
    return 1 if not others else others.pop() if len(others) == 1 else None


def _promoted(tensors: Sequence[Value]) -> str:
    wide = [value for value in tensors if value.shape != ()] or tensors
    dtypes = {value.dtype for value in wide}
    if not dtypes or "" in dtypes or not dtypes <= set(_WIDTH):
        return ""
    if {"float16", "bfloat16"} <= dtypes:
        return "float32"
    return max(dtypes, key=_WIDTH.index)


def _gathered(call: Call) -> Value:
    source = call.args[0]
    if call.name == "index":
        indices = call.args[1].items if len(call.args) > 1 else None
        index = indices[0] if indices is not None and len(indices) == 1 else Value()
        axis: int | None = 0
    else:
        index = call.args[2] if len(call.args) > 2 else Value()
        axis = call.number(1)
    shape = None
    if source.shape and index.shape is not None and axis is not None and index.dtype != "bool" and call.name != "embedding":
        place = axis_of(axis, len(source.shape))
        if call.name == "gather":
            shape = index.shape
        elif place is not None:
            shape = (*source.shape[:place], *index.shape, *source.shape[place + 1:])
    row = index.endpoint if axis == 0 and index.endpoint.startswith("row ") else ""
    endpoint = source.endpoint and "rows"
    return Value(tensor=True, shape=shape, dtype=source.dtype, made_by=call.name, endpoint=endpoint, gathered=row)


def _joined_tensors(call: Call) -> Value:
    items = call.args[0].items
    if not items:
        each = call.args[0].each
        return Value(tensor=True, dtype=each.dtype if each is not None else "", made_by=call.name,
                     endpoint="rows" if each is not None and each.endpoint else "")
    endpoint = "rows" if all(item.endpoint for item in items) else ""
    gathered = {item.gathered for item in items}
    result = Value(tensor=True, dtype=_promoted(items), made_by=call.name, endpoint=endpoint)
    axis = call.number(1) if len(call.args) > 1 else 0
    shapes = [item.shape for item in items]
    if call.name == "stack" and axis is not None and shapes[0] is not None and all(shape == shapes[0] for shape in shapes):
        place = axis_of(axis, len(shapes[0]) + 1)
        return result if place is None else replace(result, shape=(*shapes[0][:place], len(items), *shapes[0][place:]))
    if call.name != "cat" or axis is None or any(shape is None or len(shape) != len(shapes[0] or ()) for shape in shapes):
        return result
    known = [shape for shape in shapes if shape is not None]
    place = axis_of(axis, len(known[0]))
    if place is None:
        return result
    columns = list(zip(*known, strict=True))
    sizes = columns[place]
    total: Dim = None
    if None not in sizes:
        total = sizes[0] if len(sizes) == 1 else "the event" if any(isinstance(size, str) for size in sizes) else sum(
            size for size in sizes if isinstance(size, int))
    shape = tuple(total if at == place else _one_size(column) for at, column in enumerate(columns))
    return replace(result, shape=shape, gathered=gathered.pop() if place > 0 and len(gathered) == 1 else "")


def _reduced(call: Call) -> tuple[Dim, ...] | None:
    shape = call.args[0].shape
    axes = sizes_of(call.arg(1, "dim"))
    if len(call.args) == 1:
        return ()
    keep = (call.arg(2, "keepdim") or constant(False)).const
    if shape is None or axes is None or not isinstance(keep, bool):
        return None
    gone = {axis_of(axis if isinstance(axis, int) else None, len(shape)) for axis in axes}
    return None if None in gone else tuple(1 if at in gone else size for at, size in enumerate(shape) if keep or at not in gone)
