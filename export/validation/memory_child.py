"""What `trkx.export.validation.memory` starts as a process of its own: runs one file on one graph, writes two numbers."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Run = Callable[[Sequence[NDArray[Any]]], object]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What the kernel takes in clear_refs to start its record of the peak anew (Linux 4.0, proc(5))."""


def status_bytes(key: str) -> int:
    """Return one size of this process from /proc/self/status, in bytes: "VmRSS" now, "VmHWM" at the peak."""
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def measure(folder: Path, format: str, threads: int) -> tuple[int, int]:
    """Load, run on one edge, start the peak anew, run on the graph; return memory before and at the peak, in bytes.

    Args:
        folder: holds the file as "model" and its inputs as "graph.npz", in their order: x, edge_index, edge_attr.
        format: "onnx" or "torchscript".
        threads: of the engine.
    """
    graph = np.load(folder / "graph.npz")
    inputs = [graph[name] for name in graph.files]
    small = [inputs[0][:1], *([np.zeros((2, 1), np.int64)] if len(inputs) > 1 else []), *(array[:1] for array in inputs[2:])]
    run = _open_onnx(folder, threads) if format == "onnx" else _open_torchscript(folder, threads)
    run(small)
    with contextlib.suppress(OSError):  # not allowed here: the peak then includes loading, which is smaller than a large graph
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
    before = status_bytes("VmRSS")
    run(inputs)
    return before, status_bytes("VmHWM")


def _open_onnx(folder: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession((folder / "model").read_bytes(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return lambda inputs: session.run(None, dict(zip(names, inputs, strict=True)))


def _open_torchscript(folder: Path, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # see torchscript_file.torchscript_is_meant
        module = torch.jit.load(str(folder / "model"), map_location="cpu")

    def run(inputs: Sequence[NDArray[Any]]) -> object:
        with torch.no_grad():
            return module(*(torch.from_numpy(value) for value in inputs))

    return run


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
