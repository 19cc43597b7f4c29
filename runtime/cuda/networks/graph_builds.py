"""The kernel of sums over edges, in every form, for `trkx.runtime.cuda.builds`."""

from __future__ import annotations

import triton

from trkx.runtime.cuda.builds import EXACT, Case
from trkx.runtime.cuda.networks import sums

TYPES = {
    "values": "*fp32", "listed": "*i32", "begins": "*i32", "ends": "*i32", "owners": "*i32", "centre": "*fp32", "out": "*fp32",
    "rows": "i32",
}  # fmt: skip
ALIGNED = ("values", "listed", "begins", "owners", "centre", "out")
MODES = {"sum": sums.SUM, "squares": sums.SQUARES, "largest": sums.MAX}


def cases(widths: tuple[int, ...] = (16, 48, 128)) -> list[Case]:
    """Return the kernel in every form, for each width of edge values."""
    return [
        _case(width, name, form, way)
        for width in widths
        for name in MODES
        for way in ("incoming", "outgoing")
        for form in ("hits", "pieces", "whole")
        if not (form == "whole" and (way == "outgoing" or name == "squares"))  # pieces stand in order; squares are summed then
    ]


def _case(width: int, name: str, form: str, way: str) -> Case:
    columns = triton.next_power_of_2(width)
    listed, owned, squares = way == "outgoing", form == "pieces", name == "squares"
    absent = [*([] if listed else ["listed"]), *([] if owned else ["owners"]), *([] if squares else ["centre"])]
    settings = {
        "MODE": MODES[name], "LISTED": listed, "OWNED": owned, "LIMIT": sums.PIECE if form == "hits" else 0,
        "LEAVE_EMPTY": form == "whole", "WIDTH": width, "COLUMNS": columns, "ROWS": max(1, sums.ELEMENTS // columns),
    }  # fmt: skip
    return Case(f"segment_kernel {width} wide, {name}, {way}, {form}", sums.segment_kernel, TYPES,
                settings | dict.fromkeys(absent), {"num_warps": sums.WARPS} | EXACT, ALIGNED)
