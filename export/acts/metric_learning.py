"""ACTS's TorchMetricLearning, emulated: the embedding is read through a raw pointer, and pairs of near hits become edges."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trkx.errors import ExportError
from trkx.export.acts.emulated_torch import gathered
from trkx.export.acts.emulator import Float, Graph, Int, Read, option
from trkx.export.torchscript_file import load_torchscript, torchscript_is_meant
from trkx.runtime.neighbours import radius_graph

CUDA_LEAST, CPU_MOST = 3, 12
"""Columns of the embedding: FRNN (CUDA) takes no fewer, the KD-tree (CPU) no more."""
MARGIN = 1e-5
"""Pairs are looked for a little beyond the radius, and then decided in float32 as ACTS does."""


def raw_floats(output: Tensor, file: str) -> Float:
    """Return [N, D] as a raw pointer to the first value sees it: N * D floats one after the other, whatever the strides are.

    Raises:
        ExportError: not float32, not two axes, or memory that ends before N * D values.
    """
    if output.dtype != torch.float32:
        kind = str(output.dtype).removeprefix("torch.")
        raise ExportError(f"{file}: ACTS asks for a pointer to float32, the embedding is {kind}.")
    if output.dim() != 2:
        raise ExportError(f"{file}: ACTS expects an embedding [N, D], found shape {list(output.shape)}.")
    held = output.untyped_storage().nbytes() // output.element_size() - output.storage_offset()
    if held < output.numel():
        raise ExportError(f"{file}: ACTS reads {output.numel()} values by a raw pointer, {held} are there; make it contiguous.")
    return np.array(output.as_strided(output.shape, (output.shape[1], 1), output.storage_offset()).numpy())


def built_edges(places: Float, radius: float) -> Int:
    """Return pairs within the radius (inclusive, float32), int64 [2, E], smaller number first, sorted, as the CPU stage does."""
    limit = np.float32(radius)
    wide = float(limit) * (1.0 + MARGIN)
    low, high = radius_graph(places, wide, backend="kdtree").pairs if len(places) else np.empty((2, 0), np.int64)
    total = np.zeros(len(low), np.float32)
    for column in range(places.shape[1]):  # one after the other, as the loop there does
        step = places[low, column] - places[high, column]
        total += step * step
    inside = np.sqrt(total) <= limit
    return np.ascontiguousarray(np.stack([low, high])[:, inside])


class TorchMetricLearning:
    """The TorchScript embedding and the edges of near hits, as ACTS configures and calls it."""

    def __init__(self, options: Mapping[str, Any], read: Read) -> None:
        """Open the model; options: of the stage, as in acts.json."""
        self.file: str = option(options, "model", str)
        self.radius = float(option(options, "rVal", (int, float), 1.6))
        self.neighbours: int = option(options, "knnVal", int, 500)
        self.shuffle: bool = option(options, "shuffleDirections", bool, False)
        self.selected: list[int] = list(option(options, "selectedFeatures", list, []))
        self.model = load_torchscript(read(self.file)).eval()

    def places(self, x: Float) -> Float:
        """Return the place of each hit as ACTS reads it, float32 [N, D], from features [N, F]."""
        if not self.selected:
            raise ExportError("acts.json: graph.selectedFeatures is empty; ACTS then reads a tensor that it has moved away.")
        with torch.inference_mode(), torchscript_is_meant():
            model = copy.copy(self.model)  # a clone a call
            output = model(gathered(torch.from_numpy(x).clone(), self.selected))
        if not isinstance(output, Tensor):
            raise ExportError(f"{self.file}: ACTS expects one tensor, the model returns a {type(output).__name__}.")
        places = raw_floats(output, self.file)
        if not 1 <= places.shape[1] <= CPU_MOST:
            found = places.shape[1]
            raise ExportError(f"{self.file}: ACTS's KD-tree takes 1 to {CPU_MOST} dimensions, the embedding has {found}.")
        return places

    def __call__(self, x: Float) -> Graph:
        """Return the graph of an event: all features, and the pairs."""
        if not len(x):
            raise ExportError("ACTS divides by the number of hits, and there is none; skip empty events before the algorithm.")
        edges = built_edges(self.places(x), self.radius)
        if self.shuffle:  # at random there; a fixed draw here
            flip = np.random.default_rng(len(x)).integers(0, 2, edges.shape[1]).astype(bool)
            edges = np.concatenate([edges[:, ~flip], edges[::-1, flip]], axis=1)
        return Graph(x, np.ascontiguousarray(edges), spacepoint=np.arange(len(x)))
