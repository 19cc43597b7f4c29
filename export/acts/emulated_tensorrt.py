"""ACTS's TensorRTEdgeClassifier without TensorRT: tensors by name, limits of the profile; ONNX Runtime computes the graph.

What only an engine can show (its arithmetic, its build, its plugins) is not emulated, and rows say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.acts.emulated_onnx import run_into, session_of
from trkx.export.acts.emulator import Graph, Judged, NoEdgesError, Read, option, scored

NAMES = ("x", "edge_index", "edge_attr")
OUTPUT = "output"


class TensorRTEdgeClassifier:
    """The ONNX file of a TensorRT engine, bound as ACTS binds the engine: by name, three inputs, [E, 1] floats out.

    profile.max: largest hits and edges of the engine's only profile, none without it. All features are fed, none is selected.
    """

    def __init__(self, options: Mapping[str, Any], read: Read) -> None:
        """Open the model; options: of the stage, as in acts.json."""
        self.file: str = option(options, "model", str)
        self.cut = float(option(options, "cut", (int, float), 0.5))
        largest = option(options, "profile", dict, {}).get("max", {})
        self.max_hits: int | None = largest.get("hits")
        self.max_edges: int | None = largest.get("edges")
        try:
            self.session = session_of(read(self.file))
        except Exception as error:
            raise ExportError(f"{self.file}: can't be loaded: {' '.join(str(error).split())}") from error
        held = {item.name: item for item in (*self.session.get_inputs(), *self.session.get_outputs())}
        if set(held) != {*NAMES, OUTPUT}:
            raise ExportError(f"{self.file}: ACTS binds {', '.join(NAMES)} and {OUTPUT} by name, the file has {', '.join(held)}.")
        for name in (*NAMES, OUTPUT):
            wanted = "tensor(int64)" if name == "edge_index" else "tensor(float)"
            if held[name].type != wanted:
                raise ExportError(f"{self.file}: ACTS binds {name} to memory for {wanted}, the file has {held[name].type}.")

    def judge(self, graph: Graph) -> Judged:
        """Return what the graph says of the edges; those beyond the engine's limit get no score and are dropped."""
        count = graph.edge_index.shape[1]
        if not count or (self.max_hits is not None and len(graph.x) > self.max_hits):
            raise NoEdgesError  # too many hits: a warning, and no track
        if graph.edge_attr is None:
            raise ExportError(f"{self.file}: the engine binds edge_attr, and this chain of ACTS makes no edge features.")
        taken = count if self.max_edges is None else min(count, self.max_edges)
        edges, attributes = np.ascontiguousarray(graph.edge_index[:, :taken]), np.ascontiguousarray(graph.edge_attr[:taken])
        feeds: dict[str, NDArray[np.generic]] = {"x": graph.x, "edge_index": edges, "edge_attr": attributes}
        judged = scored(run_into(self.session, feeds, OUTPUT, (taken, 1)).reshape(-1), self.cut)
        if taken == count:
            return judged
        rest = np.full(count - taken, np.nan, np.float32)
        mask = np.concatenate([judged.mask, np.zeros(count - taken, bool)])
        return Judged(np.concatenate([judged.logits, rest]), np.concatenate([judged.score, rest]), mask)
