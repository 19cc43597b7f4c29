"""The one way trkx compiles CPU kernels: Numba without the GIL, cached on disk where a cache can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Return `function` compiled by Numba on first use: no GIL, IEEE arithmetic (no fused or reordered sums).

    The machine code is cached beside the module or in the user's cache folder; without a writable place for either
    it is compiled anew in every process.
    """
    try:
        return cast(F, numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # Numba: "cannot cache function: no locator available"
        return cast(F, numba.njit(nogil=True)(function))
