"""What a checkpoint file holds, whoever wrote it: names and shapes of tensors, hyper-parameters; weights when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trkx.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["lightning", "state dict", "safetensors", "torchscript"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        path: the file.
        kind: what wrote it.
        shapes: name of each tensor to its shape, in the order of the file.
        dtypes: name of each tensor to its dtype, as torch writes it ("float32").
        reader: reads tensors by name.
        hyper_parameters: plain values (numbers, text, lists, tables); {} if there are none. Those in the file, then those of a
            YAML file beside it or given for it, which win.
        hyper_source: where hyper_parameters come from, in words; "" if there are none.
        class_name: of the network, "" if the file does not say it (TorchScript does).
        modules: path of a submodule to the name of its class ("input_network.2" to "ReLU"); {} if the file does not say it.
        notes: what a user should know of the file, one sentence each.
    """

    path: Path
    kind: Kind
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    reader: Callable[[Iterable[str]], dict[str, Tensor]]
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    hyper_source: str = ""
    class_name: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return tensors by name, on the CPU, in the dtype of the file. CheckpointError if one is not whole."""
        try:
            return self.reader(names)
        except OSError as error:
            raise CheckpointError(f"{self.path}: can't be read any more ({error.strerror}).") from error
