"""What one ResAGNN-like class of another code base builds, and the checks that a checkpoint is that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.hyper import needed, optional
from trkx.models.families.layouts import Part, Style
from trkx.models.families.reading import Mismatch
from trkx.models.families.sequentials import check_modules
from trkx.spec import Aggregation, NodeBlock

AGGREGATIONS: Mapping[str, tuple[Aggregation, ...]] = {"sum": ("sum",), "max": ("max",), "sum_max": ("max", "sum")}
"""Hyper-parameter `aggregation` to ours, in the order of the concatenation; the classes have no branch for others."""


@dataclass(frozen=True)
class Form:
    """One class: its keys, its widths, its forward.

    Attributes:
        name, title, forward: as in Family.
        classes: names that it has.
        styles: versions of make_mlp that it was built with.
        keys: where the node encoder, the edge network and the node network are.
        node_inputs, shortcut, residual: as in AttentionSpec.
        aggregates: hyper-parameter `aggregation` says how messages are gathered; sums otherwise.
        wide_edges: hidden layers of the edge network have the width of the state; that of `hidden` otherwise.
        encoder_relu: hidden layers of the encoder are ReLU whatever `hidden_activation` says: the class does not hand it on.
        encoder_output, node_output: an activation ends the encoder, the node network.
        encoder_layers: how many layers the encoder has; as many as the node network if None.
        halving: which of "encoder", "edge", "node" halve their width from layer to layer.
        pyramid: all three have exactly two hidden widths.
        batch_norm: hyper-parameter `batchnorm` counts.
        depths: hyper-parameters that count the layers of the node network and the hidden layers of the edge network.
        doubles: the code base may have given it each edge in both directions.
    """

    name: str
    title: str
    forward: str
    classes: tuple[str, ...]
    styles: tuple[Style, ...]
    keys: tuple[str, str, str] = ("input_network", "edge_network", "node_network")
    node_inputs: tuple[NodeBlock, ...] = ("both", "node")
    shortcut: bool = True
    residual: bool = True
    aggregates: bool = False
    wide_edges: bool = False
    encoder_relu: bool = True
    encoder_output: bool = True
    node_output: bool = False
    encoder_layers: int | None = None
    halving: tuple[str, ...] = ()
    pyramid: bool = False
    batch_norm: bool = False
    depths: tuple[str, str] = ("nb_node_layer", "nb_edge_layer")
    doubles: bool = True

    @property
    def one_way(self) -> bool:
        """Whether hits hear their edges at one end only."""
        return not {"incoming", "outgoing"} <= set(self.node_inputs) and "both" not in self.node_inputs

    def aggregations(self, checkpoint: Checkpoint) -> tuple[Aggregation, ...]:
        """Return how messages are gathered; Mismatch if the hyper-parameters do not say it."""
        if not self.aggregates:
            return ("sum",)
        name = needed(checkpoint, "aggregation", str)
        if name not in AGGREGATIONS:
            raise Mismatch(f"aggregation '{name}' is none that {self.title} computes: {', '.join(AGGREGATIONS)}")
        return AGGREGATIONS[name]


@dataclass(frozen=True)
class Parts:
    """The three networks of a file."""

    encoder: Part
    edge: Part
    node: Part

    def weights(self) -> dict[str, str]:
        """Return our keys with those of the file."""
        return self.encoder.under("node_encoder") | self.edge.under("edge_network") | self.node.under("node_network")


def check_parts(form: Form, checkpoint: Checkpoint, parts: Parts) -> None:
    """Raise Mismatch unless widths, hyper-parameters, and the layers and keys of the file are those of the class."""
    _check_widths(form, checkpoint, parts)
    _check_sizes(form, checkpoint, parts)
    for prefix, part in zip(form.keys, (parts.encoder, parts.edge, parts.node), strict=True):
        check_modules(checkpoint, prefix, part.chain)
    extra = sorted(checkpoint.shapes.keys() - set(parts.weights().values()))
    extra = [key for key in extra if not key.endswith(".num_batches_tracked")]
    if extra:
        raise Mismatch(f"it also has {', '.join(extra[:4])}{' …' if len(extra) > 4 else ''}, which {form.title} has not")


def _check_widths(form: Form, checkpoint: Checkpoint, parts: Parts) -> None:
    """Raise Mismatch unless widths are those that the constructor gives for the width of the encoder's first layer."""
    encoder, edge, node = parts.encoder.chain, parts.edge.chain, parts.node.chain
    hidden, node_layers, edge_layers = encoder.widths[0], len(node.widths), len(edge.widths) - 1
    state = encoder.out + parts.encoder.inputs if form.shortcut else encoder.out
    blocks = 1 + (len(form.node_inputs) - 1) * len(form.aggregations(checkpoint))

    def widths(network: str, width: int, layers: int) -> tuple[int, ...]:
        return tuple(width // 2**place if network in form.halving else width for place in range(layers))

    expected = (
        (form.keys[0], "has layers of", encoder.widths, widths("encoder", hidden, form.encoder_layers or node_layers)),
        (form.keys[1], "takes", (parts.edge.inputs,), (2 * state,)),
        (form.keys[1], "has layers of", edge.widths, (*widths("edge", state if form.wide_edges else hidden, edge_layers), 1)),
        (form.keys[2], "takes", (parts.node.inputs,), (blocks * state,)),
        (form.keys[2], "has layers of", node.widths, widths("node", hidden, node_layers)),
    )
    for prefix, verb, found, wanted in expected:
        if found != wanted:
            raise Mismatch(f"{prefix} {verb} {_listed(found)} columns, that of {form.title} {_listed(wanted)}")
    if edge_layers < 1 or (form.pyramid and (node_layers, edge_layers) != (2, 2)):
        wanted_layers = "2" if form.pyramid else "at least 1"
        raise Mismatch(f"{form.keys[1]} has {edge_layers} hidden layers, that of {form.title} {wanted_layers}")


def _check_sizes(form: Form, checkpoint: Checkpoint, parts: Parts) -> None:
    """Raise Mismatch if hyper-parameters contradict the shapes."""
    encoder, edge, node = parts.encoder.chain, parts.edge.chain, parts.node.chain
    sizes = [("hidden", encoder.widths[0])]
    if not form.pyramid:
        sizes += [(form.depths[0], len(node.widths)), (form.depths[1], len(edge.widths) - 1)]
    for name, size in sizes:
        said = optional(checkpoint, name, int)
        if said is not None and said != size:
            raise Mismatch(f"hyper-parameter '{name}' is {said}, but the weights have {size}")
    taken = parts.encoder.inputs
    whole, *halves = (optional(checkpoint, name, int) for name in ("in_channels", "spatial_channels", "cell_channels"))
    channels = {} if whole is None else {"in_channels": whole}
    if halves[0] is not None and halves[1] is not None:
        channels["spatial_channels + cell_channels"] = halves[0] + halves[1]
    if channels and taken not in channels.values():
        words = " and ".join(f"{name} {value}" for name, value in channels.items())
        raise Mismatch(f"hyper-parameters say {words}, but the weights take {taken} columns")


def _listed(widths: Sequence[int]) -> str:
    return ", ".join(map(str, widths))
