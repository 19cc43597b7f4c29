"""Edges to tracks on a GPU: components as they are; edge contraction where components hold an edge that speaks against them.

What contraction has to look at is found on the device as `trkx.runtime.labelling.split` finds it: most components have no
negative edge inside and are one cluster. The others, a small part of an event, are contracted on the host, one join after the
other, and only they are copied there.
"""

from __future__ import annotations

import numpy as np
import torch

from trkx.runtime.cuda.components import checked_edges, components_cuda, numbered
from trkx.runtime.labelling.contraction import LIMIT, UNIT, bad_weight, wrong_number_of_weights


def edge_contraction_cuda(edge_index: torch.Tensor, weight: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return the cluster of each hit, int64 [num_hits], as `trkx.runtime.labelling.edge_contraction`; on the device of the edges.

    Args:
        edge_index: edges, int64 [2, E] on a CUDA device; direction and order do not matter, weights of repeated edges add up.
        weight: float [E]; above 0 speaks for one track, below 0 against.
        num_hits: number of hits; a hit without an edge above 0 is its own cluster.

    Raises:
        InputError: as that function, and for edges on no CUDA device.
    """
    checked_edges(edge_index, num_hits)
    if weight.shape != edge_index.shape[1:]:
        raise wrong_number_of_weights(edge_index.shape[1], list(weight.shape))
    if weight.numel() and bool(weight.isnan().any()):
        raise bad_weight()
    whole = (weight.to(torch.float64).clamp(-LIMIT, LIMIT) * UNIT).round().to(torch.int64)
    component = components_cuda(edge_index[:, whole > 0], num_hits)
    if not num_hits or not weight.numel():
        return component
    source, target = edge_index
    home = component[source]
    inner = (home == component[target]) & (source != target)
    mixed = torch.zeros(num_hits, dtype=torch.bool, device=edge_index.device)  # by component; there are at most so many
    mixed[home[inner & (whole < 0)]] = True
    chosen = (inner & mixed[home]).nonzero().squeeze(1)
    if not len(chosen):
        return component
    hits = mixed[component].nonzero().squeeze(1)
    hits = hits[torch.sort(component[hits], stable=True).indices]  # one component after the other, each in the order of hits
    place = torch.empty(num_hits, dtype=torch.int64, device=edge_index.device)
    place[hits] = torch.arange(len(hits), device=edge_index.device)
    one, two = place[source[chosen]], place[target[chosen]]
    pairs, units = _summed(torch.minimum(one, two), torch.maximum(one, two), whole[chosen], len(hits))
    _, sizes = torch.unique_consecutive(component[hits], return_counts=True)
    lowest = _contracted(pairs, units, sizes)
    root = _lowest(component)[component]
    root[hits] = hits[lowest]
    return numbered(root)


def _summed(low: torch.Tensor, high: torch.Tensor, units: torch.Tensor, hits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pairs sorted by (low, high), int64 [2, P], each once with the sum of its weights, int64 [P]."""
    key, order = torch.sort(low * hits + high)
    units = units[order]
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    number = first.cumsum(0) - 1
    key = key[first]
    summed = torch.zeros_like(key).index_add_(0, number, units)  # whole numbers: their order has no say
    return torch.stack([key // hits, key % hits]), summed


def _lowest(component: torch.Tensor) -> torch.Tensor:
    """Return the lowest hit of each component, int64 [C or more], of components numbered by it."""
    hit = torch.arange(len(component), device=component.device)
    return torch.full_like(component, len(component)).scatter_reduce_(0, component, hit, "amin")


def _contracted(pairs: torch.Tensor, units: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Return the place of the lowest hit of the cluster of each place, int64 [M]; contracts on the host.

    pairs: places, int64 [2, P], sorted. units: int64 [P]. sizes: of the components, whose hits stand one after the other.
    """
    from trkx.runtime.labelling.contract import contract_each  # Numba is loaded when it is needed

    low, high, whole = (np.ascontiguousarray(rows) for rows in torch.cat([pairs, units[None]]).cpu().numpy())
    counts = sizes.cpu().numpy()
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    component = np.repeat(np.arange(len(counts)), counts)
    lowest = contract_each(low, high, whole, component, np.arange(len(component)), first)
    return torch.from_numpy(lowest).to(pairs.device)
