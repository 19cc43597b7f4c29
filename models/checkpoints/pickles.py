"""Pickles read opcode by opcode: names, tensors and plain values come out, nothing is imported or called."""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.stored import Made, Name, StoredTensor, storage_of, tensor_of
from trkx.shown import shown

MOST_OPCODES = 3_000_000
"""A network of 50 000 tensors has fewer; reading so many takes seconds."""
MOST_NAME = 1000
MOST_MEMO = 2**32
LARGEST_KEY = 2**60
"""Python hashes smaller numbers to themselves; larger ones can be chosen to collide, and a dictionary of them takes for ever."""
_FAULTS = (ValueError, IndexError, KeyError, TypeError, OverflowError, EOFError, struct.error)


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
        if len(module) + len(name) > MOST_NAME:
            raise ValueError(f"a name of {len(module) + len(name)} characters")
        found = Name(module, name)
        self.names[found] = None
        return found

    def call(self, callee: Any, args: Any) -> Any:
        tensor = tensor_of(callee, args)
        if tensor is None:
            return Made(callee, args)
        if not self.tensors or self.tensors[-1] is not tensor:  # a parameter is a tensor that is listed already
            self.tensors.append(tensor)
        return tensor


def read_pickle(data: bytes | io.BytesIO, where: str, most: int = MOST_OPCODES) -> Pickle:
    """Return what a pickle holds, without importing or calling anything.

    Sets become lists. Keys of dictionaries that are neither text nor numbers are left out.

    Args:
        data: the pickle, or a stream that stands at its start, and at its end afterwards.
        where: file and member, for messages.
        most: opcodes that are read at most.

    Raises:
        CheckpointError: truncated, damaged, too long, or an opcode that torch does not write.
    """
    machine = _Machine()
    count = 0
    try:
        for opcode, argument, _ in pickletools.genops(data):
            count += 1
            if count > most:
                raise CheckpointError(f"{where}: a pickle of more than {most} opcodes is no plausible model; it was not read.")
            if opcode.name == "STOP":
                return Pickle(machine.stack[-1], tuple(machine.names), tuple(machine.tensors), count)
            step = _STEPS.get(opcode.name)
            if step is None:
                message = f"{where}: pickle opcode {opcode.name} is none that torch writes in a model; it was not read."
                raise CheckpointError(message)
            step(machine, argument)
    except _FAULTS as error:
        reason = shown(str(error)) or type(error).__name__
        raise CheckpointError(f"{where}: not a whole pickle ({reason}); copy or save the file again.") from None
    raise CheckpointError(f"{where}: a pickle without an end: truncated; copy or save the file again.")


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


def _put(machine: _Machine, index: int | None) -> None:
    place = len(machine.memo) if index is None else index
    if not 0 <= place < MOST_MEMO:
        raise ValueError("a place in the memo that no pickle has")
    machine.memo[place] = machine.stack[-1]


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


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, Made):
        target.elements = target.elements or []
        target = target.elements
    if isinstance(target, list):
        target.extend(items)


def _fill(target: Any, items: list[Any]) -> None:
    if isinstance(target, Made):
        target.entries = target.entries or {}
        target = target.entries
    if isinstance(target, dict):
        pairs = zip(items[::2], items[1::2], strict=True)
        target.update((key, value) for key, value in pairs if _is_key(key))


def _is_key(key: Any) -> bool:
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < LARGEST_KEY)


def _append(machine: _Machine, _: Any) -> None:
    item = machine.stack.pop()
    _extend(machine.stack[-1], [item])


def _append_all(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    _extend(machine.stack[-1], items)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _fill(machine.stack[-1], [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    _fill(machine.stack[-1], items)


def _dict(machine: _Machine, _: Any) -> None:
    items = machine.to_mark()
    machine.stack.append({})
    _fill(machine.stack[-1], items)


def _push(value: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(value())


def _skip(machine: _Machine, argument: Any) -> None:
    return None


def _collect(machine: _Machine, kind: Callable[[list[Any]], Any]) -> None:
    items = machine.to_mark()
    machine.stack.append(kind(items))


def _pop(machine: _Machine) -> None:
    machine.stack.pop()


def _drop(machine: _Machine) -> None:
    machine.to_mark()


_STEPS: Mapping[str, Callable[[_Machine, Any], None]] = {
    **{name: (lambda machine, argument: machine.stack.append(argument)) for name in (
        "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "UNICODE", "BINSTRING", "SHORT_BINSTRING", "STRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
        "BYTEARRAY8")},
    "PROTO": _skip, "FRAME": _skip,
    "NONE": _push(lambda: None), "NEWTRUE": _push(lambda: True), "NEWFALSE": _push(lambda: False),
    "EMPTY_TUPLE": _push(tuple), "EMPTY_DICT": _push(dict), "EMPTY_LIST": _push(list), "EMPTY_SET": _push(list),
    "MARK": _mark, "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "TUPLE": lambda machine, _: _collect(machine, tuple), "LIST": lambda machine, _: _collect(machine, list),
    "FROZENSET": lambda machine, _: _collect(machine, list), "DICT": _dict,
    "BINPUT": _put, "LONG_BINPUT": _put, "PUT": _put, "MEMOIZE": _put,
    **{name: (lambda machine, index: machine.stack.append(machine.memo[index])) for name in ("BINGET", "LONG_BINGET", "GET")},
    "GLOBAL": _global, "STACK_GLOBAL": _stack_global, "REDUCE": _call, "NEWOBJ": _call, "BUILD": _build,
    "APPEND": _append, "APPENDS": _append_all, "ADDITEMS": _append_all, "SETITEM": _set_item, "SETITEMS": _set_items,
    "BINPERSID": lambda machine, _: machine.stack.append(storage_of(machine.stack.pop())),
    "POP": lambda machine, _: _pop(machine), "POP_MARK": lambda machine, _: _drop(machine),
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
}
