"""The operators that `forward` of a TorchScript file uses, in order, found by following its code without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trkx.export.lint.following import LostError, Operation, Walker, module_value
from trkx.export.lint.script import Function, Script
from trkx.export.lint.values import Dim, Value
from trkx.models.checkpoints.stored import Made

DOORS: tuple[tuple[str, str, tuple[Dim, ...]], ...] = (
    ("x", "float32", ("num_hits", None)),
    ("edge_index", "int64", (2, "num_edges")),
    ("edge_attr", "float32", ("num_edges", None)),
)
"""Inputs of the contract in their order: name, dtype, shape."""


@dataclass(frozen=True, eq=False)
class Flow:
    """What following `forward` gave.

    Attributes:
        operations: in order; those in loops once for each round that was followed.
        returned: what `forward` returns, None if it could not be followed to its end.
        writes: (attribute, place) of module attributes that the code sets.
        incomplete: why the code could not be followed, "" if it was.
        forward: the method, None if the file has none.
    """

    operations: tuple[Operation, ...] = ()
    returned: Value | None = None
    writes: tuple[tuple[str, str], ...] = ()
    incomplete: str = ""
    forward: Function | None = None


def flow_of(script: Script, root: object, constants: Sequence[object]) -> Flow:
    """Follow `forward` of a module.

    Args:
        script: code of the file.
        root: the module, as data.pkl describes it.
        constants: values of CONSTANTS.c0, ….
    """
    owner = script.classes.get(str(root.callee)) if isinstance(root, Made) else None
    forward = owner.methods.get("forward") if owner is not None else None
    if owner is None or forward is None or not isinstance(root, Made):
        return Flow()
    walker = Walker(script, constants)
    try:
        returned = walker.call(forward, (module_value(root, ""), *_inputs(forward)), {}, 0)
    except (LostError, RecursionError) as error:
        reason = str(error) if isinstance(error, LostError) else "it is nested too deeply"
        return Flow(tuple(walker.operations), None, tuple(walker.writes), reason, forward)
    return Flow(tuple(walker.operations), returned, tuple(walker.writes), "", forward)


def roles(forward: Function) -> list[int | None]:
    """Return which of DOORS each argument of `forward` is: by its name where the contract's names are used, else by its place."""
    names = [name for name, _, _ in forward.arguments]
    known = [name for name, _, _ in DOORS]
    if any(name in known for name in names):
        return [known.index(name) if name in known else None for name in names]
    return [at if at < len(known) else None for at in range(len(names))]


def _inputs(forward: Function) -> Iterator[Value]:
    for (name, kind, optional), role in zip(forward.arguments, roles(forward), strict=True):
        if "Tensor" not in kind or kind not in ("Tensor", "Optional[Tensor]"):
            yield Value(maybe_none=optional)
            continue
        _, dtype, shape = DOORS[role] if role is not None else ("", "", None)
        yield Value(tensor=kind == "Tensor", maybe_none=kind != "Tensor", memory=frozenset((f"input '{name}'",)), shape=shape,
                    dtype=dtype, endpoint="rows" if role == 1 else "")
