"""Safetensors files: header, metadata with hyper-parameters, weights on request."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.members import MOST_BYTES_AT_ONCE
from trkx.models.checkpoints.states import HYPER, flattened
from trkx.models.checkpoints.values import plain
from trkx.models.checkpoints.weights import MOST_NAME, READ, checked_name
from trkx.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

DTYPES: Mapping[str, tuple[str, int]] = {
    "F64": ("float64", 8), "F32": ("float32", 4), "F16": ("float16", 2), "BF16": ("bfloat16", 2), "I64": ("int64", 8),
    "I32": ("int32", 4), "I16": ("int16", 2), "I8": ("int8", 1), "U8": ("uint8", 1), "BOOL": ("bool", 1),
}
"""Names of dtypes in the header to those of torch, and their bytes."""
_AGAIN = "truncated, or edited; copy or save it again"


def starts_like_safetensors(head: bytes, size: int) -> bool:
    """Return whether a file may be safetensors: a length that fits, then a JSON object."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def open_safetensors(file: IO[bytes], path: Path, where: str) -> Checkpoint:
    """Return a safetensors file as a checkpoint.

    Args:
        file: opened for reading.
        path: of the same file, opened again when weights are read.
        where: for messages.

    Raises:
        CheckpointError: truncated, edited, or without tensors.
    """
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, MOST_BYTES_AT_ONCE):
        raise CheckpointError(f"{where}: a safetensors header of {length} bytes, the file has {size}: {_AGAIN}.")
    header = json_object(file.read(length), f"{where}, header")
    metadata = header.pop("__metadata__", {})
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    ends = [0]
    for name, entry in header.items():
        checked_name(name, where)
        shapes[name], dtypes[name], end = _entry(entry, f"{where}: '{shown(name, MOST_NAME)}'")
        ends.append(end)
    if max(ends) != size - 8 - length:
        raise CheckpointError(f"{where}: expected {max(ends)} bytes of tensors, found {size - 8 - length}: {_AGAIN}.")
    if not shapes:
        raise CheckpointError(f"{where}: a safetensors file without tensors; give one with the network's weights.")
    hyper, notes = _hyper_parameters(metadata, where)

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        from safetensors import SafetensorError, safe_open

        wanted = list(dict.fromkeys(names))
        bad = next((name for name in wanted if dtypes.get(name) not in READ), None)
        if bad is not None:
            raise CheckpointError(f"{where}: no tensor '{shown(bad)}' of a dtype that trkx reads ({', '.join(READ)}).")
        try:
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in wanted}
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{where}: not a readable safetensors file ({shown(str(error))}): {_AGAIN}.") from error

    return Checkpoint(path, "safetensors", shapes, dtypes, read, hyper, "in the checkpoint" if hyper else "", notes=notes)


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """Return a JSON object; CheckpointError if it is something else or not JSON."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: not JSON ({shown(str(error))}): {_AGAIN}.") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{where}: expected a JSON object, found {shown(repr(type(found).__name__))}.")
    return found


def _entry(entry: Any, where: str) -> tuple[tuple[int, ...], str, int]:
    """Return shape, dtype and last byte of a tensor."""
    try:
        kind, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sizes = [start, end, *shape]
        good = isinstance(kind, str) and all(isinstance(size, int) and 0 <= size < 2**60 for size in sizes) and len(shape) <= 64
    except (KeyError, TypeError, ValueError):
        good = False
    name, width = DTYPES.get(kind, ("unknown", 0)) if good else ("", 0)
    if not good or end < start or (width and math.prod(shape) * width != end - start):
        raise CheckpointError(f"{where}: its dtype, shape and bytes do not fit together: {_AGAIN}.")
    return tuple(shape), name, end


def _hyper_parameters(metadata: Any, where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the hyper-parameters that metadata holds as JSON, {} if it holds none."""
    for key in HYPER:
        text = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(text, str) and text.lstrip().startswith("{"):
            return flattened(plain(json_object(text.encode(), f"{where}, metadata '{key}'"), where))
    return {}, ()
