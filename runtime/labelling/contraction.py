"""Tracks from signed edges: greedy additive edge contraction, which undoes false bridges that components can't.

Connected components join two tracks through a single false edge, however many other edges between them say no. Here
an edge weighs logit - logit(cut). The pair of clusters with the largest sum of weights between them is joined, again and
again, as long as that sum is above 0; weights of parallel edges add up as clusters grow. Of pairs with equal sums the one is
joined that holds the first edge, in the order of (lower hit, higher hit), edges of weight 0 included: the clusters do not depend
on how any program holds them.

Source: Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", arXiv:1505.06973, algorithm 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.indices import outside, require_edges
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
        InputError: weights that are NaN or of another length than the edges; edges that are not [2, E], or that name a hit that
            does not exist.
    """
    require_edges(edge_index)
    if weight.shape != edge_index.shape[1:]:
        raise wrong_number_of_weights(edge_index.shape[1], list(weight.shape))
    # Numba is loaded when it is needed
    from trkx.runtime.labelling import split
    from trkx.runtime.labelling.contract import contract_each
    from trkx.runtime.labelling.union_find import numbered

    source, target = np.ascontiguousarray(edge_index, np.int64)
    wide = np.ascontiguousarray(weight, np.float64)
    state, *positive = split.positive_edges(source, target, wide, num_hits, UNIT, LIMIT)
    if state == split.NOT_A_NUMBER:
        raise bad_weight()
    if state == split.NOT_A_HIT:
        raise outside(edge_index, num_hits)
    component = connected_components(np.stack(positive), num_hits, components)
    low, high, units = split.inside(source, target, wide, component, UNIT, LIMIT)
    if len(low) == 0:
        return component
    place, first = split.places(component)
    low, high, units = _summed(place[low], place[high], units)
    lowest = contract_each(low, high, units, component, place, first)
    label: Int = numbered(lowest)
    return label


def wrong_number_of_weights(edges: int, shape: list[int]) -> InputError:
    """Return the error for weights of another shape than [edges]."""
    return InputError(f"edge contraction: expected {edges} weights, found {shape}.")


def bad_weight() -> InputError:
    """Return the error for a weight that is NaN."""
    return InputError("edge contraction: a weight is NaN; look at the logits of the GNN.")


def _summed(low: Int, high: Int, units: Int) -> tuple[Int, Int, Int]:
    """Return the edges sorted by (low, high), each pair once with the sum of its weights."""
    order = np.lexsort((high, low))
    low, high, units = low[order], high[order], units[order]
    first = np.ones(len(low), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    if first.all():
        return low, high, units
    return low[first], high[first], np.add.reduceat(units, np.flatnonzero(first))
