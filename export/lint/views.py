"""Operators of torch that hand back memory of their argument: slices, reshapes, parts, casts that change nothing."""

from __future__ import annotations

from dataclasses import replace

from trkx.export.lint.values import DTYPES, UNKNOWN, Call, Dim, Value, listed, sizes_of

WHOLE_AXIS = 2**63 - 1
_FLAT = frozenset(("view", "reshape", "_unsafe_view", "_reshape_alias"))
VIEWS = _FLAT | frozenset((
    "select", "slice", "narrow", "view_as", "reshape_as", "expand", "expand_as", "unsqueeze", "squeeze", "t", "transpose",
    "permute", "movedim", "swapaxes", "swapdims", "flatten", "unflatten", "contiguous", "detach", "alias", "diagonal", "unfold",
    "as_strided", "numpy_T", "mT", "ravel", "positive", "data", "real", "type_as", "to", "_to_copy", "lift_fresh", "cpu", "cuda",
    "requires_grad", "broadcast_to", "unbind", "split", "split_with_sizes", "chunk", "tensor_split",
    "unsafe_chunk", "unsafe_split",
))
_IN_ORDER = frozenset(("select", "slice", "narrow"))


def axis_of(place: int | None, rank: int) -> int | None:
    """Return an axis counted from the front; None if it is unknown or out of range."""
    if place is None or not -rank <= place < rank:
        return None
    return place % rank


def view_of(call: Call) -> Value:
    """Return what is known of a view: the same memory under another shape, or a list of parts of it."""
    source = call.args[0]
    if call.name in ("to", "_to_copy", "type_as", "cpu", "cuda"):
        return _cast(call)
    endpoint = source.endpoint and (_endpoint(call, source) if call.name in _IN_ORDER else source.endpoint)
    view = replace(source, const=source.const if source.shape == () else UNKNOWN, items=None, each=None, endpoint=endpoint,
                   tensor=True, gathered=source.gathered if call.name not in _IN_ORDER else "", module=None)
    if call.name in ("unbind", "split", "split_with_sizes", "chunk", "tensor_split", "unsafe_chunk", "unsafe_split"):
        return _parts(call, view)
    return replace(view, shape=_view_shape(call, source.shape))


def _endpoint(call: Call, source: Value) -> str:
    if call.name == "select" and source.endpoint == "rows" and source.shape is not None and len(source.shape) == 2:
        row = call.number(2)
        if call.number(1) == 0 and row is not None:
            return f"row {row % 2}"
    if call.name == "slice" and _whole_slice(call):
        return source.endpoint
    return "rows"


def _whole_slice(call: Call) -> bool:
    start, end, step = call.arg(2), call.arg(3), call.number(4)
    return ((start is None or start.const in (None, 0)) and step in (None, 1)
            and (end is None or end.const is None or (end.number or 0) >= WHOLE_AXIS))


def _view_shape(call: Call, shape: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    name = call.name
    if name in ("expand_as", "view_as", "reshape_as"):
        return call.args[1].shape if len(call.args) > 1 else None
    if name in ("contiguous", "detach", "alias", "positive", "data", "lift_fresh", "requires_grad"):
        return shape
    if name in _FLAT:
        return _reshaped(shape, sizes_of(call.arg(1)))
    if shape is None:
        return None
    rank = len(shape)
    if name in ("expand", "broadcast_to"):
        return _expanded(shape, sizes_of(call.arg(1)))
    if name == "slice":
        axis = axis_of(call.number(1) or 0, rank)
        return shape if _whole_slice(call) or axis is None else (*shape[:axis], None, *shape[axis + 1:])
    if name == "unsqueeze":
        axis = axis_of(call.number(1), rank + 1)
        return None if axis is None else (*shape[:axis], 1, *shape[axis:])
    if name in ("squeeze", "select"):
        axis = axis_of(call.number(1), rank)
        if axis is None:
            all_known = name == "squeeze" and len(call.args) == 1 and None not in shape
            return tuple(size for size in shape if size != 1) if all_known else None
        gone = name == "select" or shape[axis] == 1
        return (*shape[:axis], *shape[axis + 1:]) if gone else None if shape[axis] is None else shape
    if name in ("t", "numpy_T", "mT", "transpose", "swapaxes", "swapdims") and rank == 2:
        return shape[::-1]
    if name in ("flatten", "ravel"):
        return _reshaped(shape, (-1,)) if len(call.args) == 1 else shape if rank == 1 else None
    return None


def _reshaped(shape: tuple[Dim, ...] | None, sizes: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    if sizes is None or -1 not in sizes:
        return sizes
    free = None
    if shape is not None and None not in shape:  # one axis of the event in, the same axis out
        dynamic = [size for size in shape if isinstance(size, str)]
        fixed_in, fixed_out = _product(shape), _product(tuple(size for size in sizes if size != -1))
        if len(dynamic) == 1 and fixed_in == fixed_out and not any(isinstance(size, str) for size in sizes):
            free = dynamic[0]
    return tuple(free if size == -1 else size for size in sizes)


def _product(sizes: tuple[Dim, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size if isinstance(size, int) else 1
    return total


def _expanded(shape: tuple[Dim, ...], sizes: tuple[Dim, ...] | None) -> tuple[Dim, ...] | None:
    if sizes is None or len(sizes) < len(shape):
        return None
    padded = (1,) * (len(sizes) - len(shape)) + shape
    return tuple(old if new == -1 else new for old, new in zip(padded, sizes, strict=True))


def _parts(call: Call, view: Value) -> Value:
    source = call.args[0]
    axis_value = call.arg(1 if call.name == "unbind" else 2)
    axis = axis_value.number if axis_value is not None else 0
    if source.shape is None or axis is None or axis_of(axis, len(source.shape)) is None:
        return Value(each=replace(view, shape=None, endpoint=view.endpoint and "rows"))
    place = axis % len(source.shape)
    before, after, size = source.shape[:place], source.shape[place + 1:], source.shape[place]
    rows = source.endpoint == "rows" and place == 0 and len(source.shape) == 2
    if call.name == "unbind":
        count = size if isinstance(size, int) and size <= 64 else None
        each = replace(view, shape=(*before, *after))
        if count is None:
            return Value(each=each)
        return listed(replace(each, endpoint=f"row {row}" if rows else view.endpoint) for row in range(count))
    sizes = sizes_of(call.arg(1)) if call.name == "split_with_sizes" else None
    if sizes is None:
        return Value(each=replace(view, shape=(*before, None, *after)))
    return listed(replace(view, shape=(*before, part, *after)) for part in sizes)


def _cast(call: Call) -> Value:
    """Return the result of `to`: the same memory, unless the dtype certainly changes."""
    source = call.args[0]
    dtype = source.dtype
    if call.name == "type_as":
        dtype = call.args[1].dtype if len(call.args) > 1 else ""
    else:
        wanted = [value for value in (*call.args[1:], *(v for k, v in call.named.items() if k == "dtype"))
                  if value.number is not None or value.tensor]
        if wanted:
            dtype = DTYPES.get(wanted[0].number, "") if wanted[0].number is not None else wanted[0].dtype
    changed = bool(dtype and source.dtype and dtype != source.dtype) or call.name == "_to_copy"
    return replace(source, dtype=dtype, memory=frozenset() if changed else source.memory, tensor=True)
