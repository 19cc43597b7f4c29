"""The arithmetic that a network needs at least: matrix products per hit and per edge, counted from its specification.

Only multiplications and additions of linear layers are counted, 2 * inputs * outputs a row; activations and norms are not. First
layers are split by block: what belongs to a hit is multiplied once per hit, not once per edge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trkx.errors import SpecError, unknown_name
from trkx.spec import (
    AttentionSpec,
    ChainEmbeddingSpec,
    ChainFilterSpec,
    EmbeddingSpec,
    FilterSpec,
    GNNSpec,
    MessagePassingSpec,
    PipelineSpec,
)

NODE_FEATURES = 5  # of trkx.models.geometry, which needs torch; a test compares them
PAIR_FEATURES = 11
FLOAT = 4  # bytes
INDEX = 16  # bytes of an edge: two int64


@dataclass(frozen=True)
class Work:
    """What a network needs at least.

    hit_flops, edge_flops: operations per hit and per edge. edge_bytes: memory traffic per edge that no order of work avoids:
    the state of an edge, read and written in each iteration, and its two indices.
    """

    hit_flops: float = 0.0
    edge_flops: float = 0.0
    edge_bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.hit_flops + other.hit_flops, self.edge_flops + other.edge_flops, self.edge_bytes + other.edge_bytes)

    def times(self, count: float) -> Work:
        """Return the work done so many times."""
        return Work(count * self.hit_flops, count * self.edge_flops, count * self.edge_bytes)

    def flops(self, hits: int, edges: int) -> float:
        """Return the operations on a graph."""
        return hits * self.hit_flops + edges * self.edge_flops

    def bytes(self, edges: int) -> float:
        """Return the bytes that a graph moves at least."""
        return edges * self.edge_bytes


def on_hits(blocks: Sequence[int], widths: Sequence[int]) -> Work:
    """Return the work of an MLP with a row a hit: widths of its blocks, then of the output of each Linear."""
    return Work(hit_flops=2.0 * sum(blocks) * widths[0] + _later(widths))


def on_edges(hit_blocks: Sequence[int], edge_blocks: Sequence[int], widths: Sequence[int]) -> Work:
    """Return the work of an MLP with a row an edge: blocks of hits are multiplied once per hit."""
    return Work(2.0 * sum(hit_blocks) * widths[0], 2.0 * sum(edge_blocks) * widths[0] + _later(widths))


def _later(widths: Sequence[int]) -> float:
    return sum(2.0 * a * b for a, b in pairwise(widths))


def work_of(spec: PipelineSpec, stage: str) -> Work:
    """Return what one network of a pipeline needs.

    Raises:
        SpecError: no such network.
    """
    if stage not in spec.networks:
        raise SpecError(f"{spec.name} has no {stage}; it has {', '.join(spec.stages)}.")
    own = spec.networks[stage]
    if own.family not in _COUNTS:
        raise SpecError(unknown_name("family", own.family, _COUNTS))
    return _COUNTS[own.family](own, _given(spec, own))


def _given(spec: PipelineSpec, own: Any) -> int:
    """Return the columns of a hit that a network's first layers see."""
    if own.geometry:
        return NODE_FEATURES + sum(feature.name not in ("r", "phi", "z") for feature in spec.features)
    return len(getattr(own, "features", None) or spec.features)


def _embedding(own: EmbeddingSpec, given: int) -> Work:
    return on_hits([given], [*[own.hidden] * own.layers, own.dim])


def _filter(own: FilterSpec, given: int) -> Work:
    pair = [PAIR_FEATURES] if own.geometry else []
    return on_edges([given, given], pair, [*[own.hidden] * own.layers, 1]) + Work(edge_bytes=INDEX + FLOAT)


def _interaction(own: GNNSpec, given: int) -> Work:
    width, pair = own.hidden, [PAIR_FEATURES] if own.geometry else []
    inner = [width] * (max(own.layers - 1, 1) + 1)
    step = on_edges([width, width], [width], inner) + on_hits([width] * 3, inner)
    step += Work(edge_bytes=2.0 * FLOAT * width + INDEX)
    ends = on_hits([given], [width] * own.layers) + on_edges([given, given], pair, [width] * own.layers)
    ends += on_edges([width, width], [width], [*[width] * own.layers, 1])
    return ends + step.times(own.iterations) + Work(edge_bytes=2.0 * FLOAT * width + 2 * INDEX + FLOAT)


def _chain_embedding(own: ChainEmbeddingSpec, given: int) -> Work:
    return on_hits([given], own.chain.widths)


def _chain_filter(own: ChainFilterSpec, given: int) -> Work:
    return on_edges([given, given], [], own.chain.widths) + Work(edge_bytes=INDEX + FLOAT)


def _attention(own: AttentionSpec, given: int) -> Work:
    width = own.node_encoder.out + (given if own.shortcut else 0)
    blocks = [width] * sum(1 if block == "node" else len(own.aggregations) for block in own.node_inputs)
    edges = on_edges([width, width], [], own.edge_network.widths) + Work(edge_bytes=INDEX)
    step = edges + on_hits(blocks, own.node_network.widths)
    return _both_ways(own.undirected, on_hits([given], own.node_encoder.widths) + step.times(own.iterations) + edges)


def _message_passing(own: MessagePassingSpec, given: int) -> Work:
    node, edge = own.node_encoder.out, own.edge_encoder.out

    def edges(names: Sequence[str], widths: Sequence[int], edge_width: int) -> Work:
        hit_blocks = [node for name in names if not name.startswith("edge")]
        edge_blocks = [edge_width if name == "edge" else edge for name in names if name.startswith("edge")]
        return on_edges(hit_blocks, edge_blocks, widths)

    gathers = [node if block.startswith("node") else len(own.aggregations) * edge for block in own.node_inputs]
    step = edges(own.edge_inputs, own.edge_network.widths, edge) + on_hits(gathers, own.node_network.widths)
    step += Work(edge_bytes=2.0 * FLOAT * edge + INDEX)
    first = on_edges([], [len(own.edge_features)], own.edge_encoder.widths) if own.edge_features else on_edges(
        [node, node], [], own.edge_encoder.widths)
    total = on_hits([given], own.node_encoder.widths) + first + step.times(own.iterations)
    if own.decoder is not None:
        total += on_edges([], [edge], own.decoder.widths)
    last = edge if own.decoder is None else own.decoder.out
    total += edges(own.classifier_inputs, own.classifier.widths, last) + Work(edge_bytes=2.0 * FLOAT * edge + 2 * INDEX + FLOAT)
    return _both_ways(own.undirected, total)


def _both_ways(undirected: bool, work: Work) -> Work:
    return Work(work.hit_flops, 2.0 * work.edge_flops, 2.0 * work.edge_bytes) if undirected else work


_COUNTS: Mapping[str, Callable[[Any, int], Work]] = {
    "mlp_embedding": _embedding,
    "pair_filter": _filter,
    "interaction_network": _interaction,
    "chain_embedding": _chain_embedding,
    "chain_filter": _chain_filter,
    "attention": _attention,
    "message_passing": _message_passing,
}
