"""The backends of the labelling, and the one door to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from trkx.errors import SpecError, unknown_name
from trkx.runtime.indices import require_edges

Int = NDArray[np.int64]
Label = Callable[[Int, int], Int]

# name -> module with `label(edge_index, num_hits) -> labels`, which raises InputError for edges outside the hits
BACKENDS = {
    "union_find": "trkx.runtime.labelling.union_find",
    "scipy": "trkx.runtime.labelling.scipy_cc",
}


def connected_components(edge_index: Int, num_hits: int, backend: str = "union_find") -> Int:
    """Return the component of each hit, int64 [num_hits], numbered 0, 1, 2 … by the lowest hit index in the component.

    Args:
        edge_index: edges, int64 [2, E]; direction, order and repetition do not matter.
        num_hits: number of hits; a hit without an edge is its own component.
        backend: "union_find" (Numba) or "scipy".

    Raises:
        InputError: edges that are not [2, E] or name a hit that does not exist.
        SpecError: an unknown backend.
    """
    if backend not in BACKENDS:
        raise SpecError(unknown_name("labelling backend", backend, BACKENDS))
    require_edges(edge_index)
    label = cast(Label, importlib.import_module(BACKENDS[backend]).label)
    return label(np.asarray(edge_index, np.int64), num_hits)
