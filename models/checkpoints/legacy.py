"""Files of torch.save before 1.6: five pickles in a row, then the bytes of each storage."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.files import regular_file
from trkx.models.checkpoints.members import MOST_BYTES_AT_ONCE
from trkx.models.checkpoints.pickles import Pickle, read_pickle
from trkx.models.checkpoints.states import MOST_OPCODES, checkpoint_of_state, state_of_pickle
from trkx.models.checkpoints.stored import DTYPES, Storage, StoredTensor
from trkx.models.checkpoints.values import described
from trkx.models.checkpoints.weights import checked, read_tensors
from trkx.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_COUNT = 8
_DO = "open it with the torch that wrote it and save it again: torch.save(model.state_dict(), path)"


def open_legacy(file: IO[bytes], path: Path, where: str) -> Checkpoint:
    """Return what an old file of torch.save holds as a checkpoint.

    Args:
        file: opened for reading.
        path: of the same file, opened again when weights are read.
        where: for messages.

    Raises:
        CheckpointError: a pickle that torch did not write, truncated, or without weights under names.
    """
    size = file.seek(0, 2)
    file.seek(0)
    stream = io.BytesIO(file.read(MOST_BYTES_AT_ONCE))
    first = _next(stream, where, "its first pickle", 1000).root if size else None
    if first != MAGIC:
        found = described(first) if not isinstance(first, dict | list | tuple) else f"a {type(first).__name__}"
        raise CheckpointError(f"{where}: a pickle that torch.save did not write ({found}); load it where it was made and save "
                              "weights with torch.save(model.state_dict(), path).")
    protocol = _next(stream, where, "the protocol", 1000).root
    if protocol != PROTOCOL:
        raise CheckpointError(f"{where}: an old file of torch.save, but of another protocol than {PROTOCOL}; {_DO}.")
    system = _next(stream, where, "the system", 1000).root
    swapped = isinstance(system, dict) and system.get("little_endian") is False
    content = _next(stream, where, "the content", MOST_OPCODES)
    keys = _next(stream, where, "the list of storages", MOST_OPCODES).root
    state = state_of_pickle(content.root, where)
    places = _places(file, size, stream.tell(), keys, content, where)
    held = {key: end - start for key, (start, end) in places.items()}
    checked(state.tensors, lambda tensor: held.get(tensor.storage.key, -1), where)

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        with regular_file(path, where) as again:
            if again.seek(0, 2) != size:
                raise CheckpointError(f"{where}: the file has changed since it was opened; open it again.")

            def bytes_of(tensor: StoredTensor) -> bytearray:
                start, end = places[tensor.storage.key]
                again.seek(start)
                data = bytearray(again.read(end - start))
                if len(data) != end - start:
                    raise CheckpointError(f"{where}: the file has changed since it was opened; open it again.")
                return data

            return read_tensors(state.tensors, names, bytes_of, size, where, swapped)

    return checkpoint_of_state(state, path, read)


def _next(stream: io.BytesIO, where: str, what: str, most: int) -> Pickle:
    return read_pickle(stream, f"{where}, {what}", most)


def _places(file: IO[bytes], size: int, start: int, keys: Any, content: Pickle, where: str) -> Mapping[str, tuple[int, int]]:
    """Return where the bytes of each storage begin and end; each is preceded by its number of elements."""
    storages: dict[str, Storage] = {tensor.storage.key: tensor.storage for tensor in content.tensors}
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
        raise CheckpointError(f"{where}: the list of storages is no list of names: damaged; {_DO}.")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in storages or storages[key].kind not in DTYPES or storages[key].numel < 0:
            raise CheckpointError(f"{where}: storage '{shown(key)}' belongs to no tensor that can be read; {_DO}.")
        file.seek(start)
        count = int.from_bytes(file.read(_COUNT), "little", signed=True)
        end = start + _COUNT + storages[key].nbytes
        if count != storages[key].numel or end > size:
            raise CheckpointError(f"{where}: storage '{shown(key)}' of {storages[key].numel} elements is not whole: truncated, "
                                  "or damaged; copy the file again.")
        places[key] = (start + _COUNT, end)
        start = end
    return places
