"""A network in the form that ACTS's GNN plugin feeds: edges by index turned as trained, its six edge features, a wide embedding.

ACTS gives every edge once, the hit with the smaller index first (`Plugins/Gnn`, buildEdges), and edge features in one order of
its own. What a network was trained with is made of that inside the file, so that the plugin needs no option for it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

from trkx.export.acts.edge_attr import COLUMNS, Attributes
from trkx.export.acts.limits import LEAST_DIM, axes_of, turns_edges
from trkx.spec import PipelineSpec


class Outwards(nn.Module):
    """Turns edges so that the hit nearer to the origin is the source, as `direction = "by_radius"` has it.

    Squared 3-D distances (mm^2) are taken in float64 from the unscaled features: in every engine they are the same numbers, so
    that no two engines turn an edge differently. On a tie the lower index is the source.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        super().__init__()
        place = {feature.name: (column, feature.scale) for column, feature in enumerate(spec.features)}
        self.axes = [place[name] for name in axes_of(spec)]

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return edges [2, E] in the same order, of x [N, F] and edge_index int64 [2, E]."""
        if x.dtype != torch.float64:
            return self._turned(x, edge_index)
        with _disable_current_modes():  # who moves operators by float32's roundings must not move these: no file rounds here
            return self._turned(x, edge_index)

    def squared_distance(self, x: Tensor) -> Tensor:
        """Return the squared distance of each hit from the origin, float64 [N], of x [N, F]."""
        squares = []
        for column, scale in self.axes:
            value = x[:, column].to(torch.float64) * scale
            squares.append(value * value)
        distance = squares[0]
        for square in squares[1:]:
            distance = distance + square
        return distance

    def _turned(self, x: Tensor, edge_index: Tensor) -> Tensor:
        distance = self.squared_distance(x)
        first, second = edge_index[0], edge_index[1]
        here, there = torch.index_select(distance, 0, first), torch.index_select(distance, 0, second)
        swap = (there < here) | ((there == here) & (second < first))
        return torch.stack([torch.where(swap, second, first), torch.where(swap, first, second)])


class ActsForm(nn.Module):
    """One network as ACTS calls it.

    Embedding: x float32 [N, F] to float32 [N, D], contiguous, D at least 3 (columns of zeros, which change no distance: the
    CUDA neighbour search takes no fewer). Classifiers: x, edge_index int64 [2, E] with the smaller index first where ACTS makes
    edges by an embedding, edge_attr float32 [E, 6] if the network reads edge features; logits float32 [E, 1], contiguous, in the
    order of the edges. Nothing is written to, and no input or buffer is returned.
    """

    def __init__(self, network: nn.Module, spec: PipelineSpec, stage: str) -> None:
        super().__init__()
        self.network = network
        self.outwards = Outwards(spec) if turns_edges(spec, stage) else None
        self.attributes = Attributes(spec) if stage == "gnn" and spec.edge_features else None
        self.missing = acts_width(spec, stage) - spec.width(stage)

    def forward(self, x: Tensor, edge_index: Tensor | None = None, edge_attr: Tensor | None = None) -> Tensor:
        """Return places [N, D] or logits [E, 1]."""
        if edge_index is None:
            place: Tensor = self.network(x)
            return functional.pad(place, (0, self.missing)) if self.missing else place.contiguous()
        edges = edge_index if self.outwards is None else self.outwards(x, edge_index)
        more = [] if self.attributes is None else [self.attributes(x, edge_index, edge_attr)]
        logits: Tensor = self.network(x, edges, *more)
        return logits.contiguous()


def acts_network(network: nn.Module, spec: PipelineSpec, stage: str) -> nn.Module:
    """Return a network in ACTS's form, in eval mode, with the precision of `network`; the network itself is copied."""
    return ActsForm(copy.deepcopy(network), spec, stage).eval()


def acts_width(spec: PipelineSpec, stage: str) -> int:
    """Return the columns of the output of a stage's ACTS file."""
    return max(spec.width(stage), LEAST_DIM) if stage == "embedding" else 1


def acts_edge_columns(spec: PipelineSpec) -> int:
    """Return the columns of `edge_attr` that the GNN's ACTS file takes: ACTS's six, 0 for a network that reads none."""
    return len(COLUMNS) if spec.edge_features else 0
