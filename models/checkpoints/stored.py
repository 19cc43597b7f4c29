"""What a pickle of torch describes: names, storages, tensors, and objects that are never made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DTYPES: Mapping[str, tuple[str, int]] = {
    "FloatStorage": ("float32", 4), "DoubleStorage": ("float64", 8), "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2), "LongStorage": ("int64", 8), "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2), "CharStorage": ("int8", 1), "ByteStorage": ("uint8", 1), "BoolStorage": ("bool", 1),
    "ComplexFloatStorage": ("complex64", 8), "ComplexDoubleStorage": ("complex128", 16), "QInt8Storage": ("qint8", 1),
    "QUInt8Storage": ("quint8", 1), "QInt32Storage": ("qint32", 4),
}
"""Storage classes of torch to a dtype and its bytes."""
MOST_DIMS = 64
MOST_WORD = 200
LARGEST = 2**62
"""A size or offset beyond it fits no memory."""


@dataclass(frozen=True)
class Name:
    """A global that a pickle names: what an unpickler would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" if self.module else self.name


@dataclass(frozen=True)
class Storage:
    """The bytes behind tensors. key: member of the archive; location: "cpu", "cuda:0", …; numel: elements."""

    kind: str
    key: str
    location: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take, 0 for a storage class that is not known."""
        return self.numel * DTYPES.get(self.kind, ("", 0))[1]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that a pickle describes."""

    storage: Storage
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """Name of the dtype as in torch, "" for a storage class that is not known."""
        return DTYPES.get(self.storage.kind, ("", 0))[0]


@dataclass(eq=False, slots=True)
class Made:
    """What an unpickler would make by calling `callee`.

    Attributes:
        callee: a Name, as a rule.
        args: what it would be called with.
        state: what would be set on it.
        entries: keys and values that would be put into it, None if there are none.
        elements: values that would be appended to it, None if there are none.
    """

    callee: Any
    args: Any = ()
    state: Any = None
    entries: dict[Any, Any] | None = None
    elements: list[Any] | None = None


def tensor_of(callee: Any, args: Any) -> StoredTensor | None:
    """Return the tensor that a call of torch's own would rebuild, None if it is no such call."""
    if not isinstance(callee, Name) or not isinstance(args, tuple):
        return None
    if str(callee) == "torch._tensor._rebuild_from_type_v2" and len(args) >= 3 and args[0] != callee:
        return tensor_of(args[0], args[2])  # a parameter with attributes of its own
    if callee.module != "torch._utils" or not callee.name.startswith("_rebuild_"):
        return None
    if callee.name.startswith("_rebuild_parameter"):
        return args[0] if args and isinstance(args[0], StoredTensor) else None
    if len(args) < 4 or not isinstance(args[0], Storage):
        return None
    shape, strides = args[2], args[3]
    if not (whole(args[1]) and _sizes(shape) and (_sizes(strides) or callee.name == "_rebuild_qtensor")):
        return None
    return StoredTensor(args[0], shape, args[1], strides if _sizes(strides) else ())


def storage_of(identity: Any) -> Any:
    """Return what torch's persistent id stands for: a Storage, a Name (modules of old files), else something inert."""
    if isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage":
        kind, key, location, numel = identity[1:5]
        view = identity[5] if len(identity) > 5 else None
        if isinstance(kind, Name) and _word(key) and _word(location) and whole(numel) and view is None:
            return Storage(kind.name, key, location, numel)
    if isinstance(identity, tuple) and len(identity) >= 2 and identity[0] == "module" and isinstance(identity[1], Name):
        return identity[1]
    return Made("persistent id", ())


def whole(number: Any) -> bool:
    """Return whether something is a whole number that can be a size or an offset."""
    return isinstance(number, int) and -LARGEST < number < LARGEST


def _word(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= MOST_WORD


def _sizes(items: Any) -> bool:
    return isinstance(items, tuple) and len(items) <= MOST_DIMS and all(whole(item) for item in items)
