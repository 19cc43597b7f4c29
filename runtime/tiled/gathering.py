"""What a tile of hits gathers from its edges, written over the lists of a layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trkx.runtime.tiled.chains import Rows
from trkx.runtime.tiled.emit import INT64, Value
from trkx.runtime.tiled.program import Tile
from trkx.runtime.tiled.rows import segment_reduced
from trkx.spec import Aggregation


@dataclass(frozen=True)
class Told:
    """What edges tell hits: rows of `width` (`stride` apart) of an array.

    array: of edge states, or of node states if `weights` names an array of the edges' weights: then an edge tells each of its
    hits the weighted state of the other.
    """

    array: str
    width: int
    stride: int
    weights: str = ""


def write_gathered(tile: Tile, place: str, kinds: Sequence[Aggregation], told: Told, block: str) -> list[Rows]:
    """Write the aggregates of a tile's hits to memory of the tile; return them as blocks "<block> <kind>".

    place: "incoming", "outgoing" or "both", which is the sum of the two.
    """
    ways = ("incoming", "outgoing") if place == "both" else (place,)
    found = []
    for kind in kinds:
        out = tile.scratch(told.stride)
        for number, way in enumerate(ways):
            _write_one(tile, way, kind, told, out, number > 0)
        found.append(Rows(f"{block} {kind}", out, told.stride))
    return found


def _write_one(tile: Tile, way: str, kind: Aggregation, told: Told, out: Value, onto: bool) -> None:
    values = tile.whole(told.array)
    if told.weights:
        listed = tile.whole("source" if way == "incoming" else "out_target")
        weights, weight_list = tile.whole(told.weights), tile.whole("out_list")
        function = segment_reduced(
            tile.module, kind, told.width, told.stride, told.stride, True, "rows" if way == "incoming" else "list", onto
        )
    else:
        listed = tile.whole("out_list")
        weights, weight_list = values, listed  # not read
        function = segment_reduced(tile.module, kind, told.width, told.stride, told.stride, way == "outgoing", "", onto)
    ends = tile.row("in_ends" if way == "incoming" else "out_ends", 1, INT64)
    tile.call(function, values, listed, weights, weight_list, ends, out, tile.rows)
