"""Interaction networks, tile by tile: edges gather, compute, keep their state and add to their target in one visit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.crew import Crew
from trkx.runtime.tiled.chains import Chain, Gathered, Rows, bindings, write_chain, write_logits, write_product
from trkx.runtime.tiled.edge_filter import tile_of, write_pairs
from trkx.runtime.tiled.emit import INT32
from trkx.runtime.tiled.gathering import Told, write_gathered
from trkx.runtime.tiled.gemm import stride
from trkx.runtime.tiled.graph_form import GraphForm
from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.layout import layout
from trkx.runtime.tiled.program import Arrays, Program, Tile, aligned, even_bounds
from trkx.runtime.tiled.rows import segment_added, settled

Float = NDArray[np.float32]
Int = NDArray[np.int64]


class TiledGraphNetwork:
    """An interaction network with its weights. Beside the edge states, nothing of the size of the edges is held but indices."""

    def __init__(self, form: GraphForm, target: Host) -> None:
        self._form = form
        widest = max(chain.widest for chain in form.chains)
        self._program = Program(tile_of(widest), target)
        self._node, self._edge = form.node_encoder.out, form.edge_encoder.out
        self._node_stride, self._edge_stride = stride(self._node, target), stride(self._edge, target)
        firsts = (form.edge_encoder, *form.edge_chains[:1], form.classifier)
        self._product_stride = max(stride(len(chain.layers[0].bias), target) for chain in firsts)
        self._one_visit = form.order == "edges" and form.aggregations == ("sum",) and "incoming" in form.node_inputs
        self._keep_nodes = any(name in ("source_first", "target_first") for name in (*form.edge_inputs, *form.classifier_inputs))
        self._keep_nodes |= "node_first" in form.node_inputs
        self._keep_edges = any(name.endswith("_first") and not name.startswith("node") for name in form.node_inputs)
        self._keep_edges |= "edge_first" in (*form.edge_inputs, *form.classifier_inputs)
        self._write()
        zeros = {"zeros": np.zeros(self._product_stride, np.float32)}
        self._encoders = {**bindings(form.node_encoder, "ne", target), **bindings(form.edge_encoder, "ee", target), **zeros}
        self._turns = [
            {**bindings(node, "nn", target), **bindings(edge, "en", target), **zeros}
            for node, edge in zip(form.node_chains, form.edge_chains, strict=True)
        ]
        self._judge = {**bindings(form.classifier, "cl", target), **zeros}
        if form.decoder is not None:
            self._judge |= bindings(form.decoder, "de", target)
        self._code = self._program.compiled()

    def _write(self) -> None:
        form, program = self._form, self._program
        program.phase("encode_nodes", self._encode_nodes)
        if form.encoder_reads != "attributes":
            self._write_products("encoder_products", form.edge_encoder, "ee")
        program.phase("encode_edges", self._encode_edges)
        if form.node_chains:
            program.phase("move_nodes", self._move_nodes)
            self._write_products("products", form.edge_chains[0], "en")
            program.phase("move_edges", self._move_edges)
        self._write_products("classifier_products", form.classifier, "cl")
        program.phase("judge", self._judge_edges)

    def _write_products(self, phase: str, chain: Chain, name: str) -> None:
        """Add the phase that multiplies hits with the blocks of a chain's first layer that edges will gather."""
        blocks = self._gathers(chain)

        def write(tile: Tile) -> None:
            for number, block in enumerate(blocks):
                if name == "ee" and self._form.encoder_reads == "inputs":
                    inputs = self._form.inputs.width
                    rows = Rows(block, tile.row("x", inputs), inputs)
                else:
                    state = "node_first" if block.endswith("_first") else "node"
                    rows = Rows(block, tile.row(state, self._node_stride), self._node_stride)
                write_product(tile, chain, name, rows, "zeros" if number else f"{name}.0.bias", f"product {block}")

        if blocks:
            self._program.phase(phase, write)

    @staticmethod
    def _gathers(chain: Chain) -> list[str]:
        return [name for name in chain.blocks if name.removesuffix("_first") in ("source", "target")]

    def _reads(self, tile: Tile, chain: Chain) -> tuple[list[Rows], list[Gathered]]:
        """Return what an edge's chain reads of the edges' states, and what it gathers."""
        rows = [
            Rows(name, tile.row(name, self._edge_stride), self._edge_stride)
            for name in ("edge", "edge_first")
            if name in chain.blocks
        ]
        return rows, [Gathered(f"product {name}", name.removesuffix("_first")) for name in self._gathers(chain)]

    def _encode_nodes(self, tile: Tile) -> None:
        width = self._form.inputs.width
        place, step = write_chain(tile, self._form.node_encoder, "ne", [Rows("x", tile.row("x", width), width)])
        settle = settled(tile.module, self._node, step, self._node_stride, False, False)
        tile.call(settle, tile.row("node", self._node_stride), place, tile.rows)

    def _encode_edges(self, tile: Tile) -> None:
        form = self._form
        if form.encoder_reads == "attributes":
            width = form.edge_encoder.blocks["attributes"].shape[1]
            rows = [Rows("attributes", tile.row("edge_attr", width), width)]
            gathers: list[Gathered] = []
        else:
            rows, (_, gathers) = write_pairs(tile, form.inputs, "source", "target"), self._reads(tile, form.edge_encoder)
        place, step = write_chain(tile, form.edge_encoder, "ee", rows, gathers)
        settle = settled(tile.module, self._edge, step, self._edge_stride, False, False)
        tile.call(settle, tile.row("edge", self._edge_stride), place, tile.rows)

    def _move_edges(self, tile: Tile) -> None:
        form = self._form
        place, step = write_chain(tile, form.edge_chains[0], "en", *self._reads(tile, form.edge_chains[0]))
        edge = tile.row("edge", self._edge_stride)
        tile.call(
            settled(tile.module, self._edge, step, self._edge_stride, form.edge_residual, form.edge_squash),
            edge,
            place,
            tile.rows,
        )
        if self._one_visit:
            add = segment_added(tile.module, self._edge, self._edge_stride)
            tile.call(add, edge, tile.row("target", 1, INT32), tile.whole("incoming"), tile.rows)

    def _move_nodes(self, tile: Tile) -> None:
        form = self._form
        rows: list[Rows] = []
        for block in form.node_inputs:
            place, array = block.removesuffix("_first"), "edge_first" if block.endswith("_first") else "edge"
            if place == "node":
                rows.append(Rows(block, tile.row(block, self._node_stride), self._node_stride))
            elif self._one_visit and block == "incoming":
                rows.append(Rows("incoming sum", tile.row("incoming", self._edge_stride), self._edge_stride))
            else:
                rows += write_gathered(tile, place, form.aggregations, Told(array, self._edge, self._edge_stride), block)
        place_out, step = write_chain(tile, form.node_chains[0], "nn", rows)
        settle = settled(tile.module, self._node, step, self._node_stride, form.node_residual, False)
        tile.call(settle, tile.row("node", self._node_stride), place_out, tile.rows)

    def _judge_edges(self, tile: Tile) -> None:
        form = self._form
        rows, gathers = self._reads(tile, form.classifier)
        if form.decoder is not None:
            place, step = write_chain(
                tile, form.decoder, "de", [Rows("edge", tile.row("edge", self._edge_stride), self._edge_stride)]
            )
            rows = [Rows("edge", place, step), *(row for row in rows if row.block != "edge")]
        write_logits(tile, form.classifier, "cl", write_chain(tile, form.classifier, "cl", rows, gathers), "out")

    def __call__(self, x: Float, edge_index: Int, edge_attr: Float | None, threads: int) -> Float:
        """Return the logit of each edge, float32 [E], of hits [N, F] and edges int64 [2, E] with attributes [E, A], if any."""
        if not self._form.undirected:
            return self._logits(x, edge_index, edge_attr, threads)
        count = edge_index.shape[1]
        both = self._logits(x, np.concatenate([edge_index, edge_index[::-1]], axis=1), None, threads)
        return np.float32(0.5) * (both[:count] + both[count:])

    def _logits(self, x: Float, edge_index: Int, edge_attr: Float | None, threads: int) -> Float:
        form, hits, edges = self._form, len(x), edge_index.shape[1]
        placed = layout(edge_index, hits)
        out = np.empty(edges, np.float32)
        state: dict[str, NDArray[Any]] = {
            **placed.arrays(),
            **form.inputs.columns(x),
            "x": form.inputs.of(x),
            "out": out,
            "node": aligned(hits, self._node_stride),
            "edge": aligned(edges, self._edge_stride),
        }
        if form.encoder_reads == "attributes":
            wanted = (edges, form.edge_encoder.blocks["attributes"].shape[1])
            if edge_attr is None or edge_attr.shape != wanted:
                found = "none" if edge_attr is None else list(edge_attr.shape)
                raise InputError(f"this network reads edge_attr, float32 {list(wanted)}; found {found}.")
            state["edge_attr"] = aligned(*edge_attr.shape)
            state["edge_attr"][:] = edge_attr if placed.order is None else edge_attr[placed.order]
        for chain in (form.edge_encoder, *form.edge_chains[:1], form.classifier):
            for block in self._gathers(chain):
                state[f"product {block}"] = state.get(f"product {block}", aligned(hits, self._product_stride))
        if self._one_visit:
            state["incoming"] = aligned(hits, self._edge_stride)
        tile = self._code.tile
        over_nodes = even_bounds(hits, tile, threads)
        over_edges = (
            placed.edge_bounds(max(tile, edges // (8 * threads))) if self._one_visit else even_bounds(edges, tile, threads)
        )
        with Crew(threads) as crew:

            def run(phase: str, weights: Arrays, bounds: list[int]) -> None:
                self._code.run_all(phase, {**state, **weights}, bounds, crew)

            run("encode_nodes", self._encoders, over_nodes)
            if form.encoder_reads != "attributes":
                run("encoder_products", self._encoders, over_nodes)
            run("encode_edges", self._encoders, over_edges)
            if self._keep_nodes:
                state["node_first"] = _copied(state["node"])
            if self._keep_edges:
                state["edge_first"] = _copied(state["edge"])
            for weights in self._turns:
                self._turn(run, weights, state, over_nodes, over_edges)
            if self._gathers(form.classifier):
                run("classifier_products", self._judge, over_nodes)
            run("judge", self._judge, over_edges)
        if placed.order is None:
            return out
        logits = np.empty(edges, np.float32)
        logits[placed.order] = out
        return logits

    def _turn(
        self, run: Any, weights: Arrays, state: Mapping[str, NDArray[Any]], over_nodes: list[int], over_edges: list[int]
    ) -> None:
        """Run one iteration. Edges read products of nodes, not nodes, so that who moves first is a matter of order alone."""
        order = self._form.order
        if order == "nodes":
            run("move_nodes", weights, over_nodes)
        if self._gathers(self._form.edge_chains[0]):
            run("products", weights, over_nodes)
        if order == "together":
            run("move_nodes", weights, over_nodes)
        if self._one_visit:
            state["incoming"].fill(0.0)
        run("move_edges", weights, over_edges)
        if order == "edges":
            run("move_nodes", weights, over_nodes)


def _copied(states: NDArray[Any]) -> NDArray[Any]:
    copy = aligned(*states.shape)
    copy[:] = states
    return copy
