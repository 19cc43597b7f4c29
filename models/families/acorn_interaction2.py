"""InteractionGNN2 of acorn (L2IT) and gnn4itk_cf: edges move first, a decoder reads them alone. Also its other forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.acorn_hyper import (
    AGGREGATIONS,
    absent_means_default,
    check_class,
    check_numbers,
    check_switches,
    facts_of,
    is_newer,
    plain_names,
    text,
)
from trkx.models.families.acorn_interaction import NO_CUT, SIGMOID_DROPPED
from trkx.models.families.acorn_parts import Parts, check_keys, counted, iterations_of, output_activation
from trkx.models.families.hyper import names_class
from trkx.models.families.layouts import ACORN, Style
from trkx.models.families.reading import Mismatch, Reading
from trkx.spec import Aggregation, EdgeBlock, MessagePassingSpec, NodeBlock

Read = Callable[[Checkpoint], Sequence[Reading]]
JITS = ("RecurrentInteractionGNN2", "ChainedInteractionGNN2")
REGION = ("The training class copies columns 0 to 3 into 4 to 11 for hits of region 2 and 6 (strip endcaps) before the network; "
          "here the features must come so.")
ENDS = ("node_encoder", "edge_encoder", "edge_decoder", "edge_output_transform")
ADDS = ("", "sum", "add")
EDGES: Mapping[bool, tuple[EdgeBlock, ...]] = {
    False: ("edge", "source", "target"),
    True: ("edge", "edge_first", "source", "source_first", "target", "target_first"),
}
"""What an edge of InteractionGNN2 reads, without and with `concat`."""
PYG_EDGES: Mapping[bool, tuple[EdgeBlock, ...]] = {
    False: ("source", "target", "edge"), True: ("source", "target", "edge", "edge_first"),
}
NODES: Mapping[tuple[bool, bool], tuple[NodeBlock, ...]] = {
    (False, False): ("both", "node"), (False, True): ("incoming", "outgoing", "node"),
    (True, False): ("both", "node", "node_first"), (True, True): ("incoming", "outgoing", "node", "node_first"),
}
"""What a node of InteractionGNN2 reads, by `concat` and `in_out_diff_agg`."""
PYG_NODES: Mapping[tuple[bool, bool], tuple[NodeBlock, ...]] = {
    (False, False): ("node", "both"), (False, True): ("node", "incoming", "outgoing"),
    (True, False): ("node", "node_first", "both", "both_first"),
    (True, True): ("node", "node_first", "incoming", "incoming_first", "outgoing", "outgoing_first"),
}


def interaction2(family: str, style: Style, summed: bool = False) -> Read:
    """Return the reader of InteractionGNN2; `summed`: as versions that know no other aggregation than the sum read `aggr`."""

    def read(checkpoint: Checkpoint) -> list[Reading]:
        check_keys(checkpoint, *ENDS, "node_network", "edge_network")
        check_class(checkpoint, "InteractionGNN2", *(JITS if style is ACORN else ()))
        jit = names_class(checkpoint, *JITS) is True
        aggregation = _aggregation(checkpoint, style, summed, jit)
        ends = _Ends(checkpoint, style)
        counts = counted(checkpoint, "edge_network"), counted(checkpoint, "node_network")
        edge = ends.parts.read_each(_places("edge_network", counts[0]), "edge_networks", ends.output)
        node = ends.parts.read_each(_places("node_network", counts[1]), "node_networks", ends.output)
        ends.parts.done()
        check_switches(checkpoint, {"edge_net_recurrent": counts[0] == 0, "node_net_recurrent": counts[1] == 0})
        concat = _one_of("an edge's input", edge.inputs, ends.hidden, {3: False, 6: True})
        apart = _one_of("a node's input", node.inputs, ends.hidden, {3: False, 4: True} if concat else {2: False, 3: True})
        check_switches(checkpoint, {"concat": concat, "in_out_diff_agg": apart})
        spec = MessagePassingSpec(
            ends.node_encoder.chain, ends.edge_encoder.chain, node.chain, edge.chain, ends.classifier.chain,
            iterations_of(checkpoint, *counts), ends.decoder.chain, "edges", (aggregation,), NODES[concat, apart], EDGES[concat],
            ("edge",), shared_nodes=counts[1] == 0, shared_edges=counts[0] == 0, edge_features=ends.edge_features,
        )
        region = style is ACORN and not jit and ends.node_encoder.inputs == 12
        return [ends.reading(family, spec, (REGION,) if region else (), certain=style is ACORN and (is_newer(checkpoint) or jit))]

    return read


def interaction2_pyg(family: str, style: Style, summed: bool = False) -> Read:
    """Return the reader of InteractionGNN2WithPyG: nodes move first, and edges read them before what they remember."""

    def read(checkpoint: Checkpoint) -> list[Reading]:
        check_keys(checkpoint, *ENDS, "convs")
        check_class(checkpoint, "InteractionGNN2WithPyG")
        aggregation = _pyg_aggregation(checkpoint, style, summed)
        ends, count = _Ends(checkpoint, style), counted(checkpoint, "convs")
        edge = ends.parts.read_each([f"convs.{place}.edge_network" for place in range(count)], "edge_networks", ends.output)
        node = ends.parts.read_each([f"convs.{place}.node_network" for place in range(count)], "node_networks", ends.output)
        ends.parts.done(unused=("edge_network", "node_network"))
        concat = _one_of("an edge's input", edge.inputs, ends.hidden, {3: False, 4: True})
        apart = _one_of("a node's input", node.inputs, ends.hidden, {4: False, 6: True} if concat else {2: False, 3: True})
        check_switches(checkpoint, {"concat": concat, "in_out_diff_agg": apart})
        spec = MessagePassingSpec(
            ends.node_encoder.chain, ends.edge_encoder.chain, node.chain, edge.chain, ends.classifier.chain,
            iterations_of(checkpoint, count), ends.decoder.chain, "nodes", (aggregation,), PYG_NODES[concat, apart],
            PYG_EDGES[concat], ("edge",), shared_nodes=False, shared_edges=False, edge_features=ends.edge_features,
        )
        return [ends.reading(family, spec, (), certain=style is ACORN and is_newer(checkpoint))]

    return read


class _Ends:
    """What comes before and after the iterations: encoders, decoder and the transform to a logit."""

    def __init__(self, checkpoint: Checkpoint, style: Style) -> None:
        self.checkpoint = checkpoint
        self.parts = parts = Parts(checkpoint, style, output_norms=True)
        self.output = output_activation(checkpoint, "node_encoder")
        final = output_activation(checkpoint, "edge_output_transform", "edge_output_transform_final_activation")
        if final not in ("", "Sigmoid") or (final and style is not ACORN):
            raise Mismatch(f"edge_output_transform_final_activation is '{final}': what it gives is no logit"
                           + ("" if style is ACORN else ", and the norms before it differ between versions"))
        self.sigmoid = bool(final)
        self.node_encoder = parts.read("node_encoder", "node_encoder", self.output)
        self.edge_encoder = parts.read("edge_encoder", "edge_encoder", self.output)
        self.decoder = parts.read("edge_decoder", "decoder", self.output)
        self.classifier = parts.read_logits("edge_output_transform", "classifier", self.sigmoid)
        self.hidden = self.node_encoder.chain.out
        absent_means_default(checkpoint, "edge_features")
        self.edge_features = plain_names(checkpoint, "edge_features") or ()
        reads = self.edge_encoder.inputs
        if reads != (len(self.edge_features) or 2 * self.hidden):
            said = f"lists {len(self.edge_features)}" if self.edge_features else "is absent"
            raise Mismatch(f"hyper-parameter 'edge_features' {said}, but the edge encoder reads {reads} columns")

    def reading(self, family: str, spec: MessagePassingSpec, assumed: tuple[str, ...], certain: bool) -> Reading:
        """Return the reading of a network with these ends."""
        inputs = self.node_encoder.inputs
        check_numbers(self.checkpoint, {
            "hidden": self.hidden, "n_node_net_layers": len(spec.node_network.widths),
            "n_edge_net_layers": len(spec.edge_network.widths), "n_edge_decoder_layers": len(self.decoder.chain.widths),
        })
        facts, left_aside = facts_of(self.checkpoint, inputs, cut=not self.sigmoid)
        dropped = (SIGMOID_DROPPED, NO_CUT) if self.sigmoid else ()
        return Reading(family, "gnn", spec, self.parts.weights, inputs, facts, (*assumed, *dropped, *left_aside), certain)


def _aggregation(checkpoint: Checkpoint, style: Style, summed: bool, jit: bool) -> Aggregation:
    said = "" if jit else text(checkpoint, "aggr")
    if said in ("", "sum"):
        if summed:
            raise Mismatch("hyper-parameter 'aggr' is sum or absent: acorn-interaction2 sums too")
        return "sum"
    return "sum" if summed or style is not ACORN else "mean"


def _pyg_aggregation(checkpoint: Checkpoint, style: Style, summed: bool) -> Aggregation:
    said = text(checkpoint, "aggr")
    if said in ADDS:
        if summed:
            raise Mismatch("hyper-parameter 'aggr' is a sum or absent: acorn-interaction2-pyg sums too")
        return "sum"
    if said not in AGGREGATIONS or (style is not ACORN and not summed):
        raise Mismatch(f"hyper-parameter 'aggr' is '{said}', which trkx does not take here")
    return "sum" if summed else AGGREGATIONS[said]


def _places(name: str, count: int) -> list[str]:
    return [f"{name}.{place}" for place in range(count)] if count else [name]


def _one_of(name: str, found: int, hidden: int, choices: Mapping[int, bool]) -> bool:
    """Return what a width says that is one of several multiples of the hidden width."""
    for factor, value in choices.items():
        if found == factor * hidden:
            return value
    raise Mismatch(f"{name} has {found} columns, expected {' or '.join(str(factor * hidden) for factor in choices)}")
