"""Interaction networks of Tracking-ML-Exa.TrkX: five classes that share names of weights, each with its own forward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.hyper import check_stage, flag, needed, optional, score_cut
from trkx.models.families.interaction_layouts import INNER, LAYOUTS, PARTS, Layout
from trkx.models.families.layouts import Part, Style, Wanted, read_part, sizes_of
from trkx.models.families.reading import Absent, Facts, Family, Mismatch, Reading
from trkx.models.families.sequentials import check_modules
from trkx.spec import Aggregation, MessagePassingSpec

OWN = ("spatial_channels", "cell_channels", "in_channels")
"""Hyper-parameters of this code base that acorn, whose networks have the same keys, does not have."""
ACORN = ("node_features", "node_scales", "node_net_recurrent", "edge_net_recurrent", "stage")


def read(checkpoint: Checkpoint, layout: Layout) -> list[Reading]:
    """Return a checkpoint as the network of one class; several readings where the file leaves the aggregation open.

    Raises:
        Mismatch: it is not of this class, or a hyper-parameter is missing.
    """
    names = {part: _prefixes(checkpoint, layout, part) for part in PARTS}
    _refuse_others(checkpoint, layout, names)
    blocks = _check_widths(checkpoint, layout, names)
    if len(names["node_network"]) != len(names["edge_network"]):
        raise Mismatch(f"it has {len(names['node_network'])} node networks, but {len(names['edge_network'])} edge networks")
    iterations = _iterations(checkpoint, layout, len(names["node_network"]))
    activation = needed(checkpoint, "hidden_activation", str)
    variants: list[dict[str, list[Part]]] = []
    reasons = []
    for style, wanted in product(layout.styles, _norms(checkpoint, layout, activation)):
        try:
            parts = _parts(checkpoint, layout, style, wanted, names)
        except Mismatch as mismatch:
            reasons.append(str(mismatch))
            continue
        variants += [parts] if parts not in variants else []
    if not variants:
        raise Mismatch("; ".join(dict.fromkeys(reasons)))
    silent = _may_be_acorn(checkpoint, variants)
    if len(variants) > 1 and not silent:
        raise Mismatch("the networks may have layer norms or batch norms: hyper-parameters layernorm and batchnorm must say it")
    return [_reading(checkpoint, layout, parts, kinds, iterations)
            for parts in variants for kinds in _aggregations(checkpoint, layout, blocks, silent)]


def _prefixes(checkpoint: Checkpoint, layout: Layout, part: str) -> list[str]:
    """Return where the networks of one part lie: one, or one for each iteration."""
    if not (layout.per_iteration and part in ("node_network", "edge_network")):
        return [part]
    places = {key.split(".")[1] for key in checkpoint.shapes if key.startswith(f"{part}s.")}
    if places != {str(place) for place in range(len(places))} or not places:
        raise Absent(f"no networks {part}s.0, {part}s.1, … for each iteration")
    return [f"{part}s.{place}" for place in range(len(places))]


def _refuse_others(checkpoint: Checkpoint, layout: Layout, names: Mapping[str, Sequence[str]]) -> None:
    known = tuple(f"{name}." for found in names.values() for name in found)
    for name in (name for found in names.values() for name in found):
        sizes_of(checkpoint, name)
    odd = [key for key in checkpoint.shapes if not key.startswith(known)]
    if odd:
        raise Mismatch(f"unexpected weights that may change what it computes: {', '.join(odd[:4])}{' …' if len(odd) > 4 else ''}")
    check_stage(checkpoint, "gnn")
    held = checkpoint.hyper_parameters
    acorn = [name for name in ACORN if name in held]
    if acorn:
        raise Mismatch(f"hyper-parameter '{acorn[0]}' is acorn's")
    foreign = [name for name in layout.foreign if name in held]
    if foreign:
        raise Mismatch(f"hyper-parameter '{foreign[0]}' is not of this class but of Common_Tracking_Example")


def _check_widths(checkpoint: Checkpoint, layout: Layout, names: Mapping[str, Sequence[str]]) -> int:
    """Return how many aggregates of edge states a node reads; Mismatch if widths are of another class."""
    found = {name: sizes_of(checkpoint, name) for part in PARTS for name in names[part]}
    node, edge = names["node_network"][0], names["edge_network"][0]
    node_layers, edge_layers, state = len(found[node][1]), len(found[edge][1]), found[node][1][-1][1]
    widths = layout.widths(state, node_layers, edge_layers)
    blocks = len(layout.node_inputs) - 1
    for part in PARTS:
        for name in names[part]:
            taken, linears = found[name]
            given = tuple(width for _, width in linears)
            if given != widths[part]:
                raise Mismatch(f"'{name}' has layers of {list(given)}, this class would have {list(widths[part])}")
            allowed = {units * state for units in layout.takes[part]}
            if allowed and taken not in allowed:
                raise Mismatch(f"'{name}' takes {taken} columns, this class would have {' or '.join(map(str, sorted(allowed)))}")
            if part == "node_network":
                blocks = taken // state - 1
    for name, value in (("hidden", widths["node_network"][0]), *layout.layer_counts(node_layers, edge_layers)):
        said = optional(checkpoint, name, int)
        if said is not None and said != value:
            raise Mismatch(f"hyper-parameter '{name}' is {said}, but the weights have {value}")
    _check_inputs(checkpoint, found["node_encoder"][0])
    return blocks


def _check_inputs(checkpoint: Checkpoint, inputs: int) -> None:
    spatial, cell, total = (optional(checkpoint, name, int) for name in OWN)
    said = [value for value in (total, None if spatial is None or cell is None else spatial + cell) if value is not None]
    if said and inputs not in said:
        raise Mismatch(f"hyper-parameters say {' or '.join(map(str, said))} input columns (in_channels, or spatial_channels + "
                       f"cell_channels), but the node encoder takes {inputs}")


def _iterations(checkpoint: Checkpoint, layout: Layout, networks: int) -> int:
    said = optional(checkpoint, "n_graph_iters", int)
    found = networks if layout.per_iteration and said is None else needed(checkpoint, "n_graph_iters", int)
    if layout.per_iteration and found != networks:
        raise Mismatch(f"hyper-parameter 'n_graph_iters' is {found}, but there are {networks} node networks")
    if found < 1:
        raise Mismatch(f"hyper-parameter 'n_graph_iters' is {found}, expected at least 1")
    return found


def _norms(checkpoint: Checkpoint, layout: Layout, activation: str) -> list[Wanted]:
    """Return the norms that hyper-parameters want, all that there are where they are silent."""
    layer, batch = flag(checkpoint, "layernorm"), flag(checkpoint, "batchnorm") if layout.batch_norm else False
    return [Wanted(activation, layer_norm=with_layer, batch_norm=with_batch)
            for with_layer in ([False, True] if layer is None else [layer])
            for with_batch in ([False, True] if batch is None else [batch])]


def _parts(
    checkpoint: Checkpoint, layout: Layout, style: Style, wanted: Wanted, names: Mapping[str, Sequence[str]]
) -> dict[str, list[Part]]:
    """Return the networks of each part, the classifier first: it always has a hidden layer, so that it tells the norms."""
    found = {"output_edge_classifier": [read_part(checkpoint, "output_edge_classifier", style, wanted)]}
    ends = optional(checkpoint, "output_activation", str) or "" if layout.output_activation else wanted.activation
    for part in INNER:
        inner = "ReLU" if part in layout.relu else wanted.activation
        said = replace(wanted, activation=inner, output=ends if part in layout.activated else "")
        found[part] = [read_part(checkpoint, name, style, said) for name in names[part]]
        if any(other.chain != found[part][0].chain for other in found[part]):
            raise Mismatch(f"the networks of '{part}s' are not alike")
    for part, read_parts in found.items():
        for name, one in zip(names[part], read_parts, strict=True):
            check_modules(checkpoint, name, one.chain)
    return found


def _may_be_acorn(checkpoint: Checkpoint, variants: Sequence[Mapping[str, Sequence[Part]]]) -> bool:
    """Return whether nothing tells a file from acorn's: its norms have no weights, and hyper-parameters of either are missing."""
    affine = any(parts["output_edge_classifier"][0].chain.norm == "affine" for parts in variants)
    return not affine and not any(name in checkpoint.hyper_parameters for name in OWN)


