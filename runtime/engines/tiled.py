"""The networks as machine code for their own shapes, tile by tile, from the bundle's weights. Needs neither torch nor ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from safetensors.numpy import load

from trkx.bundle import Bundle
from trkx.errors import SpecError
from trkx.runtime.engines import base
from trkx.runtime.engines.base import EdgeFilter, Engine, Float, Int, StageWeights, read_weights
from trkx.runtime.precision import EXACT, precisions
from trkx.runtime.tiled.attention import TiledAttention
from trkx.runtime.tiled.chains import Weights
from trkx.runtime.tiled.edge_filter import TiledEmbedding, TiledFilter
from trkx.runtime.tiled.graph_form import form_of_gnn, form_of_message_passing
from trkx.runtime.tiled.graph_network import TiledGraphNetwork
from trkx.runtime.tiled.host import Host, host
from trkx.spec import STAGES, AttentionSpec, GNNSpec, PipelineSpec

GraphNetwork = Callable[[Float, Int, Float | None, int], Float]


class TiledEngine:
    """The networks of one bundle. All calls may come from any number of threads at once.

    other: runs the stages that tiles can't: networks whose batch norms look at all rows of an event. precision: of each stage,
    as trkx.runtime.precision reads it.
    """

    def __init__(
        self, spec: PipelineSpec, weights: Mapping[str, Float], threads: int, other: Engine | None = None,
        stages: Sequence[str] = STAGES, precision: str = EXACT,
    ) -> None:
        """Write the code of those of `stages` that there are."""
        self._threads = threads
        self._other = other
        self._embedding = self._filter = None
        self._gnn: GraphNetwork | None = None
        wanted = precisions(precision, spec.stages)
        for stage, network in spec.networks.items():
            if stage not in stages:
                continue
            if network.looks_at_all_rows:
                if wanted[stage] != EXACT:
                    raise SpecError(
                        f"the {stage} of this bundle runs in fp32 only: its batch norm looks at all rows of an event, which ONNX "
                        f"Runtime does. Say {stage}=fp32."
                    )
                continue
            own, target = StageWeights(weights, stage), host(wanted[stage])
            if stage == "embedding" and spec.embedding is not None:
                self._embedding = TiledEmbedding(spec.embedding, spec.features, own, target)
            elif stage == "filter" and spec.filter is not None:
                self._filter = TiledFilter(spec.filter, spec.features, own, target)
            else:
                self._gnn = _graph_network(spec, own, target)
            own.done(stage)

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        return self._embedding(x, self._threads) if self._embedding is not None else self._left("embedding").embed(x)

    def edge_filter(self, x: Float) -> EdgeFilter:
        """Return the filter for the edges of the event with hits x; SpecError if it has to see all edges at once."""
        if self._filter is None:
            raise SpecError("the tiled engine has no filter that could take edges one after the other.")
        return self._filter.of(x, self._threads)

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        if self._filter is None:
            return self._left("filter").filter(x, edge_index)
        return self._filter.of(x, self._threads).in_threads(edge_index, self._threads)

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        if self._gnn is None:
            return self._left("gnn").gnn(x, edge_index, edge_attr)
        return self._gnn(x, edge_index, edge_attr, self._threads)

    def _left(self, stage: str) -> Engine:
        if self._other is None:
            raise SpecError(f"the tiled engine has no {stage}: there is none, or it looks at all rows of an event at once.")
        return self._other


def open_engine(bundle: Bundle, threads: int, precision: str) -> TiledEngine:
    """Return the engine for a bundle's weights.

    Raises:
        SpecError: a precision that a stage does not run in, or of a stage that the bundle lacks.
        BundleError: they are edited, say that they were made for another spec, or do not fit theirs.
        MissingExtraError: a network has to see all rows of an event at once, and ONNX Runtime, which can, is not installed.
    """
    precisions(precision, bundle.spec.stages)  # refused before anything is read
    whole = any(network.looks_at_all_rows for network in bundle.spec.networks.values())
    other = base.open_engine("onnxruntime", bundle, threads) if whole else None
    return TiledEngine(bundle.spec, read_weights(bundle, load), threads, other, precision=precision)


def _graph_network(spec: PipelineSpec, weights: Weights, target: Host) -> GraphNetwork:
    if isinstance(spec.gnn, AttentionSpec):
        return TiledAttention(spec.gnn, spec.features, weights, target)
    if isinstance(spec.gnn, GNNSpec):
        return TiledGraphNetwork(form_of_gnn(spec.gnn, spec.features, weights), target)
    assert spec.gnn is not None
    return TiledGraphNetwork(form_of_message_passing(spec.gnn, spec.features, weights), target)
