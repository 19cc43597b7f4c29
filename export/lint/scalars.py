"""Operators of torch on numbers, sizes and questions (`is None`), folded where the answer does not depend on the event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from trkx.export.lint.values import CODES, Call, Device, Value, constant, listed


def number_of(call: Call) -> Value:
    """Return the result of an operator on plain numbers: folded if they are constants and stay small."""
    values = [value.const for value in call.args]
    sizes = [value.dim for value in call.args if value.dim]
    small = all(isinstance(value, int | float) and abs(value) < 2**63 for value in values)
    if small and call.name in _FOLDED and 1 <= len(values) <= 2:
        try:
            found = _FOLDED[call.name](*values)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            return Value()
        if isinstance(found, bool) or (isinstance(found, int | float) and abs(found) < 2**63):
            return constant(found)
        return Value()
    if sizes and call.name in ("add", "sub", "mul", "floordiv", "neg"):
        return Value(dim="the event")
    return Value()


_FOLDED: Mapping[str, Callable[..., object]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a,
    "floordiv": lambda a, b: a // b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
    "gt": lambda a, b: a > b, "le": lambda a, b: a <= b, "ge": lambda a, b: a >= b, "__not__": lambda a: not a,
    "__and__": lambda a, b: a and b, "__or__": lambda a, b: a or b,
}


def _is_none(call: Call) -> bool | None:
    """Return whether the first argument is None, if it is certain; the second is None in `x is None`."""
    if len(call.args) != 2 or call.args[1].const is not None:
        return None
    value = call.args[0]
    if value.const is None:
        return True
    return None if value.maybe_none or not (value.known or value.tensor or value.dim or value.items is not None) else False


def _answer(found: bool | None) -> Value:
    return Value() if found is None else constant(found)


def _size(call: Call) -> Value:
    shape = call.args[0].shape if call.args else None
    if shape is None:
        return Value(each=Value()) if len(call.args) == 1 else Value()
    sizes = [Value(dim=size) if isinstance(size, str) else constant(size) if size is not None else Value() for size in shape]
    if len(call.args) == 1:
        return listed(sizes)
    axis = call.number(1)
    return listed(sizes).item(axis) if axis is not None and -len(sizes) <= axis < len(sizes) else Value()


def _len(call: Call) -> Value:
    value = call.args[0]
    if value.items is not None:
        return constant(len(value.items))
    return _size(Call("size", (value, constant(0)))) if value.shape else Value()


def _rank(call: Call) -> Value:
    return constant(len(call.args[0].shape)) if call.args[0].shape is not None else Value()


def _device(call: Call) -> Value:
    name = call.args[0].const if call.args else None
    return constant(Device(name)) if isinstance(name, str) else Value()


def _dtype_of(call: Call) -> Value:
    code = CODES.get(call.args[0].dtype)
    return constant(code) if code is not None else Value()


PLAIN: Mapping[str, Callable[[Call], Value]] = {
    "size": _size, "shape": _size, "len": _len, "dim": _rank, "rank": _rank, "device": _device,
    "dtype": _dtype_of, "NumToTensor": lambda call: call.args[0] if call.args else Value(),
    "__is__": lambda call: _answer(_is_none(call)),
    "__isnot__": lambda call: _answer(None if _is_none(call) is None else not _is_none(call)),
    "numel": lambda call: Value(), "item": lambda call: Value(), "Int": lambda call: Value(), "tolist": lambda call: Value(),
    "list": lambda call: replace(call.args[0]) if call.args else Value(),
    "format": lambda call: Value(), "is_cuda": lambda call: Value(), "layout": lambda call: Value(),
}
