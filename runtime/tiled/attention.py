"""ResAGNN, tile by tile: edges weigh what their hits tell each other; no message is ever written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import Crew
from trkx.runtime.tiled.chains import (
    Gathered,
    Rows,
    Weights,
    bindings,
    chain_of_spec,
    judging,
    reading_features,
    write_chain,
    write_logits,
    write_product,
)
from trkx.runtime.tiled.edge_filter import tile_of
from trkx.runtime.tiled.gathering import Told, write_gathered
from trkx.runtime.tiled.gemm import stride
from trkx.runtime.tiled.graph_form import gathered_blocks
from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.inputs import chosen
from trkx.runtime.tiled.layout import layout
from trkx.runtime.tiled.program import Program, Tile, aligned, even_bounds
from trkx.runtime.tiled.rows import settled
from trkx.spec import AttentionSpec, FeatureSpec

Float = NDArray[np.float32]
Int = NDArray[np.int64]


class TiledAttention:
    """An attention network with its weights."""

    def __init__(self, spec: AttentionSpec, features: Sequence[FeatureSpec], weights: Weights, target: Host) -> None:
        self._spec = spec
        self._inputs = chosen(features, spec.features)
        given, hidden = self._inputs.width, spec.node_encoder.out
        self._hidden, self._width = hidden, hidden + given if spec.shortcut else hidden
        width = self._width
        encoder = chain_of_spec(weights, "node_encoder.", {"x": given}, spec.node_encoder)
        edge = judging(chain_of_spec(weights, "edge_network.", {"source": width, "target": width}, spec.edge_network))
        blocks = gathered_blocks(spec.node_inputs, spec.aggregations, width, width)
        node = chain_of_spec(weights, "node_network.", blocks, spec.node_network)
        encoder = reading_features(encoder)
        if spec.shortcut:  # the inputs stand beside the states
            edge, node = reading_features(edge), reading_features(node)
        program = Program(tile_of(max(chain.widest for chain in (encoder, edge, node))), target)
        self._stride, self._first = stride(width, target), len(edge.layers[0].bias)

        def encode(tile: Tile) -> None:
            place, step = write_chain(tile, encoder, "ne", [Rows("x", tile.row("x", given), given)])
            tile.call(
                settled(tile.module, hidden, step, self._stride, False, False), tile.row("node", self._stride), place, tile.rows
            )

        def products(tile: Tile) -> None:
            for block, bias in (("source", "en.0.bias"), ("target", "zeros")):
                rows = Rows(block, tile.row("node", self._stride), self._stride)
                write_product(tile, edge, "en", rows, bias, f"product {block}")

        def judge(tile: Tile, squash: bool = False) -> None:
            gathers = [Gathered(f"product {name}", name) for name in ("source", "target")]
            write_logits(tile, edge, "en", write_chain(tile, edge, "en", [], gathers), "out", squash)

        def weigh(tile: Tile) -> None:
            judge(tile, squash=True)

        def move(tile: Tile) -> None:
            rows: list[Rows] = []
            for block in spec.node_inputs:
                if block == "node":
                    rows.append(Rows(block, tile.row("node", self._stride), self._stride))
                else:
                    rows += write_gathered(tile, block, spec.aggregations, Told("node", width, self._stride, "out"), block)
            place, step = write_chain(tile, node, "nn", rows)
            tile.call(
                settled(tile.module, hidden, step, self._stride, False, False), tile.row("new", self._stride), place, tile.rows
            )

        for name, write in (("encode", encode), ("products", products), ("judge", judge), ("weigh", weigh), ("move", move)):
            program.phase(name, write)
        self._weights = {
            **bindings(encoder, "ne", target),
            **bindings(edge, "en", target),
            **bindings(node, "nn", target),
            "zeros": np.zeros(stride(self._first, target), np.float32),
        }
        self._product_stride = stride(self._first, target)
        self._code = program.compiled()

    def __call__(self, x: Float, edge_index: Int, edge_attr: Float | None, threads: int) -> Float:
        """Return the logit of each edge, float32 [E], of hits [N, F] and edges int64 [2, E]; edge_attr is not read."""
        if not self._spec.undirected:
            return self._logits(x, edge_index, threads)
        count = edge_index.shape[1]
        both = self._logits(x, np.concatenate([edge_index, edge_index[::-1]], axis=1), threads)
        return np.float32(0.5) * (both[:count] + both[count:])

    def _logits(self, x: Float, edge_index: Int, threads: int) -> Float:
        hits, edges = len(x), edge_index.shape[1]
        placed, given = layout(edge_index, hits), self._inputs.of(x)
        out = np.empty(edges, np.float32)
        node, new = aligned(hits, self._stride), aligned(hits, self._stride)
        arrays: dict[str, NDArray[Any]] = {
            **self._weights,
            **placed.arrays(),
            "x": given,
            "out": out,
            "node": node,
            "new": new,
            "product source": aligned(hits, self._product_stride),
            "product target": aligned(hits, self._product_stride),
        }
        tile = self._code.tile
        over_nodes, over_edges = even_bounds(hits, tile, threads), even_bounds(edges, tile, threads)
        beside = slice(self._hidden, self._width)
        with Crew(threads) as crew:
            self._code.run_all("encode", arrays, over_nodes, crew)
            node[:, beside] = given[:, : self._width - self._hidden]
            for _ in range(self._spec.iterations):
                self._code.run_all("products", arrays, over_nodes, crew)
                self._code.run_all("weigh", arrays, over_edges, crew)
                self._code.run_all("move", arrays, over_nodes, crew)
                new[:, beside] = given[:, : self._width - self._hidden]  # whole vectors are written: what stood there is gone
                if self._spec.residual:
                    node[:, : self._width] += new[:, : self._width]
                else:
                    node[:, : self._width] = new[:, : self._width]
            self._code.run_all("products", arrays, over_nodes, crew)
            self._code.run_all("judge", arrays, over_edges, crew)
        if placed.order is None:
            return out
        logits = np.empty(edges, np.float32)
        logits[placed.order] = out
        return logits
