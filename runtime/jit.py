"""The one way trkx compiles CPU kernels: Numba without the GIL, cached on disk where a cache can be written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Return `function` compiled by Numba on first use: no GIL, IEEE arithmetic (no fused or reordered sums).

    The machine code is cached beside the module or in the user's cache folder; without a writable place for either
    it is compiled anew in every process. Code from the cache is used as long as no module in the function's folder has
    changed: a kernel takes constants, intrinsics and other kernels from there only.
    """
    try:
        made: Any = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba: "cannot cache function: no locator available"
        return cast(F, numba.njit(nogil=True)(function))
    if made is not function:  # which NUMBA_DISABLE_JIT gives back as it is
        index = made._cache._cache_file  # Numba has no public way; it compares the stamp of a kernel's own file only
        index._source_stamp = (index._source_stamp, sources(Path(function.__code__.co_filename).parent))
    return cast(F, made)


@cache
def sources(folder: Path) -> bytes:
    """Return a digest of the modules in a folder and of this one, which has the options; as they were when first asked for."""
    found = hashlib.sha256()
    for path in (Path(__file__), *sorted(path for path in folder.glob("*.py") if path.is_file())):
        text = path.read_bytes()
        found.update(f"{path.name} {len(text)}\n".encode())
        found.update(text)
    return found.digest()
