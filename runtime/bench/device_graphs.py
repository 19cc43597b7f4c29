"""What the stages of a pipeline are given, found on a device: points, candidates, edges, logits of one event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.errors import InputError, SpecError
from trkx.runtime.cuda.edges import canonical_on_device, orientation_on_device
from trkx.runtime.cuda.engines.base import DeviceEngine
from trkx.runtime.cuda.engines.table import open_device_engine
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.on_host import current
from trkx.runtime.edge_features import edge_features
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.spec import logit_of_cut

EXACT_ENGINE = "torch-cuda"
"""The plain modules in float32 find what all are given."""


@dataclass(frozen=True)
class Stages:
    """Inputs of the stages of one event.

    x: float32 [N, F]. points: float32 [N, D]. candidates: edges that the filter sees, int64 [2, M]. edges: what the GNN sees,
    int64 [2, E], sorted by (target, source). edge_attr: float32 [E, A] or None. logits: of the GNN, float32 [E].
    """

    x: torch.Tensor
    points: torch.Tensor
    candidates: torch.Tensor
    edges: torch.Tensor
    edge_attr: torch.Tensor | None
    logits: torch.Tensor

    def arrays(self) -> dict[str, NDArray[np.number]]:
        """Return them by name, on the host; edge_attr is empty where there is none."""
        values = {"x": self.x, "points": self.points, "candidates": self.candidates, "edges": self.edges, "logits": self.logits}
        attributes = self.edge_attr if self.edge_attr is not None else self.x.new_empty((0, 0))
        return {name: value.cpu().numpy() for name, value in (values | {"edge_attr": attributes}).items()}


def embedded(bundle: Bundle, event: Event, device: torch.device) -> torch.Tensor:
    """Return the points of an event on a device, float32 [N, D], by the plain modules."""
    engine = open_device_engine(EXACT_ENGINE, bundle, device)
    with current(device):
        return engine.embed(torch.from_numpy(node_features(event, bundle.spec.features)).to(device))


def stages_of(bundle: Bundle, event: Event, device: torch.device, engine: DeviceEngine | None = None) -> Stages:
    """Return the inputs of all stages, on the device.

    Raises:
        InputError: no two hits within the radius, or no edge passes the filter.
        SpecError: a bundle without embedding or GNN.
    """
    spec = bundle.spec
    if not spec.makes_tracks:
        raise SpecError(f"{spec.name} has only {', '.join(spec.stages)}: this benchmark runs from hits to tracks.")
    engine = engine or open_device_engine(EXACT_ENGINE, bundle, device)
    graph, features = spec.needed_graph(), node_features(event, spec.features)
    where = event.source or "event"
    with current(device):
        x = torch.from_numpy(features).to(device)
        points = engine.embed(x)
        orient = orientation_on_device(torch.from_numpy(event.position).to(device), graph.direction)
        edges = candidates = orient(radius_graph_cuda(points, graph.radius, graph.k_max).pairs)
        if not candidates.shape[1]:
            raise InputError(f"{where}: no two hits lie within {graph.radius:g}; use a bundle made for such events.")
        if spec.filter is not None:
            edges = candidates[:, engine.edge_filter(x)(candidates) > logit_of_cut(spec.needed_cut("filter"))]
        edges = canonical_on_device(edges, len(event))
        if not edges.shape[1]:
            raise InputError(f"{where}: no candidate passes the filter; use a bundle made for such events.")
        attributes = None
        if spec.edge_features:
            attributes = torch.from_numpy(edge_features(spec, features, edges.cpu().numpy())).to(device)
        return Stages(x, points, candidates, edges, attributes, engine.gnn(x, edges, attributes))
