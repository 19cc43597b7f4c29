"""Plain frozen data from TOML and JSON: annotated dataclasses that reject unknown and missing keys by name."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal

from trkx.errors import SpecError, unknown_name

T = typing.TypeVar("T")


def _convert(value: object, kind: Any, where: str) -> Any:
    """Return a TOML or JSON value as the annotated type, or raise SpecError naming the key."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        if value is None and type(None) in args:
            return None
        kind = _member([a for a in args if a is not type(None)], value, where)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in args:
            raise SpecError(f"{where}: " + unknown_name("value", str(value), [str(a) for a in args]))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"{where}: expected a list, found {value!r}.")
        return tuple(_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise SpecError(f"{where}: expected a table of {', '.join(_keys(kind))}, found {value!r}.")
        return from_dict(typing.cast(type[Any], kind), value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SpecError(f"{where}: expected a finite number, found {value!r}.")
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise SpecError(f"{where}: expected {kind.__name__}, found {value!r}.")


def _member(kinds: list[Any], value: object, where: str) -> Any:
    """Return which of several dataclasses a table is: the one whose `family` it names, the first if it names none."""
    if len(kinds) == 1 or not isinstance(value, Mapping) or "family" not in value:
        return kinds[0]
    families = {typing.get_args(typing.get_type_hints(kind)["family"])[0]: kind for kind in kinds}
    family = value["family"]
    if not isinstance(family, str) or family not in families:
        raise SpecError(f"{where}.family: " + unknown_name("family", str(family), families))
    return families[family]


def _keys(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def from_dict(kind: type[T], values: Mapping[str, object], where: str = "") -> T:
    """Build a frozen dataclass from a mapping, rejecting unknown and missing keys by name.

    Args:
        kind: the dataclass.
        values: what a TOML or JSON file holds.
        where: how messages call the place ("pipeline.toml: gnn").

    Raises:
        SpecError: an unknown key, a missing key, a value of the wrong type or out of range.
    """
    where = where or kind.__name__
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise SpecError(f"{where}: " + unknown_name("key", str(key), hints))
    required = [
        field.name
        for field in dataclasses.fields(typing.cast(Any, kind))
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise SpecError(f"{where}: missing {'keys' if len(missing) > 1 else 'key'} {', '.join(missing)}; add what is missing.")
    converted = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**converted)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def require_that(condition: bool, message: str) -> None:
    """Raise SpecError with a message if a value is out of range."""
    if not condition:
        raise SpecError(message)
