"""The kernels of edge contraction, in every form in which they are launched, for `trkx.runtime.cuda.builds`."""

from __future__ import annotations

from trkx.runtime.cuda import contraction, contraction_places, contraction_rows
from trkx.runtime.cuda.builds import EXACT, Case
from trkx.runtime.cuda.contraction import REGISTER_WARPS, ROW_WARPS
from trkx.runtime.cuda.contraction_places import BLOCK, CLASSES, SMALLEST, WARPS

EDGES = {"source": "*i64", "target": "*i64", "units": "*i64", "edges": "i32"}
HITS = dict.fromkeys(("root", "mixed", "size", "number", "counts", "filled", "slots", "place", "hit_at"), "*i32")
NUMBERS = {"hits": "i32", "limit": "i32", "low": "i32", "high": "i32"}
MATRIX = {"matrix": "*i64", "hit": "*i32", "root": "*i32"}


def cases() -> list[Case]:
    """Return what a launch of each kernel is like; matrices of up to 128 both ways."""
    block = {"BLOCK": BLOCK}
    sized = block | {"SMALLEST": SMALLEST, "CLASSES": CLASSES}
    types = EDGES | HITS | NUMBERS
    places = contraction_places
    found = [
        Case(kernel.__name__, kernel, types | {"cells": "*i64"}, constants, {"num_warps": WARPS} | EXACT)
        for kernel, constants in (
            (places.mark_kernel, block), (places.size_kernel, block), (places.number_kernel, sized), (places.slot_kernel, sized),
            (places.place_kernel, sized), (contraction.fill_kernel, sized),
        )
    ]  # fmt: skip
    for size, warps in REGISTER_WARPS.items():
        found.append(Case(f"contract_kernel {size}", contraction.contract_kernel, MATRIX, {"SIZE": size},
                          {"num_warps": warps} | EXACT, tuple(MATRIX)))
    for size, warps in ROW_WARPS.items():
        found.append(Case(f"contract_rows_kernel {size}", contraction_rows.contract_rows_kernel, MATRIX,
                          {"SIZE": size, "TILE": contraction_rows.TILE}, {"num_warps": warps} | EXACT, tuple(MATRIX)))
    return found
