"""Where in a pickled checkpoint the weights are, and where the hyper-parameters: Lightning, plain torch.save, wrappers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint, Kind
from trkx.models.checkpoints.modules import Module, module_of
from trkx.models.checkpoints.stored import Made, StoredTensor
from trkx.models.checkpoints.values import described, mapping_of, plain, table_of
from trkx.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

MOST_OPCODES = 1_000_000
"""Of a checkpoint's pickle: ten thousand tensors with their optimizer's have fewer."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which files hold the weights."""
HYPER = ("hyper_parameters", "hparams", "module_arguments", "config", "args")
"""Keys under which files hold hyper-parameters; the second and third are those of Lightning before 1.0."""
LIGHTNING = ("pytorch-lightning_version", "hyper_parameters", "module_arguments")
UNREAD: Mapping[str, str] = {
    "optimizer_states": "optimizer state", "optimizer_state_dict": "optimizer state", "optimizer": "optimizer state",
    "ema_state_dict": "averaged weights", "state_dict_ema": "averaged weights", "model_ema": "averaged weights",
}
"""Keys of what is there and is not read."""


@dataclass(frozen=True)
class State:
    """What a pickle holds for us. hyper_parameters: plain; class_name, modules: as in Checkpoint."""

    kind: Kind
    tensors: Mapping[str, StoredTensor]
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    class_name: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def checkpoint_of_state(state: State, path: Path, reader: Callable[[Iterable[str]], dict[str, Tensor]]) -> Checkpoint:
    """Return a State with its reader as a Checkpoint."""
    return Checkpoint(
        path, state.kind,
        {name: tensor.shape for name, tensor in state.tensors.items()},
        {name: tensor.dtype or "unknown" for name, tensor in state.tensors.items()},
        reader, state.hyper_parameters, "in the checkpoint" if state.hyper_parameters else "", state.class_name, state.modules,
        state.notes,
    )


def state_of_pickle(root: Any, where: str) -> State:
    """Return weights and hyper-parameters of what torch.save wrote.

    Args:
        root: value of the pickle.
        where: file, for messages.

    Raises:
        CheckpointError: it is something else than weights; the message says what it holds.
    """
    table = mapping_of(root)
    if table is None:
        module = module_of(root, where)
        if module is None:
            raise CheckpointError(f"{where}: holds {_kind(root)}, expected weights by name. Save the network's state_dict(): "
                                  "torch.save(model.state_dict(), path).")
        return _whole(module, where)
    wrapper = next((key for key in WRAPPERS if _holds_weights(table.get(key), where)), "")
    unread = [(key, words) for key, words in UNREAD.items() if wrapper and table.get(key)]
    notes = tuple(f"{words} ('{key}') is there and is not read" for key, words in unread)
    found = _weights(table[wrapper] if wrapper else table, where)
    kind: Kind = "lightning" if wrapper == "state_dict" and any(key in table for key in LIGHTNING) else "state dict"
    if not found.tensors:
        keys = ", ".join(shown(str(key), 40) for key in list(table)[:8]) + (" …" if len(table) > 8 else "") or "nothing"
        raise CheckpointError(f"{where}: no weights in it: it holds {keys}. Expected a state dict, or one under "
                              f"{', '.join(repr(key) for key in WRAPPERS)}.")
    hyper, more = _hyper_parameters(table, where) if wrapper else (found.hyper_parameters, ())
    return State(kind, found.tensors, hyper or found.hyper_parameters, found.class_name, found.modules,
                 (*notes, *found.notes, *more))


def _kind(root: Any) -> str:
    return described(root) if isinstance(root, Made) else f"a {type(root).__name__}"


def _holds_weights(value: Any, where: str) -> bool:
    table = mapping_of(value)
    if table is not None:
        return any(isinstance(item, StoredTensor) for item in table.values())
    return module_of(value, where) is not None


def _weights(value: Any, where: str) -> State:
    table = mapping_of(value)
    if table is None:
        module = module_of(value, where)
        return State("state dict", {}) if module is None else _whole(module, where)
    tensors = {key: item for key, item in table.items() if isinstance(key, str) and isinstance(item, StoredTensor)}
    others = [key for key, item in table.items() if key not in tensors]
    notes = (f"entries that are no tensors are ignored: {_named(others)}",) if others and tensors else ()
    return State("state dict", tensors, notes=notes)


def _named(keys: list[Any]) -> str:
    return ", ".join(shown(str(key), 60) for key in keys[:4]) + (" …" if len(keys) > 4 else "")


def _whole(module: Module, where: str) -> State:
    note = "a whole pickled module: its parameters, buffers and plain attributes are read, its code is not there"
    return State("state dict", module.tensors, attributes_of(module, where), module.class_name, module.modules, (note,))


def attributes_of(module: Module, where: str) -> dict[str, Any]:
    """Return the attributes of a root module that are plain values."""
    values = plain(module.attributes, where)
    return {name: value for name, value in values.items() if not (isinstance(value, str) and value.startswith("<"))}


def _hyper_parameters(table: Mapping[Any, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    for key in HYPER:
        found = table_of(table.get(key))
        if found:
            values = {str(name): value for name, value in plain(found, f"{where}, '{key}'").items()}
            return flattened(values, prefer_nested=table.get("hparams_name") == "kwargs")
    return {}, ()


def flattened(values: Mapping[str, Any], prefer_nested: bool = False) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return hyper-parameters without the copy of them that Lightning nests under `hparams`, and notes.

    Args:
        values: plain.
        prefer_nested: where both differ, the network was built from the nested ones (Lightning's "kwargs").
    """
    nested = values.get("hparams")
    if not isinstance(nested, dict):
        return dict(values), ()
    outer = {key: value for key, value in values.items() if key != "hparams"}
    differing = sorted(key for key in outer.keys() & nested.keys() if outer[key] != nested[key])
    merged = outer | nested if prefer_nested else nested | outer
    if not differing:
        return merged, ()
    taken = "those under 'hparams'" if prefer_nested else "the outer ones"
    return merged, (f"hyper-parameters are there twice and differ in {_named(differing)}; {taken} are taken",)
