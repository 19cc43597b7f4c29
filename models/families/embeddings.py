"""Embeddings of Tracking-ML (LayerlessEmbedding) and acorn (MetricLearning). Sources: docs/families/embeddings.md."""

from __future__ import annotations

from functools import partial

from trkx.chains import ChainEmbeddingSpec, ChainSpec
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.columns import acorn_columns, activation_name, nothing_else, only_tanh, same, trackml_columns
from trkx.models.families.hyper import check_stage, listed, names_class, optional
from trkx.models.families.layouts import ACORN_GRAPH, TRACKML, Part, Style, Wanted, read_part, sizes_of
from trkx.models.families.linears import linears_of, numbered
from trkx.models.families.reading import Absent, Facts, Family, Mismatch, Reading
from trkx.models.families.sequentials import check_modules

LARGEST = 32
"""Dimensions of a space in which the pipeline searches neighbours."""
ACORN_NEIGHBOURS = 500
"""What acorn takes where `knn_infer` is absent."""
COUNTS_ITSELF = "{name} {found} counts the hit itself, as the neighbour searches of the code base do: {kept} others are kept."


def _old(checkpoint: Checkpoint) -> list[Reading]:
    """Read `layers.N` and `emb_layer`: tanh after each but the last, no norms, no unit length; `norm` is never called."""
    layers = linears_of(checkpoint, [*numbered(checkpoint, "layers"), "emb_layer"])
    if len(layers.widths) < 2:
        raise Absent("no Linear 'layers.0'")
    check_stage(checkpoint, "embedding")
    nothing_else(checkpoint, layers.weights.values(), unused=("norm.",))
    only_tanh(checkpoint)
    _sizes(checkpoint, layers.widths, len(layers.widths) - 1)
    columns = trackml_columns(checkpoint, layers.inputs)
    facts, assumed = _trackml_graph(checkpoint)
    spec = ChainEmbeddingSpec(ChainSpec(layers.widths, "tanh"), normalize=False)
    certain = names_class(checkpoint, "LayerlessEmbedding", "NewLayerlessEmbedding") is True
    weights = {f"network.{own}": key for own, key in layers.weights.items()}
    return [Reading("layerless-embedding-old", "embedding", spec, weights, layers.inputs, facts, columns + assumed, certain)]


def _new(checkpoint: Checkpoint, normalize: bool) -> list[Reading]:
    """Read `network.N` with affine layer norms; of unit length if `regime` has "norm", which keys do not show."""
    name = "layerless-embedding-normalised" if normalize else "layerless-embedding"
    part = _network(checkpoint, TRACKML)
    regime = listed(checkpoint, "regime")
    if regime is not None and ("norm" in regime) != normalize:
        raise Mismatch(f"hyper-parameter 'regime' is {regime}, so its outputs are {'not ' if normalize else ''}of unit length")
    columns = trackml_columns(checkpoint, part.inputs)
    facts, assumed = _trackml_graph(checkpoint)
    certain = regime is not None and names_class(checkpoint, "LayerlessEmbedding") is True
    spec = ChainEmbeddingSpec(part.chain, normalize)
    return [Reading(name, "embedding", spec, part.under("network"), part.inputs, facts, columns + assumed, certain)]


def _metric_learning(checkpoint: Checkpoint) -> list[Reading]:
    """Read `network.N` with layer norms without weights, always of unit length."""
    part = _network(checkpoint, ACORN_GRAPH)
    features, scales = acorn_columns(checkpoint, part.inputs)
    radius = optional(checkpoint, "r_infer", float)
    kept, assumed = _neighbours(checkpoint, "knn_infer")
    if kept is None and radius is not None:
        kept = ACORN_NEIGHBOURS - 1
        assumed = (f"knn_infer is absent; acorn then takes {ACORN_NEIGHBOURS}, the hit itself among them.",)
    spec = ChainEmbeddingSpec(part.chain, normalize=True)
    certain = names_class(checkpoint, "MetricLearning") is True
    facts = Facts(features, scales, radius, kept)
    return [Reading("metric-learning", "embedding", spec, part.under("network"), part.inputs, facts, assumed, certain)]


def _double(checkpoint: Checkpoint) -> list[Reading]:
    """Refuse acorn's DoubleMetricLearning, which gives a hit two places."""
    if not any(key.startswith(("src_decoder.", "tgt_decoder.")) for key in checkpoint.shapes):
        raise Absent("no 'src_decoder' and 'tgt_decoder'")
    raise Mismatch("it gives each hit two places, one as source and one as target (src_decoder, tgt_decoder), and its graph "
                   "joins the one space to the other; trkx has one space and can't run it. Train acorn's MetricLearning instead")


def _network(checkpoint: Checkpoint, style: Style) -> Part:
    sizes_of(checkpoint, "network")
    check_stage(checkpoint, "embedding")
    wanted = Wanted(activation_name(checkpoint, "activation"), layer_norm=True, batch_norm=False)
    part = read_part(checkpoint, "network", style, wanted)
    check_modules(checkpoint, "network", part.chain)
    nothing_else(checkpoint, part.weights.values())
    _sizes(checkpoint, part.chain.widths, len(part.chain.widths) - 1)
    return part


def _sizes(checkpoint: Checkpoint, widths: tuple[int, ...], hidden_layers: int) -> None:
    if widths[-1] > LARGEST:
        raise Mismatch(f"its space has {widths[-1]} dimensions; trkx has up to {LARGEST}")
    same(checkpoint, {"emb_dim": widths[-1], "nb_layer": hidden_layers, **({"emb_hidden": widths[0]} if hidden_layers else {})})


def _trackml_graph(checkpoint: Checkpoint) -> tuple[Facts, tuple[str, ...]]:
    """Return radius and neighbours; `knn` is that of the training only, inference has its number in the code."""
    kept, assumed = _neighbours(checkpoint, "knn_test")
    for name in ("r_test", "r_val"):
        radius = optional(checkpoint, name, float)
        if radius is not None:
            return Facts(radius=radius, k_max=kept), (f"The radius is {name}, {radius:g}.", *assumed)
    return Facts(k_max=kept), assumed


def _neighbours(checkpoint: Checkpoint, name: str) -> tuple[int | None, tuple[str, ...]]:
    found = optional(checkpoint, name, int)
    if found is None:
        return None, ()
    if found < 2:
        raise Mismatch(f"hyper-parameter '{name}' is {found}, expected at least 2: the hit itself and a neighbour")
    return found - 1, (COUNTS_ITSELF.format(name=name, found=found, kept=found - 1),)


EMBEDDING_FAMILIES: tuple[Family, ...] = (
    Family("layerless-embedding-old", "embedding", "exatrkx-iml2020, early Tracking-ML: LayerlessEmbedding",
           "tanh, no layer norms, outputs of any length", _old, "embeddings.md"),
    Family("layerless-embedding", "embedding", "Tracking-ML: LayerlessEmbedding, regime without 'norm'",
           "outputs of any length", partial(_new, normalize=False), "embeddings.md"),
    Family("layerless-embedding-normalised", "embedding", "Tracking-ML: LayerlessEmbedding, regime with 'norm'",
           "outputs of unit length", partial(_new, normalize=True), "embeddings.md"),
    Family("metric-learning", "embedding", "acorn: MetricLearning",
           "layer norms without weights, outputs of unit length", _metric_learning, "embeddings.md"),
    Family("double-metric-learning", "embedding", "acorn: DoubleMetricLearning",
           "two places for each hit; can't be exported", _double, "embeddings.md"),
)
