"""A tree of modules in a pickle, whole or TorchScript: weights under dotted names, classes, attributes of the root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.stored import Made, Name, StoredTensor
from trkx.models.checkpoints.values import mapping_of, state_of

MOST_ITEMS = 200_000
MOST_BUFFERS = 100
DEEPEST = 100
SCRIPTED = "__torch__"
"""The package of classes in TorchScript; the module itself of a class that was defined in __main__."""
_ACTIVATIONS = "torch.nn.modules.activation."
_NO_HIDDEN = ("MultiheadAttention", "Softmax", "LogSoftmax", "Softmin", "Softmax2d")


@dataclass
class Module:
    """A root module and what is below it.

    Attributes:
        class_name: of the root, without the packages around it.
        modules: path of each submodule to the name of its class.
        tensors: dotted name to parameter or buffer, in the order of the file.
        attributes: numbers, text, lists and tables that the root holds itself, not yet plain.
        activations: classes of torch.nn's activations that occur.
    """

    class_name: str
    modules: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    activations: dict[str, None] = field(default_factory=dict)


def module_of(root: Any, where: str) -> Module | None:
    """Return the tree of a pickled or scripted module, None if it is something else.

    Raises:
        CheckpointError: more modules than any network has, or modules that hold themselves.
    """
    if not _is_module(root):
        return None
    found = Module(_class_name(root))
    waiting: list[tuple[str, Made, int]] = [("", root, 0)]
    count = 0
    while waiting:
        prefix, made, depth = waiting.pop()
        children: list[tuple[str, Made, int]] = []
        for name, value, held in _content(made):
            count += 1
            if count > MOST_ITEMS or depth > DEEPEST:
                raise CheckpointError(f"{where}: modules nested more than {DEEPEST} deep, more than {MOST_ITEMS} parts of them, "
                                      "or modules that hold themselves, are no plausible network; not read.")
            if not isinstance(name, str):
                continue
            path = f"{prefix}{name}"
            if held and isinstance(value, StoredTensor):
                found.tensors[path] = value
            elif held and _is_module(value):
                found.modules[path] = _class_name(value)
                if _ACTIVATIONS in str(value.callee) and found.modules[path] not in _NO_HIDDEN:
                    found.activations[found.modules[path]] = None
                children.append((f"{path}.", value, depth + 1))
            elif not prefix and not name.startswith("_") and name != "training":
                found.attributes[name] = value
        waiting += reversed(children)
    return found


def _is_module(value: Any) -> bool:
    if not isinstance(value, Made) or not isinstance(value.callee, Name):
        return False
    state = state_of(value)
    return isinstance(state, dict) and (_is_scripted(value) or "_parameters" in state)


def _is_scripted(made: Made) -> bool:
    module = made.callee.module
    return bool(module == SCRIPTED or module.startswith(f"{SCRIPTED}."))


def _class_name(made: Made) -> str:
    return str(made.callee.name) if made.callee.name.isidentifier() else "?"


def _content(made: Made) -> Iterator[tuple[Any, Any, bool]]:
    """Yield name and value of all that a module holds, and whether it belongs to its weights and submodules."""
    state: Mapping[Any, Any] = state_of(made)
    if _is_scripted(made):
        yield from ((name, value, isinstance(value, StoredTensor) or _is_module(value)) for name, value in state.items())
        return
    gone = _non_persistent(state)
    for part in ("_parameters", "_buffers", "_modules"):
        for name, value in (mapping_of(state.get(part)) or {}).items():
            yield name, value, value is not None and not (part == "_buffers" and name in gone)
    yield from ((name, value, False) for name, value in state.items())
    yield from ((name, value, False) for name, value in (mapping_of(state.get("_hparams")) or {}).items())  # Lightning's


def _non_persistent(state: Mapping[Any, Any]) -> frozenset[str]:
    found = state.get("_non_persistent_buffers_set")
    if isinstance(found, Made) and isinstance(found.args, tuple) and found.args:
        found = found.args[0]
    if not isinstance(found, list | tuple) or len(found) > MOST_BUFFERS:
        return frozenset()
    return frozenset(name for name in found if isinstance(name, str))
