"""One ONNX Runtime session whose inputs and outputs are tensors of torch, wherever they are: nothing is copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

from trkx.errors import BundleError
from trkx.runtime.cuda.failures import OUT_OF_MEMORY, give_back, kind_of, message

ELEMENTS = {torch.float32: np.float32, torch.int64: np.int64}
"""Types at the doors of a file, in whatever precision it computes."""


@dataclass(frozen=True)
class Door:
    """An input or output of a file. shape: numbers, and names for what differs from event to event."""

    name: str
    shape: tuple[int | str | None, ...]


class BoundSession:
    """A session, its doors bound to the memory of tensors; in the order of torch's current stream.

    The session works on a stream of its own, which waits for what torch has begun, and for which torch waits.

    session: of ONNX Runtime. device: of the tensors. stream: the one that the session was made with, None on a CPU. where: its
    file, for messages.
    """

    def __init__(self, session: Any, device: torch.device, stream: torch.cuda.Stream | None, where: str) -> None:
        self.session = session
        self.where = where
        self._device = device
        self._stream = stream
        self._inputs = tuple(Door(one.name, tuple(one.shape)) for one in session.get_inputs())
        outputs = session.get_outputs()
        if len(outputs) != 1:
            raise BundleError(f"{where}: expected one output, found {len(outputs)}; export the bundle again.")
        self._output = Door(outputs[0].name, tuple(outputs[0].shape))
        self._options = ort.RunOptions()
        if stream is not None:
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")  # torch's stream waits instead

    @property
    def columns(self) -> int:
        """Columns of the output."""
        columns = self._output.shape[1] if len(self._output.shape) > 1 else 1
        if not isinstance(columns, int):
            raise BundleError(f"{self.where}: expected an output of [rows, number], found {list(self._output.shape)}.")
        return columns

    def __call__(self, inputs: Mapping[str, torch.Tensor], output: torch.Tensor) -> None:
        """Run it; torch's current stream goes on when the output is there.

        Args:
            inputs: name to tensor, float32 or int64, contiguous, on the session's device.
            output: float32 [rows, columns], contiguous, on that device: is written.

        Raises:
            BundleError: the file has other inputs than are given, or another output; or ONNX Runtime gives up.
            TrkxError: a failure of the device (`trkx.runtime.cuda.failures`).
        """
        names = [door.name for door in self._inputs]
        if sorted(names) != sorted(inputs):
            raise BundleError(
                f"{self.where}: expected the inputs {', '.join(inputs)}, found {', '.join(names) or 'none'}; export the bundle "
                "again."
            )
        binding = self.session.io_binding()
        place = (self._device.type, self._device.index or 0)
        for name, tensor in (*inputs.items(), ("output", output)):
            if not tensor.is_contiguous():
                raise BundleError(f"{self.where}: the tensor '{name}' is not contiguous, which its address alone can't say.")
        for name, tensor in inputs.items():
            binding.bind_input(name, *place, ELEMENTS[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output(self._output.name, *place, np.float32, self._shape(output), output.data_ptr())
        with self._in_order():
            try:
                self._run(binding)
            except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
                kind = kind_of(error)
                if kind is not None:
                    raise kind.error(message(kind, error, self._device, self.where)) from error
                first = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise BundleError(
                    f"{self.where}: ONNX Runtime gave up ({first}). Look whether all edges name hits that exist."
                ) from error

    def _run(self, binding: Any) -> None:
        """Run what is bound; once more if there was no memory, as torch keeps what it does not use for later."""
        try:
            self.session.run_with_iobinding(binding, self._options)
        except Exception as error:
            if kind_of(error) is not OUT_OF_MEMORY:
                raise
            give_back(self._device)
            self.session.run_with_iobinding(binding, self._options)

    def _shape(self, output: torch.Tensor) -> tuple[int, ...]:
        """Return the shape of the output as the file declares it: [rows, columns], or [rows] for one column."""
        rows, columns = output.shape
        declared = self._output.shape
        if len(declared) == 1 and columns == 1:
            return (rows,)
        if len(declared) != 2 or declared[1] != columns:
            raise BundleError(
                f"{self.where}: expected an output of [rows, {columns}], found {list(declared)}; export the bundle again."
            )
        return rows, columns

    @contextmanager
    def _in_order(self) -> Iterator[None]:
        if self._stream is None:
            yield
            return
        now = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(now)
        try:
            yield
        finally:  # also after an error: what was begun may still read and write memory that torch gives to others
            now.wait_stream(self._stream)
