"""Embedding and edge filter, tile by tile."""

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
    write_chain,
    write_logits,
    write_product,
)
from trkx.runtime.tiled.emit import INT32
from trkx.runtime.tiled.gemm import ROWS, stride
from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.inputs import Inputs, pair_column
from trkx.runtime.tiled.layout import ends_of
from trkx.runtime.tiled.pairs import pair_features
from trkx.runtime.tiled.program import Compiled, Program, Tile, aligned, even_bounds
from trkx.runtime.tiled.rows import settled
from trkx.runtime.tiled.stage_chains import embedding_chain, filter_chain
from trkx.spec import AnyEmbedding, AnyFilter, FeatureSpec

Float = NDArray[np.float32]
Int = NDArray[np.int64]
FLOATS = 1 << 15
"""Numbers of one buffer of a tile: two of them, the weights and the rows they come from stay in the second cache."""


def tile_of(widest: int) -> int:
    """Return the rows of a tile for layers of this width."""
    return max(2 * ROWS, min(16 * ROWS, FLOATS // widest // ROWS * ROWS))


class TiledEmbedding:
    """The embedding of a bundle. Weights are named as in its safetensors file, without the stage."""

    def __init__(self, spec: AnyEmbedding, features: Sequence[FeatureSpec], weights: Weights, target: Host) -> None:
        self._inputs, chain = embedding_chain(spec, features, weights)
        self._normalize, self._dim = spec.normalize, spec.dim
        program = Program(tile_of(chain.widest), target)
        self._stride = stride(spec.dim, program.target)

        def write(tile: Tile) -> None:
            width = self._inputs.width
            place, step = write_chain(tile, chain, "w", [Rows("x", tile.row("x", width), width)])
            tile.call(
                settled(tile.module, spec.dim, step, self._stride, False, False), tile.row("out", self._stride), place, tile.rows
            )

        program.phase("embed", write)
        self._weights = bindings(chain, "w", program.target)
        self._code = program.compiled()

    def __call__(self, x: Float, threads: int) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        out = aligned(len(x), self._stride)
        arrays = {**self._weights, "x": self._inputs.of(x), "out": out}
        with Crew(threads) as crew:
            self._code.run_all("embed", arrays, even_bounds(len(x), self._code.tile, threads), crew)
        place = np.ascontiguousarray(out[:, : self._dim])
        if self._normalize:
            place /= np.maximum(np.sqrt(np.einsum("ij,ij->i", place, place))[:, None], np.float32(1e-12))
        return place


def write_pairs(tile: Tile, inputs: Inputs, source: str, target: str) -> list[Rows]:
    """Write the features of a tile's pairs, where a network with geometry reads them."""
    if inputs.geometry is None:
        return []
    column = pair_column(tile.program.tile, tile.module.lanes)
    place = tile.reserve(inputs.pair_width * column)
    columns = [tile.whole(name) for name in ("r", "phi", "z")]
    function = pair_features(tile.module, inputs.geometry.scales, column)
    tile.call(function, *columns, tile.row(source, 1, INT32), tile.row(target, 1, INT32), place, tile.rows)
    return [Rows("pair", place, 1, column)]


class TiledFilter:
    """The edge filter of a bundle."""

    def __init__(self, spec: AnyFilter, features: Sequence[FeatureSpec], weights: Weights, target: Host) -> None:
        self._inputs, chain = filter_chain(spec, features, weights)
        program = Program(tile_of(chain.widest), target)
        self._first = len(chain.layers[0].bias)
        self._stride = stride(self._first, program.target)
        inputs = self._inputs

        def products(tile: Tile) -> None:
            place = tile.row("x", inputs.width)
            write_product(tile, chain, "w", Rows("source", place, inputs.width), "w.0.bias", "from")
            write_product(tile, chain, "w", Rows("target", place, inputs.width), "zeros", "to")

        def judge(tile: Tile) -> None:
            gathers = [Gathered("from", "source"), Gathered("to", "target")]
            end = write_chain(tile, chain, "w", write_pairs(tile, inputs, "source", "target"), gathers)
            write_logits(tile, chain, "w", end, "out")

        program.phase("products", products)
        program.phase("judge", judge)
        self._weights = {**bindings(chain, "w", program.target), "zeros": np.zeros(self._stride, np.float32)}
        self._code = program.compiled()

    def of(self, x: Float, threads: int) -> TiledEdgeFilter:
        """Return the filter for the edges of one event, whose hits are multiplied with the first layer here, once."""
        arrays: dict[str, NDArray[Any]] = {
            **self._weights,
            **self._inputs.columns(x),
            "x": self._inputs.of(x),
            "from": aligned(len(x), self._stride),
            "to": aligned(len(x), self._stride),
        }
        with Crew(threads) as crew:
            self._code.run_all("products", arrays, even_bounds(len(x), self._code.tile, threads), crew)
        return TiledEdgeFilter(self._code, arrays)


class TiledEdgeFilter:
    """The filter for the edges of one event. Each call runs in the thread that makes it; any number may call at once."""

    def __init__(self, code: Compiled, arrays: dict[str, NDArray[Any]]) -> None:
        self._code = code
        self._arrays = arrays

    def __call__(self, edge_index: Int) -> Float:
        """Return the logit of each edge, float32 [E], of edges int64 [2, E]."""
        count = edge_index.shape[1]
        out = np.empty(count, np.float32)
        source, target = ends_of(edge_index, len(self._arrays["x"]))
        self._code.run("judge", {**self._arrays, "source": source, "target": target, "out": out}, 0, count, self._code.memory())
        return out

    def in_threads(self, edge_index: Int, threads: int) -> Float:
        """Return the same with the edges shared among threads."""
        count = edge_index.shape[1]
        out = np.empty(count, np.float32)
        source, target = ends_of(edge_index, len(self._arrays["x"]))
        arrays = {**self._arrays, "source": source, "target": target, "out": out}
        with Crew(threads) as crew:
            self._code.run_all("judge", arrays, even_bounds(count, self._code.tile, threads), crew)
        return out
