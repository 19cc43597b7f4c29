"""Small files to validate: one round of message passing as ONNX text, and its torch twin with the same weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from onnx import numpy_helper
from support.scatter_models import SUMMED, network
from torch import Tensor, nn

from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.validation.model_file import ModelFile
from trkx.export.zoo import Case, plain_cases

RACY = 'a = ScatterND <reduction = "add"> (zeros, rows, m)'
SMALL = ("star", "path", "duplicate edges", "complete bipartite", "zero edges", "one edge", "self loops", "one hit")


class Twin(nn.Module):
    """The network of `scatter_models.network`, in torch."""

    def __init__(self) -> None:
        super().__init__()
        held = {item.name: torch.tensor(numpy_helper.to_array(item)) for item in network().graph.initializer}
        self.w0, self.w1, self.w2 = (nn.Parameter(held[name], requires_grad=False) for name in ("w0", "w1", "w2"))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        h = torch.tanh(x @ self.w0)
        m = torch.cat([torch.index_select(h, 0, source), torch.index_select(h, 0, target)], 1) @ self.w1
        a = self.aggregate(m, target, h)
        return torch.cat([torch.index_select(a, 0, source), torch.index_select(a, 0, target)], 1) @ self.w2

    def aggregate(self, m: Tensor, target: Tensor, h: Tensor) -> Tensor:
        return torch.zeros_like(h).index_add(0, target, m)


class LastMessage(Twin):
    """The twin with the field's old fault: of several messages one is kept."""

    def aggregate(self, m: Tensor, target: Tensor, h: Tensor) -> Tensor:
        return torch.index_put(torch.zeros_like(h), (target,), m)


def onnx_file(aggregation: str = SUMMED, end: str = "output = Identity (y)", known: bool = True, **changes: str) -> ModelFile:
    """Return the ONNX network with an aggregation and an end; `known`: with its float64 network."""
    data = network(aggregation, end, **changes).SerializeToString()
    return ModelFile("small.onnx", "gnn", "onnx", data, 3, 1, "ort-cpu", Twin().eval() if known else None)


def torchscript_file(module: nn.Module | None = None, known: bool = True) -> ModelFile:
    """Return a module (the twin if None) as TorchScript."""
    data = torchscript_bytes("gnn", (module or Twin()).eval(), 3)
    return ModelFile("small.pt", "gnn", "torchscript", data, 3, 1, "libtorch", Twin().eval() if known else None)


def without_network(file: ModelFile) -> ModelFile:
    """Return a file as a stranger would give it."""
    return replace(file, network=None)


def some_cases(*names: str) -> list[Case]:
    """Return graphs of the zoo by name, the SMALL ones if none is given."""
    wanted = names or SMALL
    return [case for case in plain_cases(3) if case.name in wanted]
