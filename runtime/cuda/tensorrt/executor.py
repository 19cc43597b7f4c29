"""Runs an engine on the memory of torch tensors, in torch's current stream: nothing is copied, nothing waits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from trkx.errors import BundleError
from trkx.runtime.cuda.tensorrt.profiles import Shapes

OUTPUT = "output"
_TYPES = {"edge_index": torch.int64}
"""Input to its type, where that is not float32."""


class Executor(Protocol):
    """Something that runs one network. inputs: contiguous tensors by name, within its profile. output: is written, float32."""

    def __call__(self, inputs: Mapping[str, torch.Tensor], output: torch.Tensor) -> None:
        """Run it."""
        ...


class TensorRTExecutor:
    """One engine with one execution context; calls may come from any number of threads and streams, one after the other.

    engine: a tensorrt.ICudaEngine. shapes: its profile. where: the file that it was built from, for errors.

    Raises:
        BundleError: inputs or output of the engine have other names or types than the contract, or there is no memory for it.
    """

    def __init__(self, engine: Any, shapes: Shapes, device: torch.device, where: str) -> None:
        """Check the engine's doors and make its context."""
        self._engine, self._device, self._where = engine, device, where
        self._names = tuple(shapes)
        self._check_doors()
        self._context = engine.create_execution_context()
        if self._context is None:
            raise BundleError(f"{where}: there is no memory for this engine on {device}; export it with a smaller profile.")
        self._lock = threading.Lock()
        self._done: torch.cuda.Event | None = None

    def _check_doors(self) -> None:
        engine = self._engine
        found = {str(engine.get_tensor_name(place)): "" for place in range(engine.num_io_tensors)}
        for name in found:
            found[name] = _type_name(engine.get_tensor_dtype(name))
        wanted = {name: "INT64" if name == "edge_index" else "FLOAT" for name in self._names} | {OUTPUT: "FLOAT"}
        if found != wanted:
            raise BundleError(f"{self._where}: the engine has the doors {found}, expected {wanted}; export the bundle again.")

    def __call__(self, inputs: Mapping[str, torch.Tensor], output: torch.Tensor) -> None:
        """Run it in the current stream; see `Executor`."""
        context, stream = self._context, torch.cuda.current_stream(self._device)
        with self._lock:
            if self._done is not None:
                stream.wait_event(self._done)  # the context's memory may still be read in another stream
            for name in self._names:
                self._check_memory(name, inputs[name])
                self._require(context.set_input_shape(name, tuple(inputs[name].shape)), f"shape of {name}")
                self._require(context.set_tensor_address(name, inputs[name].data_ptr()), f"address of {name}")
            shape = tuple(context.get_tensor_shape(OUTPUT))
            self._check_memory(OUTPUT, output)
            if shape != tuple(output.shape):
                raise BundleError(f"{self._where}: the engine writes {list(shape)}, expected {list(output.shape)}.")
            self._require(context.set_tensor_address(OUTPUT, output.data_ptr()), f"address of {OUTPUT}")
            self._require(context.execute_async_v3(stream.cuda_stream), "event")
            self._done = torch.cuda.Event()
            self._done.record(stream)

    def _check_memory(self, name: str, value: torch.Tensor) -> None:
        """Raise BundleError unless TensorRT, which gets an address only, reads there what it expects."""
        wanted = _TYPES.get(name, torch.float32)
        if value.dtype != wanted or value.device != self._device or not value.is_contiguous():
            raise BundleError(
                f"{self._where}: {name} must be contiguous {wanted} on {self._device}, found {value.dtype} on {value.device}, "
                f"strides {value.stride()}."
            )

    def _require(self, taken: bool, what: str) -> None:
        if not taken:
            raise BundleError(f"{self._where}: TensorRT refused the {what}; its log says why.")


def _type_name(dtype: Any) -> str:
    """Return "FLOAT" of tensorrt.DataType.FLOAT."""
    return str(getattr(dtype, "name", dtype)).rpartition(".")[2]
