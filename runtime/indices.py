"""What edges must be before kernels read arrays by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError

Int = NDArray[np.int64]


def require_edges(edge_index: Int, who: str = "labelling") -> None:
    """Raise InputError unless edges are whole numbers [2, E]. who: what the message begins with."""
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or not np.issubdtype(edge_index.dtype, np.integer):
        raise InputError(
            f"{who}: edges must be int64 [2, E], found {list(edge_index.shape)} of {edge_index.dtype}; "
            "give sources and targets as two rows."
        )


def outside(edge_index: Int, num_hits: int, who: str = "labelling") -> InputError:
    """Return the error for edges [2, E], E at least 1, with an index below 0 or not below `num_hits`."""
    return InputError(
        f"{who}: edges name hits {int(edge_index.min())} to {int(edge_index.max())}, but there are {num_hits} hits, "
        f"counted from 0; use indices into the event's hits, not hit ids."
    )


def require_inside(edge_index: Int, num_hits: int, who: str = "labelling") -> None:
    """Raise InputError unless all edges [2, E] join hits that exist."""
    if edge_index.size and (int(edge_index.min()) < 0 or int(edge_index.max()) >= num_hits):
        raise outside(edge_index, num_hits, who)
