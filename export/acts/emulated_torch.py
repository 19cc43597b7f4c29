"""ACTS's TorchEdgeClassifier, emulated: features gathered by number, chunks, doubled edges, sigmoid written into the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trkx.errors import ExportError
from trkx.export.acts.emulator import Graph, Judged, NoEdgesError, Read, option
from trkx.export.torchscript_file import load_torchscript


def gathered(x: Tensor, selected: list[int]) -> Tensor:
    """Return the columns of x [N, F] that a stage selects, in the order in which they are listed."""
    if any(not -x.shape[1] <= column < x.shape[1] for column in selected):
        raise ExportError(f"selectedFeatures {selected} reach beyond the {x.shape[1]} features that ACTS has.")
    return x[:, torch.tensor(selected, dtype=torch.int32)]


class TorchEdgeClassifier:
    """A TorchScript classifier as ACTS configures and calls it. One object serves all threads."""

    def __init__(self, options: Mapping[str, Any], read: Read) -> None:
        """Open the model; options: of the stage, as in acts.json."""
        self.file: str = option(options, "model", str)
        self.cut = float(option(options, "cut", (int, float), 0.5))
        self.chunks: int = option(options, "nChunks", int, 1)
        self.undirected: bool = option(options, "undirected", bool, False)
        self.use_edge_features: bool = option(options, "useEdgeFeatures", bool, False)
        self.selected: list[int] = list(option(options, "selectedFeatures", list, []))
        self.model = load_torchscript(read(self.file)).eval()

    def judge(self, graph: Graph) -> Judged:
        """Return what the model says of the edges of a graph. What it writes into its inputs stays written, as in ACTS."""
        if not graph.edge_index.shape[1]:
            raise NoEdgesError
        with torch.inference_mode():
            x, edges = torch.from_numpy(graph.x), torch.from_numpy(graph.edge_index)
            inputs = [gathered(x, self.selected) if self.selected else x]
            if self.use_edge_features and graph.edge_attr is not None:
                inputs.append(torch.from_numpy(graph.edge_attr))
            doubled = torch.cat([edges, edges.flip(0)], 1) if self.undirected else edges
            whole = self.chunks <= 1
            output = self._run(inputs, doubled).to(torch.float32).squeeze_() if whole else self._chunked(inputs, doubled)
            logits = output.clone()
            output.sigmoid_()
            if self.undirected:
                if not output.dim():
                    raise ExportError(f"{self.file}: one output for two doubled edges.")
                half = output.shape[0] // 2
                output, logits = output[:half], logits[:half]
            mask = output > float(np.float32(self.cut))
            if output.numel() != edges.shape[1] or output.dim() > 1:  # one edge gives no dimension at all, and that works
                raise ExportError(
                    f"{self.file}: {edges.shape[1]} edges got an output of shape {list(output.shape)} after squeeze; ACTS can't "
                    "use it as a mask of the edges. Export with one logit an edge, [E, 1]."
                )
            score = output.clone()  # the memory may be a buffer of the model, which the next call moves
        return Judged(logits.reshape(-1).numpy(), score.reshape(-1).numpy(), mask.reshape(-1).numpy())

    def _chunked(self, inputs: list[Tensor], edges: Tensor) -> Tensor:
        parts = [self._run(inputs, chunk).squeeze_() for chunk in torch.chunk(edges, self.chunks, 1)]
        if any(not part.dim() for part in parts):
            raise ExportError(
                f"{self.file}: nChunks {self.chunks} leaves a chunk of one edge in an event of {edges.shape[1]} edges; its "
                "output has no dimension after squeeze, and torch::cat throws. Set nChunks to 1."
            )
        return torch.cat(parts)

    def _run(self, inputs: list[Tensor], edges: Tensor) -> Tensor:
        output = self.model(inputs[0], edges, *inputs[1:])
        if not isinstance(output, Tensor):
            raise ExportError(f"{self.file}: ACTS expects one tensor, the model returns a {type(output).__name__}.")
        return output
