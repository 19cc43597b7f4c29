"""Tracks from signed edges: greedy additive edge contraction, which undoes false bridges that components can't.

Connected components join two tracks through a single false edge, however many other edges between them say no. Here
an edge weighs logit - logit(cut). The pair of clusters with the largest sum of weights between them is joined, again and
again, as long as that sum is above 0; weights of parallel edges add up as clusters grow.

Source: Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", arXiv:1505.06973, algorithm 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.labelling.table import connected_components

Int = NDArray[np.int64]

UNIT = 2.0**20
"""Weights are whole numbers of 1 / UNIT: sums do not depend on their order."""
LIMIT = 1e4
"""Largest weight of one edge. No logit of a sound network is near it."""


def edge_contraction(edge_index: Int, weight: NDArray[np.floating], num_hits: int, components: str = "union_find") -> Int:
    """Return the cluster of each hit, int64 [num_hits], numbered 0, 1, 2 … by the lowest hit index in the cluster.

    Args:
        edge_index: edges, int64 [2, E]; direction and order do not matter, weights of repeated edges add up.
        weight: float [E]; above 0 speaks for one track, below 0 against.
        num_hits: number of hits; a hit without an edge above 0 is its own cluster.
        components: backend of `connected_components`, which splits the work.

    Raises:
        InputError: weights that are NaN or of another length than the edges, edges that name a hit that does not exist.
    """
    if weight.shape != edge_index.shape[1:]:
        raise InputError(f"edge contraction: expected {edge_index.shape[1]} weights, found {list(weight.shape)}.")
    if np.isnan(weight).any():
        raise InputError("edge contraction: a weight is NaN; look at the logits of the GNN.")
    units = np.rint(np.clip(weight.astype(np.float64), -LIMIT, LIMIT) * UNIT).astype(np.int64)
    # Only an edge above 0 starts a contraction, so no cluster ever leaves a component of these edges.
    component = connected_components(edge_index[:, units > 0], num_hits, components)
    inside = (component[edge_index[0]] == component[edge_index[1]]) & (edge_index[0] != edge_index[1])
    low, high = edge_index[:, inside].min(axis=0), edge_index[:, inside].max(axis=0)
    order = np.lexsort((high, low))
    low, high, units = low[order], high[order], units[inside][order]
    first = np.ones(len(low), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    if not first.all():
        units = np.add.reduceat(units, np.flatnonzero(first))
        low, high = low[first], high[first]
    from trkx.runtime.labelling.contract import contract  # Numba is loaded when it is needed

    root: Int = contract(low, high, units, num_hits)
    return np.unique(root, return_inverse=True)[1].astype(np.int64, copy=False)  # a root is its cluster's lowest hit
