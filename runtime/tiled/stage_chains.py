"""Embedding and edge filter as chains, whichever declaration they come from; tiles on a CPU and kernels on a GPU run these."""

from __future__ import annotations

from collections.abc import Sequence

from trkx.runtime.tiled.chains import Chain, Weights, chain_of_mlp, chain_of_spec, judging, reading_features
from trkx.runtime.tiled.inputs import Inputs, chosen, geometric
from trkx.spec import AnyEmbedding, AnyFilter, ChainEmbeddingSpec, ChainFilterSpec, FeatureSpec


def embedding_chain(spec: AnyEmbedding, features: Sequence[FeatureSpec], weights: Weights) -> tuple[Inputs, Chain]:
    """Return what an embedding reads of hits, and its chain; BundleError where weights, without their stage, do not fit."""
    if isinstance(spec, ChainEmbeddingSpec):
        inputs = chosen(features, spec.features)
        return inputs, reading_features(chain_of_spec(weights, "network.", {"x": inputs.width}, spec.chain))
    inputs = geometric(features, spec.geometry)
    blocks = {"x": inputs.width}
    chain = chain_of_mlp(weights, "network.", blocks, spec.hidden, spec.layers, spec.activation, spec.layer_norm, spec.dim)
    return inputs, reading_features(chain)


def filter_chain(spec: AnyFilter, features: Sequence[FeatureSpec], weights: Weights) -> tuple[Inputs, Chain]:
    """Return what an edge filter reads of hits, and its chain, which judges; BundleError as of `embedding_chain`."""
    if isinstance(spec, ChainFilterSpec):
        inputs = chosen(features, spec.features)
        blocks = {"source": inputs.width, "target": inputs.width}
        chain = chain_of_spec(weights, "network.", blocks, spec.chain)
    else:
        inputs = geometric(features, spec.geometry)
        blocks = {"source": inputs.width, "target": inputs.width} | ({"pair": inputs.pair_width} if spec.geometry else {})
        chain = chain_of_mlp(weights, "network.", blocks, spec.hidden, spec.layers, spec.activation, spec.layer_norm, 1)
    return inputs, reading_features(judging(chain))
