"""The embedding of a bundle on a GPU: one chain over hits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from trkx.runtime.cuda.networks.chain import DeviceChain
from trkx.runtime.cuda.networks.node_inputs import node_inputs
from trkx.runtime.tiled.chains import Weights
from trkx.runtime.tiled.stage_chains import embedding_chain
from trkx.spec import AnyEmbedding, FeatureSpec

SHORTEST = 1e-12  # length that a vector is divided by at least, as in torch.nn.functional.normalize


class DeviceEmbedding:
    """The embedding of a bundle. Weights are named as in its safetensors file, without the stage."""

    def __init__(
        self, spec: AnyEmbedding, features: Sequence[FeatureSpec], weights: Weights, precision: str, device: torch.device
    ) -> None:
        """Put the weights on a device.

        Raises:
            BundleError: weights that do not fit the specification. SpecError: an unknown precision, layers too wide.
        """
        self._inputs, chain = embedding_chain(spec, features, weights)
        self._chain = DeviceChain.of(chain, precision, device)
        self._normalize = spec.normalize

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D], of unit length if the specification says so. x: float32 [N, F]."""
        place = self._chain.states(len(x), {"x": node_inputs(self._inputs, x)})
        if self._normalize:
            place /= torch.linalg.vector_norm(place, dim=1, keepdim=True).clamp(min=SHORTEST)
        return place
