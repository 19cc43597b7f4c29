"""Edge filters of Tracking-ML (VanillaFilter, PyramidFilter) and acorn (Filter). Sources: docs/families/filters.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise

from trkx.chains import ChainFilterSpec, ChainSpec
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.columns import acorn_columns, activation_name, nothing_else, only_tanh, same, trackml_columns
from trkx.models.families.hyper import check_stage, flag, names_class, needed, optional, score_cut
from trkx.models.families.layouts import ACORN, COMMON, GNN4ITK, Part, Style, Wanted, read_part, sizes_of
from trkx.models.families.linears import Linears, linears_of, numbered
from trkx.models.families.reading import Absent, Facts, Family, Mismatch, Reading
from trkx.models.families.sequentials import check_modules

ALL_AT_ONCE = ("Batch norms take mean and spread of all edges of an event at once; {who} took those of each chunk of edges that "
               "it evaluated, so scores differ from those it wrote unless it had one chunk.")
OF_THE_SCORE = "filter_cut is a cut of the score (sigmoid of the logit); exatrkx-iml2020 alone compared it with the logit itself."


def _vanilla(checkpoint: Checkpoint) -> list[Reading]:
    """Read `input_layer`, `layers.N`, `output_layer` and the one `layernorm` and `batchnorm` that all layers share."""
    layers = _named_layers(checkpoint)
    width = layers.widths[0]
    norms = [f"{name}.{end}" for name in ("layernorm", "batchnorm") for end in ("weight", "bias")]
    for key in norms:
        if checkpoint.shapes.get(key) != (width,):
            raise Mismatch(f"no '{key}' of shape [{width}]")
    if set(layers.widths[:-1]) != {width}:
        raise Mismatch(f"its layers have {', '.join(map(str, layers.widths[:-1]))} columns, and can't share one layernorm")
    nothing_else(checkpoint, [*layers.weights.values(), *norms])
    weights = dict(layers.weights)
    hidden = range(1, len(layers.widths) - 1)
    layer_norm, batch_norm = (_needed_flag(checkpoint, name) and len(hidden) > 0 for name in ("layernorm", "batchnorm"))
    for place in hidden:
        for wanted, own, key in ((layer_norm, "norms", "layernorm"), (batch_norm, "batch_norms", "batchnorm")):
            weights |= {f"{own}.{place}.{end}": f"{key}.{end}" for end in ("weight", "bias")} if wanted else {}
    chain = ChainSpec(layers.widths, "tanh", "affine" if layer_norm else "none", "event_affine" if batch_norm else "none",
                      activation_first=True, bare_first=True)
    return [_trackml(checkpoint, "vanilla-filter", chain, layers.inputs, weights, "VanillaFilter")]


def _pyramid(checkpoint: Checkpoint) -> list[Reading]:
    """Read `input_layer`, `layers.N` of halving widths, `output_layer`; layer norms have no weights."""
    layers = _named_layers(checkpoint)
    widths = layers.widths[:-1]
    if any(after != before // 2 for before, after in pairwise(widths)):
        raise Mismatch(f"its layers have {', '.join(map(str, widths))} columns, expected each half of the one before")
    nothing_else(checkpoint, layers.weights.values())
    layer_norm = _needed_flag(checkpoint, "layernorm")
    chain = ChainSpec(layers.widths, "tanh", "plain" if layer_norm else "none", activation_first=True, bare_first=True)
    return [_trackml(checkpoint, "pyramid-filter", chain, layers.inputs, layers.weights, "PyramidFilter")]


def _pyramid_net(checkpoint: Checkpoint) -> list[Reading]:
    """Read `net.N` of Common_Tracking_Example: norms without weights, batch norms of the event's own edges."""
    part = _net(checkpoint, COMMON)
    if "node_features" in checkpoint.hyper_parameters:
        raise Mismatch("hyper-parameter 'node_features' is acorn's")
    return [_trackml(checkpoint, "pyramid-filter-net", part.chain, part.inputs, part.weights, "PyramidFilter")]


def _acorn(checkpoint: Checkpoint, name: str, style: Style) -> list[Reading]:
    """Read `net.N` of acorn, or of the package before it, whose batch norms have no weights."""
    part = _net(checkpoint, style)
    if optional(checkpoint, "emb_channels", int):
        raise Mismatch(_reads_embedding(checkpoint))
    inputs = _two_hits(part.inputs)
    features, scales = acorn_columns(checkpoint, inputs)
    cut, assumed = score_cut(checkpoint, "score_cut", "edge_cut")
    if part.chain.looks_at_all_rows:
        assumed += (ALL_AT_ONCE.format(who="acorn"),)
    facts = Facts(features, scales, cut=cut)
    certain = names_class(checkpoint, "Filter") is True
    return [Reading(name, "filter", ChainFilterSpec(part.chain), part.under("network"), inputs, facts, assumed, certain)]


def _gnn_filter(checkpoint: Checkpoint) -> list[Reading]:
    """Refuse acorn's GNNFilter, whose layers are named in a file of its own."""
    if not any(key.startswith("gnn.") for key in checkpoint.shapes):
        raise Absent("no 'gnn'")
    raise Mismatch("before its 'net' it runs graph convolutions over all hits (gnn.layers, named by gnn_config), so it is no "
                   "filter of pairs of hits; trkx can't run it. Train acorn's Filter instead")


