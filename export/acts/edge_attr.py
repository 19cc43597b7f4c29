"""From the six edge features that ACTS makes of a module map's edges to those that a network was trained with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trkx.runtime.edge_features import STEEPEST
from trkx.spec import PipelineSpec

COLUMNS = ("dr", "dphi", "dz", "deta", "phislope", "rphislope")
"""Columns of ACTS's `edge_attr`, in its order: of r / scale, phi / pi, z / scale, eta (`ModuleMapUtils.cuh`)."""


class Attributes(nn.Module):
    """Picks the columns that a network reads, and gives slopes of hits at the same r the value that it was trained with.

    ACTS sets both slopes to 0 where dr is 0; in training (acorn) they are the steepest there are, +-100 by the sign of dphi.
    """

    def __init__(self, spec: PipelineSpec) -> None:
        super().__init__()
        self.names = spec.edge_features
        self.r_column = [feature.name for feature in spec.features].index("r")

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
        """Return [E, A] of x [N, F], edge_index [2, E] and ACTS's edge_attr [E, 6]."""
        if edge_attr is None:
            raise ValueError("this network reads edge_attr, float [E, 6]; give it as the third input.")
        columns = [edge_attr[:, COLUMNS.index(name)] for name in self.names]
        if not {"phislope", "rphislope"} & set(self.names):
            return torch.stack(columns, dim=1)
        level = edge_attr[:, 0] == 0.0
        steepest = STEEPEST * torch.sign(edge_attr[:, 1])
        for place, name in enumerate(self.names):
            if name == "phislope":
                columns[place] = torch.where(level, steepest, columns[place])
            elif name == "rphislope":
                r = x[:, self.r_column]
                mean = 0.5 * (torch.index_select(r, 0, edge_index[0]) + torch.index_select(r, 0, edge_index[1]))
                columns[place] = torch.where(level, mean * steepest, columns[place])
        return torch.stack(columns, dim=1)
