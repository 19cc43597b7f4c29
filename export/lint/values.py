"""What is known of a value in TorchScript code without running it: constant, shape, dtype, and whose memory it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

Dim = int | str | None
"""Size of an axis: a number, what it depends on ("num_hits", "num_edges"), None for unknown."""


DTYPES = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool",
          15: "bfloat16"}
"""Numbers of dtypes, as TorchScript writes them."""
CODES = {name: code for code, name in DTYPES.items()}
HEAVIEST = 2000
"""Values in one list, lists inside it included: code that nests more is not followed, so that comparing stays cheap."""


@dataclass(frozen=True)
class Unknown:
    """No constant."""


@dataclass(frozen=True)
class Device:
    """A device that the file names."""

    name: str


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Value:
    """A value, as far as it is known. The empty Value is one of which nothing is known.

    Attributes:
        const: None, a bool, number, text or Device, if it is always that; UNKNOWN otherwise.
        stored: the constant was read from a stored attribute, such as `training`, that a program may set.
        tensor: certainly a tensor.
        maybe_none: may be None.
        memory: whose memory it may share: "input 'x'", "stored 'scale'"; empty for what the code made itself.
        shape, dtype: of a tensor.
        dim: of a whole number: the axis that it is the size of.
        items: of a list or tuple of known length.
        each: of a list: what every item is like.
        endpoint: holds node numbers of edges, which repeat.
        uniform: a tensor with the same number everywhere.
        gathered: which endpoints its rows were read at; "" for anything else.
        made_by: the operator that computed its numbers.
        module: path of a module of the file; its class is `kind`.
        kind: class of a module, or name of a function.
        state: the module as data.pkl describes it.
        weight: number of values in it; one that grows too heavy is forgotten.
    """

    const: Any = UNKNOWN
    stored: bool = False
    tensor: bool = False
    maybe_none: bool = False
    memory: frozenset[str] = frozenset()
    shape: tuple[Dim, ...] | None = None
    dtype: str = ""
    dim: str = ""
    items: tuple[Value, ...] | None = None
    each: Value | None = None
    endpoint: str = ""
    uniform: bool = False
    gathered: str = ""
    made_by: str = ""
    module: str | None = None
    kind: str = ""
    state: Any = None
    weight: int = 1

    @property
    def known(self) -> bool:
        """Whether it is a constant."""
        return not isinstance(self.const, Unknown)

    @property
    def number(self) -> int | None:
        """The whole number that it always is, None for anything else."""
        return self.const if isinstance(self.const, int) and not isinstance(self.const, bool) else None

    def size(self) -> Dim:
        """Return it as the size of an axis."""
        return self.number if self.number is not None else self.dim or None

    def item(self, place: int | None) -> Value:
        """Return an item of a list or tuple."""
        if self.items is not None:
            if place is not None and -len(self.items) <= place < len(self.items):
                return self.items[place]
            return joined(self.items) if self.items else Value()
        return self.each or Value()


def constant(value: Any) -> Value:
    """Return the Value of a constant."""
    return Value(const=value, dtype="float64" if isinstance(value, float) else "")


def listed(items: Iterable[Value]) -> Value:
    """Return the Value of a list or tuple."""
    found = tuple(items)
    weight = 1 + sum(item.weight for item in found)
    return Value(items=found, weight=weight) if weight <= HEAVIEST else Value()


def joined(values: Iterable[Value]) -> Value:
    """Return what is known of a value that is one of these: memory adds up, everything else must agree."""
    found = list(values)
    first = found[0]
    for other in found[1:]:
        first = _pair(first, other)
    return first


def _pair(a: Value, b: Value) -> Value:
    if a is b or a == b:
        return a
    changes: dict[str, Any] = {"shape": None, "items": None, "each": None}
    changes["memory"], changes["weight"] = a.memory | b.memory, max(a.weight, b.weight)
    changes["maybe_none"] = a.maybe_none or b.maybe_none or a.const is None or b.const is None
    if a.const is None or b.const is None:  # None or a tensor: the tensor's facts hold wherever it can be used
        known = b if a.const is None else a
        return replace(known, const=UNKNOWN, **{**changes, "shape": known.shape, "items": known.items, "each": known.each})
    if a.shape is not None and b.shape is not None and len(a.shape) == len(b.shape):
        changes["shape"] = tuple(one if one == two else None for one, two in zip(a.shape, b.shape, strict=True))
    if a.items is not None and b.items is not None and len(a.items) == len(b.items):
        changes["items"] = tuple(_pair(one, two) for one, two in zip(a.items, b.items, strict=True))
    else:  # lists of other lengths: what every item is like
        within = (*(a.items or ()), *(b.items or ()), *(value.each for value in (a, b) if value.each is not None))
        changes["each"] = joined(within) if within and all(v.items is not None or v.each is not None for v in (a, b)) else None
    for name in (item.name for item in fields(Value) if item.name not in changes):
        one, two = getattr(a, name), getattr(b, name)
        if not (one is two or (type(one) is type(two) and name != "state" and one == two)):
            changes[name] = Value.__dataclass_fields__[name].default
    return replace(a, **changes)


@dataclass(frozen=True)
class Call:
    """One use of an operator. name: without its namespace and trailing underscore."""

    name: str
    args: tuple[Value, ...]
    named: Mapping[str, Value] = field(default_factory=dict)

    def arg(self, place: int, name: str = "") -> Value | None:
        """Return an argument by place or name, None if it is not given."""
        return self.args[place] if place < len(self.args) else self.named.get(name)

    def number(self, place: int, name: str = "") -> int | None:
        """Return an argument that is a constant whole number."""
        value = self.arg(place, name)
        return value.number if value is not None else None


def sizes_of(value: Value | None) -> tuple[Dim, ...] | None:
    """Return a list of sizes as a shape, None if even its length is unknown."""
    return None if value is None or value.items is None else tuple(item.size() for item in value.items)