def _named_layers(checkpoint: Checkpoint) -> Linears:
    layers = linears_of(checkpoint, ["input_layer", *numbered(checkpoint, "layers"), "output_layer"])
    check_stage(checkpoint, "filter")
    _one_logit(layers.widths)
    only_tanh(checkpoint)
    same(checkpoint, {"hidden": layers.widths[0], "nb_layer": len(layers.widths) - 1})
    return layers


def _net(checkpoint: Checkpoint, style: Style) -> Part:
    """Return the Sequential `net`; Mismatch if another style would see other norms in the same keys."""
    _, linears = sizes_of(checkpoint, "net")
    check_stage(checkpoint, "filter")
    widths = tuple(width for _, width in linears)
    _one_logit(widths)
    activation = activation_name(checkpoint, "hidden_activation")
    layer_norm, batch_norm = _norm(checkpoint, "layernorm", "LayerNorm"), _norm(checkpoint, "batchnorm", "BatchNorm1d")
    running = any(key.startswith("net.") and key.endswith(".running_mean") for key in checkpoint.shapes)
    only_linears = len([key for key in checkpoint.shapes if key.startswith("net.")]) == 2 * len(linears)
    strides = {after - before for (before, _), (after, _) in pairwise(linears)}
    if only_linears and strides == {3} and layer_norm is None and batch_norm is None:
        raise Mismatch("norms without weights follow each Linear: hyper-parameter 'layernorm' or 'batchnorm' is needed to know "
                       "which")
    track = flag(checkpoint, "track_running_stats")
    wanted = Wanted(activation, layer_norm=layer_norm, batch_norm=batch_norm, track=running if track is None else track)
    part = read_part(checkpoint, "net", style, wanted)
    check_modules(checkpoint, "net", part.chain)
    nothing_else(checkpoint, [key for key in checkpoint.shapes if key.startswith("net.")])
    same(checkpoint, {"hidden": widths[0], "nb_layer": len(widths) - 1})
    return part


def _norm(checkpoint: Checkpoint, name: str, kind: str) -> bool | None:
    """Return whether the net has norms of a kind, None if neither hyper-parameters nor modules of a TorchScript file say it."""
    shown = [found for path, found in checkpoint.modules.items() if path.startswith("net.")]
    said = flag(checkpoint, name)
    if not shown:
        return said
    if said is not None and said != (kind in shown):
        raise Mismatch(f"hyper-parameter '{name}' is {said}, but the file has {'a' if kind in shown else 'no'} {kind}")
    return kind in shown


def _trackml(
    checkpoint: Checkpoint, name: str, chain: ChainSpec, columns: int, weights: Mapping[str, str], class_name: str
) -> Reading:
    if needed(checkpoint, "emb_channels", int):
        raise Mismatch(_reads_embedding(checkpoint))
    inputs = _two_hits(columns)
    assumed = trackml_columns(checkpoint, inputs)
    cut, words = score_cut(checkpoint, "filter_cut")
    assumed += (OF_THE_SCORE, *words) if cut is not None else words
    if chain.looks_at_all_rows:
        assumed += (ALL_AT_ONCE.format(who="Tracking-ML"),)
    own = {f"network.{key}": value for key, value in weights.items()}
    certain = names_class(checkpoint, class_name) is True
    return Reading(name, "filter", ChainFilterSpec(chain), own, inputs, Facts(cut=cut), assumed, certain)


def _needed_flag(checkpoint: Checkpoint, name: str) -> bool:
    found = flag(checkpoint, name)
    if found is None:
        raise Mismatch(f"hyper-parameter '{name}' is needed, keys do not show it; give the YAML file of the training (--hparams, "
                       "or hparams.yaml beside it)")
    return found


def _one_logit(widths: tuple[int, ...]) -> None:
    if widths[-1] != 1:
        raise Mismatch(f"its last layer gives {widths[-1]} columns, a filter gives one logit")


def _two_hits(columns: int) -> int:
    if columns % 2:
        raise Mismatch(f"it reads {columns} columns, an odd number: not two hits with the same features")
    return columns // 2


def _reads_embedding(checkpoint: Checkpoint) -> str:
    found = optional(checkpoint, "emb_channels", int)
    return (f"hyper-parameter 'emb_channels' is {found}: the filter also reads the embedding of each hit, and this isn't "
            "supported. Train it with emb_channels: 0")


FILTER_FAMILIES: tuple[Family, ...] = (
    Family("vanilla-filter", "filter", "exatrkx-iml2020, Tracking-ML, ctd2022: VanillaFilter",
           "tanh, then one layer norm with weights that all layers share", _vanilla, "filters.md"),
    Family("pyramid-filter", "filter", "Tracking-ML, TrackML_Example and ITk_Example: PyramidFilter",
           "tanh, then layer norms without weights", _pyramid, "filters.md"),
    Family("pyramid-filter-net", "filter", "Tracking-ML, Common_Tracking_Example: PyramidFilter",
           "norms before the activation, batch norms without weights", _pyramid_net, "filters.md"),
    Family("acorn-filter", "filter", "acorn: Filter",
           "norms before the activation, batch norms with weights",
           partial(_acorn, name="acorn-filter", style=ACORN), "filters.md"),
    Family("gnn4itk-filter", "filter", "gnn4itk_cf: Filter, before acorn",
           "norms before the activation, batch norms without weights",
           partial(_acorn, name="gnn4itk-filter", style=GNN4ITK), "filters.md"),
    Family("gnn-filter", "filter", "acorn: GNNFilter",
           "graph convolutions before the filter; can't be exported", _gnn_filter, "filters.md"),
)
