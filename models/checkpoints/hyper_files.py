"""Files of hyper-parameters: the hparams.yaml that Lightning writes beside a checkpoint; YAML, JSON or TOML that a user gives."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.files import regular_file
from trkx.models.checkpoints.safetensors_file import json_object
from trkx.models.checkpoints.states import flattened
from trkx.models.checkpoints.values import plain
from trkx.models.checkpoints.yaml_subset import read_yaml
from trkx.shown import shown

BESIDE = "hparams.yaml"
MOST_BYTES = 2**18


def hyper_file_of(checkpoint: Path) -> Path | None:
    """Return the hparams.yaml that belongs to a checkpoint: beside it, or a folder up, where Lightning puts it; None if none."""
    beside = [folder / BESIDE for folder in (checkpoint.absolute().parent, checkpoint.absolute().parent.parent)]
    return next((path for path in beside if path.is_file()), None)


def read_hyper_file(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the hyper-parameters of a file as plain values, and notes. Nothing in it is executed or built.

    Args:
        path: a .yaml, .yml, .json or .toml file.

    Raises:
        CheckpointError: unreadable, of another kind, or no table; the message says the line.
    """
    where = shown(str(path), 400)
    if path.suffix.lower() not in _READERS:
        raise CheckpointError(f"{where}: hyper-parameters come as {', '.join(_READERS)}; rename or convert the file.")
    try:
        with regular_file(path, where, "a file of hyper-parameters") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{where}: can't be read ({error.strerror}).") from error
    if len(data) > MOST_BYTES:
        raise CheckpointError(f"{where}: more than {MOST_BYTES} bytes are no plausible hyper-parameters; write those of the "
                              "network into a file of their own.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise CheckpointError(f"{where}: not text in UTF-8; save it as that.") from None
    found = plain(_READERS[path.suffix.lower()](text, where), where)
    if found is not None and not isinstance(found, dict):
        raise CheckpointError(f"{where}: expected a table of hyper-parameters, found {shown(repr(found), 60)}.")
    return flattened({str(key): value for key, value in (found or {}).items()})


def merged(
    held: Mapping[str, Any], given: Mapping[str, Any], name: str, wins: bool = True
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return hyper-parameters of a checkpoint with those of a file, and a note on those that differ; `wins`: the file's count."""
    both = sorted(held.keys() & given.keys())
    differing = [shown(key, 60) for key in both if held[key] != given[key]]
    joined = {**held, **given} if wins else {**given, **held}
    taken = () if wins or not given else (f"hyper-parameters are those of {shown(name)}, which lies near it",)
    if not differing:
        return joined, taken
    named = ", ".join(differing[:8]) + (f" and {len(differing) - 8} more" if len(differing) > 8 else "")
    if wins:
        return joined, (f"hyper-parameters of {shown(name)} win over those in the checkpoint for: {named}",)
    return joined, (*taken, f"{shown(name)} near it says something else than the file itself, which counts, for: {named}")


def _json(text: str, where: str) -> Any:
    return json_object(text.encode(), where)


def _toml(text: str, where: str) -> Any:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{where}: not valid TOML ({shown(str(error))}).") from None


_READERS: Mapping[str, Callable[[str, str], Any]] = {".yaml": read_yaml, ".yml": read_yaml, ".json": _json, ".toml": _toml}
