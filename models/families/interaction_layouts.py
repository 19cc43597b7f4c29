"""What tells the interaction networks of Tracking-ML-Exa.TrkX apart: widths, norms, blocks and orders, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from trkx.models.families.layouts import COMMON, COMMON_EARLY, TRACKML, Style
from trkx.spec import Aggregation, EdgeBlock, NodeBlock

PARTS = ("node_encoder", "edge_encoder", "node_network", "edge_network", "output_edge_classifier")
INNER = PARTS[:-1]
Widths = dict[str, tuple[int, ...]]

SUMS: Mapping[str, tuple[Aggregation, ...]] = {"sum": ("sum",), "max": ("max",), "sum_max": ("max", "sum")}
MEANS: Mapping[str, tuple[Aggregation, ...]] = {"mean": ("mean",), "mean_max": ("max", "mean"), "mean_sum": ("mean", "sum")}
"""Names of hyper-parameters to aggregates in the order of their columns."""


def even(state: int, nodes: int, edges: int) -> Widths:
    """Return the layers of each part where all are as wide as a state; nodes, edges: how many layers."""
    node, edge = (state,) * nodes, (state,) * edges
    return {"node_encoder": node, "edge_encoder": edge, "node_network": node, "edge_network": edge,
            "output_edge_classifier": (*edge, 1)}


def short_encoder(state: int, nodes: int, edges: int) -> Widths:
    """Return layers as `even`, with one layer in the node encoder."""
    return even(state, nodes, edges) | {"node_encoder": (state,)}


def short_ends(state: int, nodes: int, edges: int) -> Widths:
    """Return layers as `even`, with one layer in the node encoder and two in the classifier."""
    return short_encoder(state, nodes, edges) | {"output_edge_classifier": (state, 1)}


def halved(state: int, nodes: int, edges: int) -> Widths:
    """Return layers of twice a state's width, then of its width, whatever the counts."""
    return dict.fromkeys(INNER, (2 * state, state)) | {"output_edge_classifier": (2 * state, state, 1)}


@dataclass(frozen=True)
class Layout:
    """One class.

    Attributes:
        family, title, forward: of the row.
        styles: versions of `make_mlp` that it was used with.
        widths: (width of a state, layers of nodes, layers of edges) to the layers of each part.
        takes: columns that each part may take, in widths of a state; () for any.
        order, node_inputs, edge_inputs, residual: as in MessagePassingSpec.
        squash: `edge_squash` there.
        aggregations: by the word in the hyper-parameters; None if the class has no such hyper-parameter and sums.
        activated: parts that end in an activation: the one of hidden layers, or with `output_activation` the one of that name.
        output_activation: it has the hyper-parameter of that name.
        relu: parts whose hidden layers have ReLU whatever the hyper-parameters say.
        batch_norm: it reads the hyper-parameter `batchnorm`.
        per_iteration: node and edge networks of their own for each iteration.
        doubles: the code base gives it each edge in both directions.
        foreign: hyper-parameters that it never has, but a class with the same weights does.
        counts: it reads nb_node_layer and nb_edge_layer.
        assumed: sentences for the reading.
    """

    family: str
    title: str
    forward: str
    styles: tuple[Style, ...]
    widths: Callable[[int, int, int], Widths]
    takes: Mapping[str, tuple[int, ...]]
    order: Literal["nodes", "together"]
    node_inputs: tuple[NodeBlock, ...] = ("node", "incoming")
    edge_inputs: tuple[EdgeBlock, ...] = ("source", "target", "edge")
    residual: bool = True
    squash: bool = False
    aggregations: Mapping[str, tuple[Aggregation, ...]] | None = None
    activated: tuple[str, ...] = ()
    output_activation: bool = False
    relu: tuple[str, ...] = ()
    batch_norm: bool = False
    per_iteration: bool = False
    doubles: bool = True
    foreign: tuple[str, ...] = ()
    counts: bool = True
    assumed: tuple[str, ...] = ()

    def layer_counts(self, nodes: int, edges: int) -> list[tuple[str, int]]:
        """Return the hyper-parameters that say how many layers there are, with what the weights have."""
        return [("nb_node_layer", nodes), ("nb_edge_layer", edges)] if self.counts else []


NEW = {"node_encoder": (), "edge_encoder": (2,), "node_network": (2, 3), "edge_network": (3,), "output_edge_classifier": (3,)}
OLD = NEW | {"node_network": (4,), "edge_network": (4,)}

LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "interaction-trackml",
        "Tracking-ML-Exa.TrkX, TrackML_Example (also the Quickstart and the ODD demonstrator): InteractionGNN",
        "edges read the node states from before the iteration", (TRACKML,), even, NEW, "together", aggregations=SUMS,
        foreign=("batchnorm", "output_activation"),
    ),
    Layout(
        "interaction-common", "Tracking-ML-Exa.TrkX, Common_Tracking_Example: InteractionGNN",
        "edges read the node states that the iteration has just made", (COMMON, COMMON_EARLY), even, NEW, "nodes",
        aggregations={**SUMS, **MEANS}, activated=INNER, output_activation=True, batch_norm=True,
    ),
    Layout(
        "interaction-multi", "Tracking-ML-Exa.TrkX, Common_Tracking_Example: MultiInteractionGNN",
        "networks of their own for each iteration, states are added to, edges read the node states from before the iteration",
        (COMMON, COMMON_EARLY), short_encoder, NEW, "together", aggregations=SUMS, activated=("node_encoder",),
        per_iteration=True,
    ),
    Layout(
        "interaction-old", "Tracking-ML-Exa.TrkX, Architectures and GNNRobustness: InteractionGNN before residuals",
        "states beside the encoder's, sums over both directions, a sigmoid on edge states", (TRACKML,), short_ends, OLD, "nodes",
        ("node", "node_first", "both", "both_first"), ("source", "target", "edge", "edge_first"), residual=False, squash=True,
        activated=("node_encoder",), doubles=False,
    ),
    Layout(
        "interaction-multistep",
        "Tracking-ML-Exa.TrkX, ITk_Example and Common_Tracking_Example: (Checkpointed)InteractionMultistepGNN",
        "as interaction-old, with layers of h and h/2 columns that end in an activation; the logits of the last iteration",
        (TRACKML, COMMON), halved, OLD, "nodes",
        ("node", "node_first", "both", "both_first"), ("source", "target", "edge", "edge_first"), residual=False, squash=True,
        activated=INNER, relu=("node_encoder",), doubles=False, counts=False,
        assumed=("Of the logits that it gives after every iteration, the last are taken, as its validation does.",),
    ),
)
