"""The pipeline on a GPU: hits are copied there once, labels come back, and nothing else moves between stages."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from trkx.errors import SpecError, unknown_name
from trkx.runtime import labelling as host_labelling
from trkx.runtime import neighbours as host_neighbours
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.contraction import warm_up as warm_up_contraction
from trkx.runtime.cuda.edge_features import edge_features_on_device
from trkx.runtime.cuda.edges import canonical_on_device, orientation_on_device
from trkx.runtime.cuda.engines.base import DeviceEngine
from trkx.runtime.cuda.failures import explained
from trkx.runtime.cuda.labelling import edge_contraction_cuda
from trkx.runtime.cuda.meter import DeviceMeter
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.on_host import OnHost, current, tensor_on
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling.table import BACKENDS as LABELLING
from trkx.runtime.neighbours.table import BACKENDS as NEIGHBOURS
from trkx.runtime.pipeline import ON_DEVICE, Int, Pipeline, not_finite_logits
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec, logit_of_cut

Orient = Callable[[torch.Tensor], torch.Tensor]

DEVICE_CHUNK = 1 << 22
"""Edges that are turned, judged and cut at once. Engines that hold activations for each take fewer at a time themselves."""


class DevicePipeline(Pipeline):
    """A bundle that is ready to run on a GPU, with the same doors, checks and results as Pipeline.

    `run` may be called from any number of threads; events take turns on the device, which one fills by itself. Stage times end
    when the device is done, and peaks are those of its memory (DeviceMeter).

    spec: what the bundle says. device_engine: runs the networks; `engine` is the same with numpy arrays, copied both ways.
    neighbours, labelling: "triton", or a backend on the host, for which points or edges are copied there and back. threads: of
    backends on the host. chunk: edges that the filter sees at once.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        engine: DeviceEngine,
        neighbours: str = ON_DEVICE,
        labelling: str = ON_DEVICE,
        threads: int | None = None,
        chunk: int = DEVICE_CHUNK,
    ) -> None:
        for kind, name, known in (("neighbour", neighbours, NEIGHBOURS), ("labelling", labelling, LABELLING)):
            if name != ON_DEVICE and name not in known:
                raise SpecError(unknown_name(f"{kind} backend", name, (ON_DEVICE, *known)))
        on_host = OnHost(engine)
        super().__init__(spec, on_host, neighbours, labelling, threads, chunk)
        self.device_engine = engine
        self.device = engine.device
        self._turn: threading.RLock = on_host.lock

    def run(self, event: Event, keep_graphs: bool = False) -> Tracks:
        """Return the tracks of one event; arguments and result as of Pipeline.run.

        Raises:
            InputError, BundleError: as of Pipeline.run.
            TrkxError: a failure of the device (`trkx.runtime.cuda.failures`). After a lack of memory, others can be run.
        """
        self._require_tracks()
        event.checked()
        hits = len(event)
        graphs: dict[str, Int] = {}
        meter = DeviceMeter(self.device)
        with explained(self.device, lambda: f"{_named(event)}, stage {meter.last}"), meter:
            with meter.stage_on_host("features", hits, "hits") as count:
                features = node_features(event, self.spec.features)
                self._check_ranges(event, features)
                count.count_out = hits
            with self._turn, current(self.device):
                label, truncated = self._label(event, features, meter, graphs if keep_graphs else None)
        return Tracks(
            event.event_id, event.hit_id, label, self.spec.labelling.min_hits, tuple(meter.stages), graphs, truncated
        )

    def _label(
        self, event: Event, features: NDArray[np.float32], meter: DeviceMeter, graphs: dict[str, Int] | None
    ) -> tuple[Int, int]:
        """Return the label of each hit, on the host, and how many hits lost neighbours; graphs: receives edges."""
        hits = len(event)
        with meter.stage("embedding", hits, "hits") as count:
            x = tensor_on(self.device, features)
            position = tensor_on(self.device, np.asarray(event.position, np.float32))
            points = self.device_engine.embed(x) if hits else x.new_empty((0, self.spec.width("embedding")))
            count.count_out = len(points)
        with meter.stage("graph", hits, "edges") as count:
            pairs, truncated = self._search(points)
            orient = orientation_on_device(position, self.spec.needed_graph().direction)
            if graphs is not None:
                graphs["graph"] = _host(orient(pairs))
            count.count_out = pairs.shape[1]
            if self.spec.filter is None:
                edges = canonical_on_device(orient(pairs), hits)
        del points
        if self.spec.filter is not None:
            with meter.stage("filter", pairs.shape[1], "edges") as count:
                edges = canonical_on_device(self._cut_on_device(orient, x, pairs), hits)
                count.count_out = edges.shape[1]
            if graphs is not None:
                graphs["filter"] = _host(edges)
        del pairs
        with meter.stage("gnn", edges.shape[1], "edges") as count:
            weight = self._weights(x, edges)
            surviving = edges[:, weight > 0.0]
            count.count_out = surviving.shape[1]
        if graphs is not None:
            graphs["gnn"] = _host(surviving)
        contract = self.spec.labelling.method == "edge_contraction"  # reads the edges below the cut as well
        with meter.stage("labelling", (edges if contract else surviving).shape[1], "tracks") as count:
            found = self._labels(edges, weight, hits) if contract else self._labels(surviving, None, hits)
            count.count_out = int((torch.bincount(found) >= self.spec.labelling.min_hits).sum()) if hits else 0
            label = _host(found)
        return label, truncated

    def _search(self, points: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Return the pairs within the radius, int64 [2, E], sorted, and how many hits were truncated."""
        graph = self.spec.needed_graph()
        if self.neighbours == ON_DEVICE:
            found = radius_graph_cuda(points, graph.radius, graph.k_max)
            return found.pairs, found.truncated
        host = host_neighbours.radius_graph(points.cpu().numpy(), graph.radius, graph.k_max, self.neighbours, self.threads)
        return torch.from_numpy(host.pairs).to(self.device), host.truncated

    def _cut_on_device(self, orient: Orient, x: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """Return the edges, int64 [2, E'], whose filter score exceeds the cut; chunk by chunk, if the filter allows it."""
        count = pairs.shape[1]
        if not count:
            return pairs
        cut = float(np.float32(logit_of_cut(self.spec.needed_cut("filter"))))  # as numpy compares float32 with a number
        together = self.spec.filter is not None and self.spec.filter.looks_at_all_rows
        chunk = count if together else self.chunk
        judge = self.device_engine.edge_filter(x)
        bad = torch.zeros((), dtype=torch.int64, device=self.device)
        kept = []
        for start in range(0, count, chunk):
            edges = orient(pairs[:, start : start + chunk])
            logits = judge(edges)
            bad += (~logits.isfinite()).sum()
            kept.append(edges[:, logits > cut])
        if int(bad):
            raise not_finite_logits(int(bad), count, "filter")
        return torch.cat(kept, 1) if len(kept) > 1 else kept[0]

    def _weights(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Return how far the GNN's logit of each edge is above the cut, float64 [E]."""
        if not edges.shape[1]:
            return torch.empty(0, dtype=torch.float64, device=self.device)
        attributes = edge_features_on_device(self.spec, x, edges) if self.spec.edge_features else None
        logits = self.device_engine.gnn(x, edges, attributes)
        bad = int((~logits.isfinite()).sum())
        if bad:
            raise not_finite_logits(bad, len(logits), "gnn")
        return logits.to(torch.float64) - logit_of_cut(self.spec.needed_cut("gnn"))

    def _labels(self, edges: torch.Tensor, weight: torch.Tensor | None, hits: int) -> torch.Tensor:
        """Return the label of each hit: by contraction of weighted edges, or by components where there are no weights."""
        if self.labelling == ON_DEVICE:
            return components_cuda(edges, hits) if weight is None else edge_contraction_cuda(edges, weight, hits)
        if weight is None:
            label = host_labelling.connected_components(_host(edges), hits, self.labelling)
        else:
            label = host_labelling.edge_contraction(_host(edges), weight.cpu().numpy(), hits, self.labelling)
        return torch.from_numpy(label).to(self.device)

    def _contract(self, edges: Int, weight: NDArray[np.float64], hits: int) -> None:
        with explained(self.device, lambda: "stage labelling"), self._turn, current(self.device):
            self._labels(torch.from_numpy(edges).to(self.device), torch.from_numpy(weight).to(self.device), hits)
            if self.labelling == ON_DEVICE and self.spec.labelling.method == "edge_contraction":
                warm_up_contraction(self.device)  # of every size


def _named(event: Event) -> str:
    """Return which event it is, for messages."""
    source = event.source.split(",")[0]
    return f"event {event.event_id}{f' ({source})' if source else ''} of {len(event)} hits"


def _host(tensor: torch.Tensor) -> Int:
    array: Int = tensor.contiguous().cpu().numpy()
    return array
