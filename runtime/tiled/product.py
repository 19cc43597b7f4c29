"""A matrix product by the kernels of the tiled engine alone: what they reach where there is nothing but arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import Crew
from trkx.runtime.tiled.edge_filter import tile_of
from trkx.runtime.tiled.gemm import gemm, packed, stride
from trkx.runtime.tiled.program import Program, Tile, aligned, even_bounds

Float = NDArray[np.float32]


def product_of(a: Float, b: Float, crew: Crew) -> Callable[[], Float]:
    """Return the function that computes a [m, k] times b [k, n] with the threads of a crew; b is packed here, once."""
    (rows, inputs), outputs = a.shape, b.shape[1]
    program = Program(tile_of(max(inputs, outputs)))
    width = stride(outputs, program.target)

    def write(tile: Tile) -> None:
        function = gemm(tile.module, inputs, outputs, inputs, 1, False)
        tile.call(function, tile.row("a", inputs), tile.whole("b"), tile.whole("zeros"), tile.row("out", width), tile.rows)

    program.phase("product", write)
    code, left = program.compiled(), aligned(rows, inputs)
    left[:] = a
    out = aligned(rows, width)
    arrays = {"a": left, "b": packed(np.ascontiguousarray(b.T), program.target), "zeros": np.zeros(width, np.float32), "out": out}
    bounds = even_bounds(rows, code.tile, crew.threads)

    def product() -> Float:
        code.run_all("product", arrays, bounds, crew)
        return out[:, :outputs]

    return product