def _aggregations(checkpoint: Checkpoint, layout: Layout, blocks: int, silent: bool) -> list[tuple[Aggregation, ...]]:
    """Return how nodes gather, by the word in the hyper-parameters, which every class must have.

    In a `silent` file without that word it is all that fit: acorn's sum has the shapes of two aggregates, and must not win
    because this class asks for more.
    """
    if layout.aggregations is None:
        return [("sum",)]
    if isinstance(checkpoint.hyper_parameters.get("aggregation"), list | tuple):
        raise Mismatch("hyper-parameter 'aggregation' is a list, as in acorn; this class has one word")
    name = optional(checkpoint, "aggregation", str)
    fitting = [kinds for kinds in layout.aggregations.values() if len(kinds) == blocks]
    if name is None:
        if silent and blocks == 2:
            return fitting
        name = needed(checkpoint, "aggregation", str)
    kinds = layout.aggregations.get(name)
    if kinds is None:
        raise Mismatch(f"hyper-parameter 'aggregation' is '{name}', this class computes {', '.join(layout.aggregations)}")
    if kinds not in fitting:
        raise Mismatch(f"aggregation '{name}' gives a node {len(kinds)} aggregates, but its network reads {blocks}")
    return [kinds]


def _reading(
    checkpoint: Checkpoint, layout: Layout, parts: Mapping[str, Sequence[Part]], kinds: tuple[Aggregation, ...], iterations: int
) -> Reading:
    shared = not layout.per_iteration
    one = {part: parts[part][0] for part in PARTS}
    weights = {**one["node_encoder"].under("node_encoder"), **one["edge_encoder"].under("edge_encoder"),
               **one["output_edge_classifier"].under("classifier")}
    for part in ("node_network", "edge_network"):
        for place, network in enumerate(parts[part]):
            weights |= network.under(f"{part}s.{place}")
    spec = MessagePassingSpec(
        one["node_encoder"].chain, one["edge_encoder"].chain, one["node_network"].chain, one["edge_network"].chain,
        one["output_edge_classifier"].chain, iterations, order=layout.order, aggregations=kinds,
        node_inputs=layout.node_inputs, edge_inputs=layout.edge_inputs, residual=layout.residual, edge_squash=layout.squash,
        shared_nodes=shared, shared_edges=shared,
    )
    held = checkpoint.hyper_parameters
    directed = flag(checkpoint, "directed")
    cut, left_aside = score_cut(checkpoint, "edge_cut")
    facts = Facts(cut=cut, undirected=not directed if layout.doubles else None)
    assumed = [*layout.assumed, *left_aside]
    if layout.doubles and directed is None:
        assumed.append("Edges were given to it in both directions, as the code base does unless 'directed' says otherwise.")
    if held.get("cell_channels"):
        assumed.append("The columns of x are the cell features, then the spatial ones.")
    if layout.output_activation and "output_activation" not in held:
        assumed.append("Encoders and networks end without an activation, the default where 'output_activation' is not given.")
    return Reading(layout.family, "gnn", spec, weights, one["node_encoder"].inputs, facts, tuple(assumed),
                   certain=any(name in held for name in OWN))


INTERACTION_FAMILIES: tuple[Family, ...] = tuple(
    Family(layout.family, "gnn", layout.title, layout.forward, partial(read, layout=layout), "interaction.md")
    for layout in LAYOUTS
)
