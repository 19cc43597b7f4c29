"""The edge filter of a bundle on a GPU. Hits are multiplied with the first layer once per event; candidates gather that."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trkx.runtime.cuda.networks.chain import DeviceChain, Gather, PairInputs
from trkx.runtime.cuda.networks.graph_layout import require_edges, require_inside
from trkx.runtime.cuda.networks.node_inputs import node_inputs, pair_inputs
from trkx.runtime.tiled.chains import Weights
from trkx.runtime.tiled.stage_chains import filter_chain
from trkx.spec import AnyFilter, FeatureSpec


class DeviceEdgeFilter:
    """The edge filter of a bundle. Weights are named as in its safetensors file, without the stage."""

    def __init__(
        self, spec: AnyFilter, features: Sequence[FeatureSpec], weights: Weights, precision: str, device: torch.device
    ) -> None:
        """Put the weights on a device.

        Raises:
            BundleError: weights that do not fit the specification. SpecError: an unknown precision, layers too wide.
        """
        self._inputs, chain = filter_chain(spec, features, weights)
        self._chain = DeviceChain.of(chain, precision, device)

    def of(self, x: torch.Tensor) -> DeviceEventFilter:
        """Return the filter for the edges of one event with hits x, float32 [N, F]."""
        values = node_inputs(self._inputs, x)
        products = [self._chain.product(end, values, with_bias=end == "source") for end in ("source", "target")]
        return DeviceEventFilter(self._chain, products, pair_inputs(self._inputs, x))


class DeviceEventFilter:
    """The filter for the edges of one event. Of candidates, nothing is held but their logits and what some of them take on."""

    def __init__(self, chain: DeviceChain, products: Sequence[torch.Tensor], positions: PairInputs | None) -> None:
        self._chain, self._products, self._positions = chain, products, positions

    def __call__(self, edge_index: torch.Tensor) -> torch.Tensor:
        """Return the logit of each edge, float32 [E], of edges int64 or int32 [2, E] between hits of the event.

        Waits for the device, to see that all hits exist: kernels would read beyond them.

        Raises:
            InputError: edges that are not whole numbers [2, E], or that name a hit that does not exist.
        """
        require_edges(edge_index)
        if edge_index.shape[1]:
            require_inside(edge_index, len(self._products[0]))
        source, target = edge_index
        gathers = [Gather(product, end) for product, end in zip(self._products, (source, target), strict=True)]
        pair = None if self._positions is None else (self._positions, source, target)
        return self._chain.logits(edge_index.shape[1], {}, gathers, pair)
