"""What the pickle machine leaves, as plain Python values: bounded copies, with words in place of what would be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.stored import Made, Name, Storage, StoredTensor
from trkx.shown import shown

MOST_VALUES = 50_000
DEEPEST = 50
LONGEST_TEXT = 10_000
MOST_BITS = 256
ORDERED = "collections.OrderedDict"
_OPENED = ("argparse.Namespace", "types.SimpleNamespace", "pytorch_lightning.", "lightning.", "omegaconf.")
"""Classes, or packages of them, whose state is a table of hyper-parameters."""
_PASSED = (
    "torch.Size", "builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset", "builtins.list",
    "__builtin__.list", "builtins.tuple", "__builtin__.tuple", "torch.jit._pickle.build_intlist",
    "torch.jit._pickle.build_doublelist", "torch.jit._pickle.build_boollist", "torch.jit._pickle.restore_type_tag",
)
"""Callables that hand back their first argument, as a list or a table."""


def plain(value: Any, where: str) -> Any:
    """Return a copy in numbers, text, lists and dictionaries; what is something else becomes a text such as "<torch.device>".

    Args:
        value: from a pickle, or from a text file with shared or nested parts.
        where: for messages.

    Raises:
        CheckpointError: more than MOST_VALUES values. What is nested more than DEEPEST deep becomes a text.
    """
    return _Copier(where).copy(value, 0)


@dataclass
class _Copier:
    where: str
    left: int = MOST_VALUES

    def copy(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if self.left < 0:
            raise CheckpointError(f"{self.where}: more than {MOST_VALUES} values, or values that hold themselves, are no "
                                  "plausible hyper-parameters; not read.")
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= MOST_BITS else f"<a number of {value.bit_length()} bits>"
        if isinstance(value, str):
            return value if len(value) <= LONGEST_TEXT else f"<text of {len(value)} characters>"
        if depth > DEEPEST:
            return f"<nested more than {DEEPEST} deep>"
        if isinstance(value, list | tuple):
            return [self.copy(item, depth + 1) for item in value]
        if isinstance(value, Mapping):
            return {key: self.copy(item, depth + 1) for key, item in value.items()}
        return self._made(value, depth) if isinstance(value, Made) else described(value)

    def _made(self, made: Made, depth: int) -> Any:
        name = str(made.callee) if isinstance(made.callee, Name) else ""
        if name in _PASSED and isinstance(made.args, tuple):
            return self.copy(made.args[0] if made.args else [], depth + 1)
        if name.startswith("omegaconf.") and isinstance(made.state, dict):  # its other entries lead back to the parents
            for key in ("_content", "_val"):
                if key in made.state:
                    return self.copy(made.state[key], depth + 1)
        table = mapping_of(made)
        if table is not None:
            return self.copy(table, depth + 1)
        if name.startswith(_OPENED) and isinstance(state_of(made), dict):
            return self.copy(state_of(made), depth + 1)
        return self.copy(made.elements, depth + 1) if made.elements is not None else described(made)


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """Return a dictionary, or the entries of an object that is one (OrderedDict and the like), None for anything else."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, Made):
        return None
    if value.entries is not None:
        return value.entries
    return {} if isinstance(value.callee, Name) and str(value.callee) == ORDERED else None


def table_of(value: Any) -> Mapping[Any, Any] | None:
    """Return a dictionary, the entries of an object, or else its attributes; None for anything else."""
    found = mapping_of(value)
    if found is None and isinstance(value, Made):
        state = state_of(value)
        inner = state.get("_content") if isinstance(state, dict) else None  # omegaconf
        found = inner if isinstance(inner, dict) else state if isinstance(state, dict) else None
    return found


def state_of(made: Made) -> Any:
    """Return the attributes that would be set on an object; of a pair (attributes, slots) the first."""
    state = made.state
    return state[0] if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict) else state


def described(value: Any) -> str:
    """Return what a value is, in a few words that are safe to print."""
    for kind, words in _WORDS.items():
        if isinstance(value, kind):
            return words(value)
    return f"<{type(value).__name__}>"


def _made_words(made: Made) -> str:
    return f"<{shown(str(made.callee), 80)}>" if isinstance(made.callee, Name) else "<an object>"


_WORDS: Mapping[type, Callable[[Any], str]] = {
    Name: lambda value: f"<class {shown(str(value), 80)}>",
    Made: _made_words,
    Storage: lambda value: "<a storage>",
    StoredTensor: lambda value: f"<tensor {list(value.shape)} {value.dtype}>",
    bytes: lambda value: f"<{len(value)} bytes>",
    bytearray: lambda value: f"<{len(value)} bytes>",
}
