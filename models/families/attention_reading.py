"""A checkpoint as one ResAGNN-like class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import product

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.attention_forms import Form, Parts, check_parts
from trkx.models.families.hyper import flag, model_name, names_class, needed, optional, score_cut
from trkx.models.families.layouts import ACTIVATIONS, Part, Style, Wanted, read_part, sizes_of
from trkx.models.families.reading import Facts, Mismatch, Reading
from trkx.spec import AttentionSpec

DOUBLED = "Edges were given to it in both directions, as the code base does unless 'directed' says otherwise."
GIVEN_ONCE = "Edges are given once, as in the published inference; its training base may have given both directions."


def read_form(form: Form, known: Collection[str], checkpoint: Checkpoint) -> Sequence[Reading]:
    """Return what a checkpoint is as this class; more than one reading if the file leaves its norms open.

    Args:
        form: the class.
        known: names of all classes of the table; a file that names another one of them is not this one.
        checkpoint: opened.

    Raises:
        Mismatch: it is not of this class, or a hyper-parameter is missing or contradicts the shapes.
    """
    for prefix in form.keys:
        sizes_of(checkpoint, prefix)  # what has no such networks is refused before it is asked for hyper-parameters
    named = names_class(checkpoint, *form.classes)
    claimed = checkpoint.class_name or model_name(checkpoint.hyper_parameters)
    if named is False and claimed in known:
        raise Mismatch(f"the file says that its class is {claimed}")
    activation, iterations = _activation(form, checkpoint), needed(checkpoint, "n_graph_iters", int)
    if iterations < 0:
        raise Mismatch(f"hyper-parameter 'n_graph_iters' is {iterations}")
    directed = flag(checkpoint, "directed")
    cut, said = score_cut(checkpoint, "edge_cut")
    if form.doubles and not directed:
        said += (GIVEN_ONCE,) if not form.one_way else (DOUBLED,) if directed is None else ()
    facts = Facts(cut=cut, undirected=False if directed else True if form.one_way else None)
    readings: list[Reading] = []
    for parts in _readable(form, checkpoint, activation):
        assumed = list(said)
        if form.encoder_relu and len(parts.encoder.chain.widths) > 1 and activation != "ReLU":
            assumed.append(f"Hidden layers of {form.keys[0]} are ReLU, as in {form.title}, not {activation}.")
        if named is False:
            assumed.append(f"The file says {claimed}, which trkx does not know; keys and shapes are those of {form.title}.")
        spec = AttentionSpec(parts.encoder.chain, parts.edge.chain, parts.node.chain, iterations, form.shortcut, form.node_inputs,
                             form.aggregations(checkpoint), form.residual)
        readings.append(Reading(form.name, "gnn", spec, parts.weights(), parts.encoder.inputs, facts, tuple(assumed),
                                certain=named is True))
    return readings


def _readable(form: Form, checkpoint: Checkpoint, activation: str) -> list[Parts]:
    """Return the networks under each make_mlp and each choice of norms that the file leaves open; Mismatch if nothing fits."""
    found: list[Parts] = []
    reasons: list[str] = []
    for edge, style, wanted in _edge_networks(form, checkpoint, activation):
        hidden = "ReLU" if form.encoder_relu else activation
        try:
            encoder = read_part(checkpoint, form.keys[0], style,
                                replace(wanted, activation=hidden, output=activation if form.encoder_output else ""))
            node = read_part(checkpoint, form.keys[2], style, replace(wanted, output=activation if form.node_output else ""))
            parts = Parts(encoder, edge, node)
            check_parts(form, checkpoint, parts)
            found.append(parts)
        except Mismatch as mismatch:
            reasons.append(str(mismatch))
    if not found:
        raise Mismatch(reasons[0])
    return found


def _edge_networks(form: Form, checkpoint: Checkpoint, activation: str) -> list[tuple[Part, Style, Wanted]]:
    """Return the edge network as each make_mlp builds it, where that differs: its hidden layers show which norms there are."""
    layer_norm = flag(checkpoint, "layernorm")
    layer_norm = flag(checkpoint, "layer_norm") if layer_norm is None else layer_norm
    batch_norm = flag(checkpoint, "batchnorm") if form.batch_norm else False
    if batch_norm is None and layer_norm is not None:
        batch_norm = False  # the constructor's own default
    found: list[tuple[Part, Style, Wanted]] = []
    reasons: list[str] = []
    both = (False, True)
    for style, layer, batch in product(form.styles, both if layer_norm is None else (layer_norm,),
                                       both if batch_norm is None else (batch_norm,)):
        wanted = Wanted(activation, layer_norm=layer, batch_norm=batch)
        try:
            part = read_part(checkpoint, form.keys[1], style, wanted)
        except Mismatch as mismatch:
            reasons.append(str(mismatch))
            continue
        if part not in [other for other, _, _ in found]:
            found.append((part, style, wanted))
    if not found:
        raise Mismatch(reasons[0])
    return found


def _activation(form: Form, checkpoint: Checkpoint) -> str:
    """Return the class of activations: of the hyper-parameters, or the only one that the file names in the edge network."""
    if optional(checkpoint, "hidden_activation", str) is None:
        held = {name for path, name in checkpoint.modules.items() if path.startswith(f"{form.keys[1]}.") and name in ACTIVATIONS}
        if len(held) == 1:
            return held.pop()
    return needed(checkpoint, "hidden_activation", str)
