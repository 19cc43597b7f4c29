"""Edges to tracks on a GPU: components as they are; edge contraction where components hold an edge that speaks against them.

What contraction has to look at is found as `trkx.runtime.labelling.split` finds it: most components have no negative edge inside
and are one cluster. The others are contracted on the device (`trkx.runtime.cuda.contraction`), those of up to 512 hits. Larger
ones go to the CPU kernel and back; so do others where weights are so large that sums could leave their place there, which no
sound network's are.
"""

from __future__ import annotations

import numpy as np
import torch

from trkx.runtime.cuda.components import numbered, require_edges, require_hits, roots
from trkx.runtime.cuda.contraction import IN_REGISTERS, contract_on_device, most_units
from trkx.runtime.cuda.contraction_places import SIZES, Mixed, mixed_components
from trkx.runtime.cuda.rows import aligned
from trkx.runtime.labelling.contraction import LIMIT, UNIT, bad_weight, wrong_number_of_weights


def edge_contraction_cuda(
    edge_index: torch.Tensor, weight: torch.Tensor, num_hits: int, in_registers: int = IN_REGISTERS
) -> torch.Tensor:
    """Return the cluster of each hit, int64 [num_hits], as `trkx.runtime.labelling.edge_contraction`; on the device of the edges.

    Waits for the device twice: for the checks, and for how many components there are of each size.

    Args:
        edge_index: edges, int64 [2, E] on a CUDA device; direction and order do not matter, weights of repeated edges add up.
        weight: float [E]; above 0 speaks for one track, below 0 against.
        num_hits: number of hits, below 2^28; a hit without an edge above 0 is its own cluster.
        in_registers: hits up to which a component's weights are held in registers, 0 to 128; has no say in the result.

    Raises:
        InputError: as that function, and for edges on no CUDA device.
    """
    require_edges(edge_index)
    if weight.shape != edge_index.shape[1:]:
        raise wrong_number_of_weights(edge_index.shape[1], list(weight.shape))
    if not weight.numel():
        return torch.arange(num_hits, device=edge_index.device)
    wide = weight.to(torch.float64)
    largest = _checked(edge_index, wide, num_hits)
    units = (wide.clamp(-LIMIT, LIMIT) * UNIT).round_().to(torch.int64)
    source, target = (aligned(row) for row in edge_index)
    root = roots(source, target, num_hits, units)
    mixed = mixed_components(source, target, units, root)
    *counts, beyond = mixed.counts.tolist()
    total = (min(largest, LIMIT) * UNIT + 1.0) * weight.numel()  # at most; a whole unit more where weights are rounded
    fitting = sum(total < most_units(size) for size in SIZES)
    if any(counts[:fitting]):
        contract_on_device(source, target, units, root, mixed, counts[:fitting], in_registers)
    if beyond or any(counts[fitting:]):
        _contract_on_host(source, target, units, root, mixed, SIZES[fitting - 1] if fitting else 0)
    return numbered(root)


def _checked(edge_index: torch.Tensor, weight: torch.Tensor, num_hits: int) -> float:
    """Return the largest size of a weight, float64 [E], E > 0; raise InputError for a NaN and for ends that are no hits."""
    bits = [extreme.view(torch.int64) for extreme in torch.aminmax(weight)]  # with the others in one copy
    lowest, highest, *rest = torch.stack([*torch.aminmax(edge_index), *bits]).tolist()
    extremes = np.array(rest, np.int64).view(np.float64)
    if np.isnan(extremes).any():
        raise bad_weight()
    require_hits(lowest, highest, num_hits)
    return float(np.abs(extremes).max())


def _contract_on_host(
    source: torch.Tensor, target: torch.Tensor, units: torch.Tensor, root: torch.Tensor, mixed: Mixed, above: int
) -> None:
    """Write the lowest hit of its cluster to root, int32 [N], of each hit of mixed components with more than `above` hits.

    source, target, units: edges and their weights, int64 [E]. Waits for the device.
    """
    component = root.to(torch.int64)
    wanted = mixed.size[component] > above
    hits = wanted.nonzero().squeeze(1)
    hits = hits[torch.sort(component[hits], stable=True).indices]  # one component after the other, each in the order of hits
    chosen = (wanted[source] & (component[source] == component[target]) & (source != target)).nonzero().squeeze(1)
    place = torch.empty_like(component)
    place[hits] = torch.arange(len(hits), device=root.device)
    one, two = place[source[chosen]], place[target[chosen]]
    pairs, summed = _summed(torch.minimum(one, two), torch.maximum(one, two), units[chosen], len(hits))
    _, sizes = torch.unique_consecutive(component[hits], return_counts=True)
    root[hits] = hits[_contracted(pairs, summed, sizes)].to(root.dtype)


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
