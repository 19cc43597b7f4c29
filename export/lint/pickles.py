"""Pickles read opcode by opcode: names, tensors and plain values come out, nothing is imported or called."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trkx.errors import ExportError
from trkx.export.lint.shown import shown

MOST_OPCODES = 3_000_000
"""A network of 50 000 tensors has fewer; reading so many takes seconds."""
DTYPES: Mapping[str, tuple[str, int]] = {
    "FloatStorage": ("float32", 4), "DoubleStorage": ("float64", 8), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("complex64", 8), "ComplexDoubleStorage": ("complex128", 16), "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1), "QInt32Storage": ("qint32", 4),
}
"""Storage classes of torch to a dtype and its bytes."""
_FAULTS = (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError, struct.error)


@dataclass(frozen=True)
class Name:
    """A global that a pickle names: what an unpickler would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


@dataclass(frozen=True)
class Storage:
    """The bytes behind tensors. key: member of the archive; location: "cpu", "cuda:0", …; numel: elements."""

    kind: str
    key: str
    location: str
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that a pickle describes."""

    storage: Storage
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Name of the dtype as in torch, "" for a storage class that is not known."""
        return DTYPES.get(self.storage.kind, ("", 0))[0]


@dataclass(eq=False)
class Made:
    """What an unpickler would make by calling `callee`; `state` is what it would set on it."""

    callee: Any
    args: Any = ()
    state: Any = None


@dataclass(frozen=True, eq=False)
class Pickle:
    """What one pickle holds. root: its value; globals: every name that it would import, in order; tensors: all of them."""

    root: Any
    globals: tuple[Name, ...]
    tensors: tuple[StoredTensor, ...]
    opcodes: int


@dataclass(eq=False)
class _Machine:
    """Stack and memo of an unpickler that calls nothing."""

    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    names: dict[Name, None] = field(default_factory=dict)
    tensors: list[StoredTensor] = field(default_factory=list)

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def name(self, module: str, name: str) -> Name:
        found = Name(module, name)
        self.names[found] = None
        return found

    def call(self, callee: Any, args: Any) -> Any:
        tensor = _tensor(callee, args)
        if tensor is None:
            return Made(callee, args)
        self.tensors.append(tensor)
        return tensor


def read_pickle(data: bytes, where: str, most: int = MOST_OPCODES) -> Pickle:
    """Return what a pickle holds, without importing or calling anything.

    Args:
        data: the pickle.
        where: file and member, for messages.
        most: opcodes that are read at most.

    Raises:
        ExportError: truncated, damaged, too long, or an opcode that torch does not write.
    """
    machine = _Machine()
    count = 0
    try:
        for opcode, argument, _ in pickletools.genops(data):
            count += 1
            if count > most:
                raise ExportError(f"{where}: a pickle of more than {most} opcodes is no plausible model; it was not read.")
            if opcode.name == "STOP":
                return Pickle(machine.stack[-1], tuple(machine.names), tuple(machine.tensors), count)
            step = _STEPS.get(opcode.name)
            if step is None:
                raise ExportError(f"{where}: pickle opcode {opcode.name} is none that torch writes in a model; it was not read.")
            step(machine, argument)
    except _FAULTS as error:
        reason = shown(str(error)) or type(error).__name__
        raise ExportError(f"{where}: not a whole pickle ({reason}); copy or save the file again.") from None
    raise ExportError(f"{where}: a pickle without an end: truncated; copy or save the file again.")


def texts(data: bytes, most: int) -> Iterator[str]:
    """Yield the strings of a pickle, as far as it can be read and `most` opcodes go."""
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count >= most:
                return
            if isinstance(argument, str) and "UNICODE" in opcode.name:
                yield argument
    except _FAULTS:
        return


def _tensor(callee: Any, args: Any) -> StoredTensor | None:
    if not isinstance(callee, Name) or callee.module != "torch._utils" or not callee.name.startswith("_rebuild_"):
        return None
    if not isinstance(args, tuple) or len(args) < 4 or not isinstance(args[0], Storage):
        return None
    shape, strides = args[2], args[3]
    if not (isinstance(args[1], int) and _whole(shape) and (_whole(strides) or callee.name == "_rebuild_qtensor")):
        return None
    return StoredTensor(args[0], shape, args[1], strides if _whole(strides) else ())


def _whole(items: Any) -> bool:
    return isinstance(items, tuple) and all(isinstance(item, int) for item in items)


def _storage(identity: Any) -> Any:
    if (isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage" and isinstance(identity[1], Name)
            and isinstance(identity[2], str) and isinstance(identity[3], str) and isinstance(identity[4], int)):
        return Storage(identity[1].name, identity[2], identity[3], identity[4])
    return Made("persistent id", ())


def _put(machine: _Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _global(machine: _Machine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.name(module, name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.name(str(module), str(name)) if isinstance(name, str) and isinstance(module, str)
                         else machine.name("", "a name that is computed"))


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _tuple(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError("too few values on the stack")
        items = machine.stack[-count:]
        del machine.stack[-count:]
        machine.stack.append(tuple(items))
    return step


def _call(machine: _Machine, _: Any) -> None:
    args, callee = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(callee, args))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.stack.pop()
    if isinstance(machine.stack[-1], Made):
        machine.stack[-1].state = state


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    _extend(machine.stack[-1], [item])


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, list):
        target.extend(items)


def _fill(target: Any, items: list[Any]) -> None:
    if isinstance(target, dict):  # other keys than text and numbers are of no use to lint, and may be slow to hash
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if isinstance(key, str | int))


def _append_all(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    _extend(machine.stack[-1], items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine.stack[-1], [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    _fill(machine.stack[-1], items)


def _push(value: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _skip(machine: _Machine, argument: Any) -> None:
    return None


_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **{name: (lambda machine, argument: machine.stack.append(argument)) for name in (
        "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")},
    "PROTO": _skip, "FRAME": _skip,
    "NONE": _push(lambda: None), "NEWTRUE": _push(lambda: True), "NEWFALSE": _push(lambda: False),
    "EMPTY_TUPLE": _push(tuple), "EMPTY_DICT": _push(dict), "EMPTY_LIST": _push(list),
    "MARK": _mark, "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "TUPLE": lambda machine, _: _collect(machine, tuple), "LIST": lambda machine, _: _collect(machine, list),
    "BINPUT": _put, "LONG_BINPUT": _put, "PUT": _put, "MEMOIZE": _put,
    **{name: (lambda machine, index: machine.stack.append(machine.memo[index])) for name in ("BINGET", "LONG_BINGET", "GET")},
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _call, "NEWOBJ": _call, "BUILD": _build,
    "APPEND": _append, "APPENDS": _append_all, "SETITEM": _set_item, "SETITEMS": _set_items,
    "BINPERSID": lambda machine, _: machine.stack.append(_storage(machine.stack.pop())),
    "POP": lambda machine, _: _pop(machine), "POP_MARK": lambda machine, _: _drop(machine),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
}


def _collect(machine: _Machine, kind: Callable[[list[Any]], Any]) -> None:
    items = machine.to_mark()
    machine.stack.append(kind(items))


def _pop(machine: _Machine) -> None:
    machine.stack.pop()


def _drop(machine: _Machine) -> None:
    machine.to_mark()
