"""The columns of `x` that one network reads, in its own order and with its own scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trkx.errors import SpecError
from trkx.spec import FeatureSpec


class Inputs(nn.Module):
    """Picks a network's columns from those of the pipeline, and brings each to the scale that the network was trained with.

    Without weights. A network that reads all columns as they are gets `x` itself.
    """

    def __init__(self, features: Sequence[FeatureSpec], own: Sequence[FeatureSpec] | None = None) -> None:
        super().__init__()
        place = {feature.name: (column, feature.scale) for column, feature in enumerate(features)}
        self.columns: list[int] = []
        self.factors: list[float] = []
        for feature in features if own is None else own:
            if feature.name not in place:
                raise SpecError(f"the network reads the feature '{feature.name}'; features are {', '.join(place)}.")
            column, scale = place[feature.name]
            self.columns.append(column)
            self.factors.append(scale / feature.scale)
        self.width = len(self.columns)
        self.as_they_are = self.columns == list(range(len(features))) and all(factor == 1.0 for factor in self.factors)

    def forward(self, x: Tensor) -> Tensor:
        """Return [N, width] of x [N, F]."""
        if self.as_they_are:
            return x
        columns = [x[:, column] for column in self.columns]
        return torch.stack([c if f == 1.0 else c * f for c, f in zip(columns, self.factors, strict=True)], dim=1)
