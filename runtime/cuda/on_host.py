"""An engine on a device behind the doors of one on the host: numpy in, numpy out, copied both ways."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from trkx.runtime.cuda.engines.base import DeviceEngine
from trkx.runtime.cuda.failures import explained
from trkx.runtime.engines.base import Float, Int


@contextmanager
def current(device: torch.device) -> Iterator[None]:
    """Make a device the one on which kernels are launched by this thread, without gradients; nothing more for the CPU."""
    with torch.no_grad():
        if device.type != "cuda":
            yield
            return
        with torch.cuda.device(device):
            yield


def tensor_on(device: torch.device, array: NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor on a device; also one that is not contiguous, or that may only be read, as files give it."""
    whole = np.ascontiguousarray(array)
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy()).to(device)


class OnHost:
    """The networks of a DeviceEngine as `trkx.runtime.engines.Engine`, for those who compare networks one by one.

    lock: one call at a time; whoever runs the engine otherwise holds it too.

    Raises:
        TrkxError: in each call, a failure of the device (`trkx.runtime.cuda.failures`).
    """

    def __init__(self, engine: DeviceEngine) -> None:
        self._engine = engine
        self.lock = threading.RLock()

    @contextmanager
    def _using(self, stage: str) -> Iterator[None]:
        device = self._engine.device
        with explained(device, lambda: f"stage {stage}"), self.lock, current(device):
            yield

    def _to(self, array: Float | Int) -> torch.Tensor:
        return tensor_on(self._engine.device, array)

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        with self._using("embedding"):
            return _numpy(self._engine.embed(self._to(x)))

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        with self._using("filter"):
            return _numpy(self._engine.edge_filter(self._to(x))(self._to(edge_index)))

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        with self._using("gnn"):
            attributes = None if edge_attr is None else self._to(edge_attr)
            return _numpy(self._engine.gnn(self._to(x), self._to(edge_index), attributes))


def _numpy(tensor: torch.Tensor) -> Float:
    return cast(Float, tensor.detach().cpu().numpy())
