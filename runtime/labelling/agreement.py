"""Whether two labellings of the same hits make the same components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


def same_components(a: Int, b: Int) -> NDArray[np.bool_]:
    """Return which hits are in a component that is, as a set of hits, the same in both labels, int64 [N] each; bool [N]."""
    first, second = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]
    width = int(second.max(initial=-1)) + 1
    _, place, together = np.unique(first * width + second, return_inverse=True, return_counts=True)
    shared = together[place]
    same: NDArray[np.bool_] = (np.bincount(first)[first] == shared) & (np.bincount(second)[second] == shared)
    return same
