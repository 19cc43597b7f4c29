"""Tensors out of stored bytes: sizes are checked before memory is taken, views are copied out of their storages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from trkx.errors import CheckpointError
from trkx.models.checkpoints.stored import LARGEST, Storage, StoredTensor
from trkx.shown import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

READ = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
"""Names of the dtypes that are read; files with others can be opened."""
MOST_NAME = 500
_SPARE = 64 * 2**20
_TIMES = 4


def checked(tensors: Mapping[str, StoredTensor], held: Callable[[StoredTensor], int], where: str) -> None:
    """Check that every tensor lies within bytes that are there; CheckpointError otherwise.

    Args:
        tensors: by name.
        held: bytes of a tensor's storage in the file, -1 if it is missing.
        where: for messages.
    """
    for name, tensor in tensors.items():
        checked_name(name, where)
        storage = tensor.storage
        found = held(tensor)
        if found < storage.nbytes or storage.numel < 0:
            state = "it is missing" if found < 0 else f"the file has {found} bytes of it"
            raise CheckpointError(f"{where}: '{shown(name)}' lies in a storage of {storage.numel} elements that take "
                                  f"{storage.nbytes} bytes, {state}: truncated, or made to harm; copy or save the file again.")
        if not _fits(tensor):
            raise CheckpointError(f"{where}: '{shown(name)}' of shape {shown(str(list(tensor.shape[:8])))} does not fit into its "
                                  f"{storage.numel} stored elements: damaged, or made to harm; save the file again.")


def checked_name(name: str, where: str) -> None:
    """Check that a text can be the name of a parameter, and is safe to print; CheckpointError otherwise."""
    if not name or not name.isascii() or shown(name, MOST_NAME) != name:
        raise CheckpointError(f"{where}: '{shown(name)}' is no name of a parameter; refused.")


def _fits(tensor: StoredTensor) -> bool:
    if len(tensor.shape) != len(tensor.strides) or min((tensor.offset, *tensor.shape, *tensor.strides)) < 0:
        return False
    if math.prod(max(size, 1) for size in tensor.shape) >= LARGEST:
        return False
    if 0 in tensor.shape:
        return True
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    return last < tensor.storage.numel and math.prod(tensor.shape) <= tensor.storage.numel


def read_tensors(
    tensors: Mapping[str, StoredTensor], names: Iterable[str], bytes_of: Callable[[StoredTensor], bytearray], size: int,
    where: str, swapped: bool = False,
) -> dict[str, Tensor]:
    """Return tensors on the CPU, contiguous, in the dtype of the file. Names of one and the same tensor get one copy.

    Args:
        tensors: all of the file, by name, `checked`.
        names: those that are wanted.
        bytes_of: reads the storage of a tensor.
        size: of the file, bytes: weights that take many times more are refused.
        where: for messages.
        swapped: the file was written by a machine with the other byte order.

    Raises:
        CheckpointError: a name that the file lacks, a dtype that is not read, too much memory.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in tensors:
            raise CheckpointError(f"{where}: no tensor '{shown(name)}' in it.")
        if tensors[name].dtype not in READ:
            kind = tensors[name].dtype or shown(tensors[name].storage.kind)
            raise CheckpointError(f"{where}: '{shown(name)}' is {kind}, trkx reads {', '.join(READ)}; save it as float32.")
    views = list(dict.fromkeys(tensors[name] for name in wanted))
    storages: dict[Storage, list[StoredTensor]] = {}
    for view in views:
        storages.setdefault(view.storage, []).append(view)
    width = {view: view.storage.nbytes // max(view.storage.numel, 1) for view in views}
    total = sum(math.prod(view.shape) * width[view] for view in views) + sum(storage.nbytes for storage in storages)
    if total > size * _TIMES + _SPARE:
        raise CheckpointError(f"{where}: {size} bytes whose tensors take {total} bytes of memory: refused as made to harm.")
    found: dict[StoredTensor, Tensor] = {}
    for here in storages.values():
        data = bytes_of(here[0])
        for view in here:
            found[view] = _tensor(view, data, width[view], swapped)
    return {name: found[tensors[name]] for name in wanted}


def _tensor(view: StoredTensor, data: bytearray, width: int, swapped: bool) -> torch.Tensor:
    import numpy as np
    import torch

    dtype: torch.dtype = getattr(torch, view.dtype)
    if 0 in view.shape:
        return torch.empty(view.shape, dtype=dtype)
    if swapped and width > 1:
        data = bytearray(np.frombuffer(data, f"u{width}").byteswap().tobytes())
    flat = torch.frombuffer(data, dtype=dtype, count=view.storage.numel)
    return torch.as_strided(flat, view.shape, view.strides, view.offset).clone(memory_format=torch.contiguous_format)
