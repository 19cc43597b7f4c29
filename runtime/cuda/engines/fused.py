"""The networks as kernels in Triton for their own shapes, from the bundle's weights: engine "triton".

Nothing of the size of the candidates exists but indices and logits, nothing of the size of the edges but their states. There are
no atomics: the same event gives the same numbers in every run on the same GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from safetensors.numpy import load

from trkx.bundle import Bundle
from trkx.errors import SpecError
from trkx.models.checkpoint import fit
from trkx.models.networks import build_network
from trkx.runtime.cuda.engines.base import DeviceFilter
from trkx.runtime.cuda.engines.ordered import OrderedModule
from trkx.runtime.cuda.engines.table import require_precision
from trkx.runtime.cuda.launch import require_device
from trkx.runtime.cuda.networks.edge_filter import DeviceEdgeFilter
from trkx.runtime.cuda.networks.embedding import DeviceEmbedding
from trkx.runtime.cuda.networks.graph_network import DeviceGraphNetwork
from trkx.runtime.cuda.networks.graphs import ReplayedGraphNetwork
from trkx.runtime.engines.base import Float, StageWeights, of_stage, read_weights
from trkx.runtime.precision import EXACT
from trkx.runtime.tiled.graph_form import form_of_gnn, form_of_message_passing
from trkx.spec import STAGES, AttentionSpec, GNNSpec, MessagePassingSpec, PipelineSpec

NAME = "triton"


class FusedEngine:
    """The networks of one bundle on one device. Calls may come from any number of threads.

    device: a CUDA device, or the CPU with Triton's interpreter. precision: of each stage, as trkx.runtime.precision reads it.
    stages: those to load. replay: run the GNN as CUDA graphs, recorded once for each of a few sizes of events; worth it where
    launching takes longer than computing, for 1 GiB of memory at most (`trkx.runtime.cuda.networks.graphs`).
    where: what the weights were read from, for errors.

    Attention networks and networks whose batch norm looks at all rows of an event have no kernels: they are torch modules,
    in fp32 only.

    Raises:
        SpecError: a precision that a stage does not run in.
        BundleError, CheckpointError: weights that do not fit the specification.
    """

    def __init__(
        self, spec: PipelineSpec, weights: Mapping[str, Float], device: torch.device, precision: str = EXACT,
        stages: Sequence[str] = STAGES, replay: bool = False, where: str = "the weights",
    ) -> None:
        """Put the weights of those of `stages` that there are on the device."""
        require_device(torch.empty(0, device=device), f"engine '{NAME}'")
        self.device = device
        self._modules: dict[str, OrderedModule] = {}
        self._embedding: DeviceEmbedding | None = None
        self._filter: DeviceEdgeFilter | None = None
        self._gnn: DeviceGraphNetwork | ReplayedGraphNetwork | None = None
        wanted = require_precision(NAME, precision)
        for stage, network in spec.networks.items():
            if stage not in stages:
                continue
            if network.looks_at_all_rows or isinstance(network, AttentionSpec):
                _require_exact(stage, wanted[stage], network.looks_at_all_rows)
                module = build_network(spec, stage)
                state = {name: torch.from_numpy(value) for name, value in of_stage(weights, stage).items()}
                fit(module, state, f"{where}, stage {stage},")
                self._modules[stage] = OrderedModule(module, len(spec.features), device)
                continue
            own = StageWeights(weights, stage)
            if stage == "embedding" and spec.embedding is not None:
                self._embedding = DeviceEmbedding(spec.embedding, spec.features, own, wanted[stage], device)
            elif stage == "filter" and spec.filter is not None:
                self._filter = DeviceEdgeFilter(spec.filter, spec.features, own, wanted[stage], device)
            else:
                made = _graph_network(spec, own, wanted[stage], device)
                self._gnn = ReplayedGraphNetwork(made) if replay else made
            own.done(stage)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D]."""
        found: torch.Tensor = self._module("embedding").embed(x) if self._embedding is None else self._embedding(x)
        return found

    def edge_filter(self, x: torch.Tensor) -> DeviceFilter:
        """Return the filter for the edges of the event with hits x.

        One that looks at all rows at once takes all edges in one call.
        """
        if self._filter is not None:
            judge: DeviceFilter = self._filter.of(x)
            return judge
        module = self._module("filter")
        return lambda edge_index: module.judge(x, edge_index)

    def gnn(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the graph network's logit of each edge, float32 [E]."""
        if self._gnn is None:
            return self._module("gnn").judge(x, edge_index, edge_attr)
        return self._gnn(x, edge_index, edge_attr)

    def _module(self, stage: str) -> OrderedModule:
        if stage not in self._modules:
            raise SpecError(f"this engine has no {stage}: the bundle has none, or it was not loaded.")
        return self._modules[stage]


def open_engine(bundle: Bundle, device: torch.device, precision: str, replay: bool = False) -> FusedEngine:
    """Return the engine for a bundle's weights, on a device; arguments as of `FusedEngine`.

    Raises:
        SpecError: a precision that a stage does not run in.
        BundleError: the weights are edited, say that they were made for another spec, or do not fit theirs.
        InputError: a device that kernels do not run on.
    """
    where = str(bundle.path / bundle.entry("all", "safetensors").path)
    return FusedEngine(bundle.spec, read_weights(bundle, load), device, precision, replay=replay, where=where)


def _graph_network(spec: PipelineSpec, weights: StageWeights, precision: str, device: torch.device) -> DeviceGraphNetwork:
    if isinstance(spec.gnn, GNNSpec):
        return DeviceGraphNetwork(form_of_gnn(spec.gnn, spec.features, weights), precision, device)
    assert isinstance(spec.gnn, MessagePassingSpec)
    return DeviceGraphNetwork(form_of_message_passing(spec.gnn, spec.features, weights), precision, device)


def _require_exact(stage: str, precision: str, looks_at_all_rows: bool) -> None:
    if precision != EXACT:
        why = "its batch norm looks at all rows of an event" if looks_at_all_rows else "attention networks have no kernels here"
        raise SpecError(
            f"the {stage} of this bundle runs in {EXACT} only with engine '{NAME}': {why}, so it is a torch module. "
            f"Say {stage}={EXACT}."
        )
