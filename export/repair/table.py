"""The rewrites, in the order in which they are applied; each answers findings of lint."""

from __future__ import annotations

from trkx.export.repair.axes import freed
from trkx.export.repair.change import Rewrite
from trkx.export.repair.door_casts import cast_doors, ranked
from trkx.export.repair.door_names import named
from trkx.export.repair.elements import by_elements
from trkx.export.repair.external import embedded
from trkx.export.repair.inlined import inlined
from trkx.export.repair.islands import in_float32
from trkx.export.repair.means import averaged
from trkx.export.repair.norms import normed
from trkx.export.repair.order import ordered
from trkx.export.repair.scores import unsquashed
from trkx.export.repair.sums import summed
from trkx.export.repair.versions import versioned

REARRANGED: tuple[Rewrite, ...] = (
    Rewrite("embedded", ("TRKX018",), "external weights come into the file",
            "they lie in the file's folder, below 2 GiB in all", embedded),
    Rewrite("inlined", ("TRKX013",), "local functions are replaced by their nodes", "none is needed", inlined),
    Rewrite("ordered", ("TRKX019",), "nodes are sorted", "there is an order: no circle", ordered),
)
"""Rewrites after which the file says exactly what it said before."""

REWRITES: tuple[Rewrite, ...] = (
    Rewrite("versioned", ("TRKX002", "TRKX021"), "opset and IR version fit the target and the repair",
            "onnx's converter has a form for every operator", versioned),
    Rewrite("freed", ("TRKX012",), "num_hits and num_edges become dynamic, at the doors and inside",
            "inside: the frozen length meets the axis; then the file gives the same at other sizes", freed),
    Rewrite("averaged", ("TRKX004",), "a mean that was written as two overwriting scatters is sum / max(count, 1)",
            "zeros, then values, are scattered to the same places", averaged),
    Rewrite("summed", ("TRKX001",), "an overwriting scatter adds",
            "it scatters into zeros and is added to zeros; or the user says so (--sum)", summed),
    Rewrite("by_elements", ("TRKX003",), "ScatterND with a reduction is ScatterElements",
            "its indices are rows of the first axis", by_elements),
    Rewrite("in_float32", ("TRKX005",), "a half-precision scatter adds in float32", "its type is known", in_float32),
    Rewrite("normed", ("TRKX011",), "a half-precision LayerNorm in parts is one operator",
            "the parts are those of LayerNorm over the last axis, epsilon above 0", normed),
    Rewrite("unsquashed", ("TRKX015",), "a classifier's sigmoid at the output is left out",
            "only moves and casts stand between it and the output", unsquashed),
    Rewrite("cast_doors", ("TRKX017",), "float32 and int64 at the doors", "none is needed: a cast at the door", cast_doors),
    Rewrite("ranked", ("TRKX017",), "output [num_edges] is [num_edges, 1]", "the target wants it", ranked),
    Rewrite("named", ("TRKX016",), "names and order of the contract at the doors",
            "one input of each type, one output", named),
)
"""Rewrites that mend, in order."""
