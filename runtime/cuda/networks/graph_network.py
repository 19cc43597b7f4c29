"""Interaction networks on a device: nodes are multiplied once per hit, edges gather products, and no concatenation exists.

Of the size of the edges there are their states, once (and once more where a network reads the first ones), and indices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from trkx.errors import InputError
from trkx.runtime.cuda.networks.chain import DeviceChain, Gather, PairInputs
from trkx.runtime.cuda.networks.graph_layout import DeviceLayout, device_layout, require_edges
from trkx.runtime.cuda.networks.node_inputs import node_inputs, pair_inputs, require_columns
from trkx.runtime.cuda.networks.sums import Segments, gathered
from trkx.runtime.tiled.chains import Chain
from trkx.runtime.tiled.graph_form import GraphForm
from trkx.spec import Aggregation

States = dict[str, torch.Tensor]
"""Node and edge states by block name: "node", "edge", "node_first", "edge_first"."""


class GraphInputs(NamedTuple):
    """What an interaction network reads of one event: nothing but tensors of sizes that follow from the hits and the edges.

    nodes: float32 [N, width], what the node encoder reads. pair: of what pair features are made, if the network reads them.
    layout: of the edges. attributes: float32 [E, A] in its order, if the network reads them.
    """

    nodes: torch.Tensor
    pair: PairInputs | None
    layout: DeviceLayout
    attributes: torch.Tensor | None


Run = Callable[[GraphInputs], torch.Tensor]


class DeviceGraphNetwork:
    """An interaction network with its weights on a device, in one precision of trkx.runtime.precision."""

    def __init__(self, form: GraphForm, precision: str, device: torch.device) -> None:
        self._form = form
        made: dict[int, DeviceChain] = {}

        def on_device(chain: Chain) -> DeviceChain:
            """Return the chain on the device; one that is used in each iteration is there once."""
            if id(chain) not in made:
                made[id(chain)] = DeviceChain.of(chain, precision, device)
            return made[id(chain)]

        self._node_encoder, self._edge_encoder = on_device(form.node_encoder), on_device(form.edge_encoder)
        self._turns = [(on_device(n), on_device(e)) for n, e in zip(form.node_chains, form.edge_chains, strict=True)]
        self._decoder = None if form.decoder is None else on_device(form.decoder)
        self._classifier = on_device(form.classifier)
        reads = {*form.node_inputs, *form.classifier_inputs, *form.edge_inputs}
        self._keeps_nodes = bool(reads & {"node_first", "source_first", "target_first"})
        self._keeps_edges = bool(reads & {"edge_first", "incoming_first", "outgoing_first", "both_first"})

    def __call__(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logit of each edge, float32 [E].

        Args:
            x: hits, float32 [N, F].
            edge_index: int64 [2, E], in any order; no sum depends on it if no edge stands there twice.
            edge_attr: float32 [E, A] where the network reads it.

        Raises:
            InputError: other shapes, or edges that name a hit that does not exist.
        """
        return self.judged(x, edge_index, edge_attr, self.logits)

    def judged(
        self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None, run: Run, cut: bool | None = None
    ) -> torch.Tensor:
        """Return the same; `run` is what makes logits of inputs: `logits`, or what replays it. cut: as in `device_layout`."""
        self.check(x, edge_index, edge_attr)
        count = edge_index.shape[1]
        if not count:
            return torch.empty(0, dtype=torch.float32, device=x.device)
        if not self._form.undirected:
            given = self.inputs(x, edge_index, edge_attr, cut)
            return given.layout.unsorted(run(given))
        given = self.inputs(x, torch.cat([edge_index, edge_index.flip(0)], 1), None, cut)
        both = given.layout.unsorted(run(given))
        return 0.5 * (both[:count] + both[count:])

    def check(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None) -> None:
        """Raise InputError where shapes or dtypes are not what the network reads."""
        require_edges(edge_index)
        require_columns(self._form.inputs, x)
        if self._form.encoder_reads == "attributes":
            wanted = [edge_index.shape[1], self._form.edge_encoder.blocks["attributes"].shape[1]]
            if edge_attr is None or list(edge_attr.shape) != wanted:
                found = "none" if edge_attr is None else list(edge_attr.shape)
                raise InputError(f"this network reads edge_attr, float32 {wanted}; found {found}.")

    def inputs(
        self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None, cut: bool | None = None
    ) -> GraphInputs:
        """Return what `logits` reads of an event that `check` has seen. Waits for the device once."""
        form = self._form
        nodes = node_inputs(form.inputs, x)
        layout = device_layout(edge_index, len(x), cut)
        reads = form.encoder_reads == "attributes"
        attributes = layout.sorted(edge_attr.to(torch.float32)).contiguous() if edge_attr is not None and reads else None
        pair = pair_inputs(form.inputs, x) if "pair" in form.edge_encoder.blocks else None
        return GraphInputs(nodes, pair, layout, attributes)

    def logits(self, given: GraphInputs) -> torch.Tensor:
        """Return the logits of edges in the order of the layout, float32 [E]. Does not wait for the device."""
        form, layout = self._form, given.layout
        state: States = {"node": self._node_encoder.states(len(given.nodes), {"x": given.nodes})}
        state["edge"] = self._encoded_edges(given, state["node"])
        if self._keeps_nodes:
            state["node_first"] = state["node"].clone()
        if self._keeps_edges:
            state["edge_first"] = state["edge"].clone()
        first = self._messages(state, layout, first=True) if form.node_chains else {}
        for node, edge in self._turns:
            if form.order == "edges":
                self._move_edges(edge, self._gathers(edge, form.edge_inputs, state, layout), state, layout)
                self._move_nodes(node, first, state, layout)
            elif form.order == "nodes":
                self._move_nodes(node, first, state, layout)
                self._move_edges(edge, self._gathers(edge, form.edge_inputs, state, layout), state, layout)
            else:  # edges read products of nodes, not nodes: what they read stands before nodes move
                products = self._gathers(edge, form.edge_inputs, state, layout)
                self._move_nodes(node, first, state, layout)
                self._move_edges(edge, products, state, layout)
        products = self._gathers(self._classifier, form.classifier_inputs, state, layout)
        edges = len(layout.source)
        if self._decoder is not None:
            state["edge"] = self._decoder.states(edges, {"edge": state["edge"]})
        return self._classifier.logits(edges, _own(form.classifier_inputs, state), products)

    def _encoded_edges(self, given: GraphInputs, node: torch.Tensor) -> torch.Tensor:
        layout, chain = given.layout, self._edge_encoder
        edges = len(layout.source)
        if given.attributes is not None:
            return chain.states(edges, {"attributes": given.attributes})
        read = given.nodes if self._form.encoder_reads == "inputs" else node
        products = self._gathers(chain, ("source", "target"), {"node": read}, layout)
        pair = None if given.pair is None else (given.pair, layout.source, layout.target)
        return chain.states(edges, {}, products, pair)

    @staticmethod
    def _gathers(chain: DeviceChain, blocks: Sequence[str], state: States, layout: DeviceLayout) -> list[Gather]:
        """Return the products of the blocks of hits that an edge's chain reads; the first one has the bias."""
        found: list[Gather] = []
        for block in blocks:
            end = block.removesuffix("_first")
            if end == "edge":
                continue
            nodes = state["node" if block == end else "node_first"]
            index = layout.source if end == "source" else layout.target
            found.append(Gather(chain.product(block, nodes, with_bias=not found), index))
        return found

    def _move_edges(self, chain: DeviceChain, products: list[Gather], state: States, layout: DeviceLayout) -> None:
        """Write new edge states over the old ones: each row is read by none but its own edge."""
        form = self._form
        blocks = _own(form.edge_inputs, state)
        chain.states(
            len(layout.source), blocks, products, out=state["edge"], residual=form.edge_residual, squash=form.edge_squash
        )

    def _move_nodes(self, chain: DeviceChain, first: States, state: States, layout: DeviceLayout) -> None:
        blocks = first | self._messages(state, layout)
        chain.states(len(state["node"]), blocks, out=state["node"], residual=self._form.node_residual)

    def _messages(self, state: States, layout: DeviceLayout, first: bool = False) -> States:
        """Return the blocks of a node: those of the first states, which no iteration changes, or the others."""
        blocks: States = {}
        for block in self._form.node_inputs:
            place = block.removesuffix("_first")
            if (place != block) != first:
                continue
            if place == "node":
                blocks[block] = state[block]
                continue
            told = state["edge_first" if first else "edge"]
            for kind in self._form.aggregations:
                blocks[f"{block} {kind}"] = _gathered(place, kind, told, layout)
        return blocks


def _gathered(place: str, kind: Aggregation, told: torch.Tensor, layout: DeviceLayout) -> torch.Tensor:
    """Return what hits gather, float32 [N, W], of edge values: of "incoming" edges, of "outgoing" ones, or "both" added up."""
    ways: dict[str, Segments] = {"incoming": layout.incoming, "outgoing": layout.outgoing}
    parts = [gathered(kind, told, ways[way]) for way in (ways if place == "both" else (place,))]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _own(names: Sequence[str], state: States) -> States:
    """Return the blocks that stand in the edges' own states."""
    return {name: state[name] for name in names if name.removesuffix("_first") == "edge"}
