"""InteractionGNN of acorn and gnn4itk_cf: nodes move first, edges read them, no residual. Also its TorchScript and PyG forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.acorn_hyper import (
    aggregation_list,
    check_class,
    check_numbers,
    check_switches,
    early_aggregations,
    facts_of,
    is_newer,
    switch,
)
from trkx.models.families.acorn_parts import Parts, check_keys, counted, ends_in_sigmoid, iterations_of, output_activation
from trkx.models.families.hyper import names_class
from trkx.models.families.layouts import ACORN, GNN4ITK, Part, Style
from trkx.models.families.reading import Mismatch, Reading
from trkx.spec import Aggregation, MessagePassingSpec

Read = Callable[[Checkpoint], Sequence[Reading]]
JIT = "RecurrentInteractionGNN"
STD = "The spread (std) of a hit's edges is 0 where it is at most sqrt(1e-5), as in PyTorch Geometric but for some of 2022."
MEAN_OF_TWO = "The network runs edges in both directions and gives the mean of the two logits: the graph holds each edge once."
ONE_DIRECTION = "TorchScript forms ignore 'undirected': edges run in the direction in which they are given."
SIGMOID_DROPPED = "The sigmoid at the end of the class is left out: the network gives logits, the runtime applies the sigmoid."
NO_CUT = "edge_cut is not taken over: training code applies a second sigmoid before it."


def interaction(family: str, style: Style) -> Read:
    """Return the reader of InteractionGNN as one code base builds it."""

    def read(checkpoint: Checkpoint) -> list[Reading]:
        check_keys(checkpoint, "node_encoder", "edge_encoder", "node_network|node_networks", "edge_network|edge_networks",
                   "output_edge_classifier")
        check_class(checkpoint, "InteractionGNN", *([JIT] if style is ACORN else []))
        jit = names_class(checkpoint, JIT) is True
        parts, output = Parts(checkpoint, style, output_norms=jit), output_activation(checkpoint, "node_encoder")
        counts = counted(checkpoint, "edge_networks"), counted(checkpoint, "node_networks")
        encoder = parts.read("node_encoder", "node_encoder", output)
        edge_encoder = parts.read("edge_encoder", "edge_encoder", output)
        edge = parts.read_each(_places("edge_network", counts[0]), "edge_networks", output)
        node = parts.read_each(_places("node_network", counts[1]), "node_networks", output)
        classifier = parts.read("output_edge_classifier", "classifier", "")
        parts.done()
        undirected = not jit and _undirected(checkpoint)
        aggregations = _aggregations(checkpoint, style, jit)
        _check_widths(checkpoint, encoder, edge_encoder, node, edge, classifier, aggregations)
        check_switches(checkpoint, {"edge_net_recurrent": counts[0] == 0, "node_net_recurrent": counts[1] == 0})
        iterations = iterations_of(checkpoint, *counts)
        spec = MessagePassingSpec(
            encoder.chain, edge_encoder.chain, node.chain, edge.chain, classifier.chain, iterations,
            aggregations=aggregations, node_inputs=("node", "incoming", "outgoing"),
            shared_nodes=counts[1] == 0, shared_edges=counts[0] == 0, undirected=undirected,
        )
        assumed = [STD] * ("std" in aggregations) + [MEAN_OF_TWO] * undirected + [ONE_DIRECTION, SIGMOID_DROPPED] * jit
        certain = style is ACORN and (is_newer(checkpoint) or jit)
        facts, left_aside = facts_of(checkpoint, encoder.inputs, undirected=None if jit else undirected)
        return [Reading(family, "gnn", spec, parts.weights, encoder.inputs, facts, (*assumed, *left_aside), certain)]

    return read


def interaction_pyg(family: str, style: Style, silu: bool = False) -> Read:
    """Return the reader of InteractionGNNWithPyG; `silu`: its iterations end in SiLU, their default, its encoders in nothing."""

    def read(checkpoint: Checkpoint) -> list[Reading]:
        check_keys(checkpoint, "node_encoder", "edge_encoder", "convs", "output_edge_classifier")
        check_class(checkpoint, "InteractionGNNWithPyG")
        parts, output = Parts(checkpoint, style), output_activation(checkpoint, "node_encoder")
        if silu and output:
            raise Mismatch(f"output_activation is given ({output}), so that iterations do not fall back to SiLU")
        if style is GNN4ITK and parts.with_batch_norm:
            raise Mismatch("versions with and without a batch norm before the final sigmoid have the same keys")
        count = counted(checkpoint, "convs")
        within = "SiLU" if silu else output
        encoder = parts.read("node_encoder", "node_encoder", output)
        edge_encoder = parts.read("edge_encoder", "edge_encoder", output)
        edge = parts.read_each([f"convs.{place}.edge_network" for place in range(count)], "edge_networks", within)
        node = parts.read_each([f"convs.{place}.node_network" for place in range(count)], "node_networks", within)
        sigmoid = ends_in_sigmoid(checkpoint, "output_edge_classifier")
        classifier = parts.read_logits("output_edge_classifier", "classifier", sigmoid)
        parts.done()
        if _undirected(checkpoint):
            raise Mismatch("'undirected' is true: this class then gives the mean of two probabilities, not of logits")
        aggregations = aggregation_list(checkpoint)
        _check_widths(checkpoint, encoder, edge_encoder, node, edge, classifier, aggregations)
        iterations = iterations_of(checkpoint, count)
        spec = MessagePassingSpec(
            encoder.chain, edge_encoder.chain, node.chain, edge.chain, classifier.chain, iterations, aggregations=aggregations,
            node_inputs=("node", "incoming", "outgoing"), shared_nodes=False, shared_edges=False,
        )
        assumed = (*[STD] * ("std" in aggregations), SIGMOID_DROPPED, NO_CUT)
        facts, _ = facts_of(checkpoint, encoder.inputs, cut=False, undirected=False)
        certain = style is ACORN and is_newer(checkpoint)
        return [Reading(family, "gnn", spec, parts.weights, encoder.inputs, facts, assumed, certain)]

    return read


def _aggregations(checkpoint: Checkpoint, style: Style, jit: bool) -> tuple[Aggregation, ...]:
    if jit:
        return ("sum",)
    return aggregation_list(checkpoint) if style is ACORN else early_aggregations(checkpoint)


def _undirected(checkpoint: Checkpoint) -> bool:
    undirected = switch(checkpoint, "undirected")
    if undirected and checkpoint.hyper_parameters.get("dataset_class") == "HeteroGraphDataset":
        raise Mismatch("'undirected' with HeteroGraphDataset gives each edge two logits, of which trkx can't make one")
    return undirected


def _places(name: str, count: int) -> list[str]:
    return [f"{name}s.{place}" for place in range(count)] if count else [name]


def _check_widths(checkpoint: Checkpoint, encoder: Part, edge_encoder: Part, node: Part, edge: Part, classifier: Part,
                  aggregations: tuple[Aggregation, ...]) -> None:
    hidden = encoder.chain.out
    numbers = {
        "the edge encoder's input": (edge_encoder.inputs, 2 * hidden),
        "an edge's input": (edge.inputs, 3 * hidden),
        f"a node's input with aggregation {', '.join(aggregations)}": (node.inputs, (1 + 2 * len(aggregations)) * hidden),
        "the classifier's input": (classifier.inputs, 3 * hidden),
        "the edge state": (edge.chain.out, hidden), "the node state": (node.chain.out, hidden),
        "the first edge state": (edge_encoder.chain.out, hidden), "the logit": (classifier.chain.out, 1),
    }
    for name, (found, expected) in numbers.items():
        if found != expected:
            raise Mismatch(f"{name} has {found} columns, expected {expected}")
    layers = {"nb_node_layer": len(node.chain.widths), "nb_edge_layer": len(edge.chain.widths)}
    check_numbers(checkpoint, {"hidden": hidden, **layers})
