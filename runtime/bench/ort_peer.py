"""Names of the peers of our networks, and ONNX Runtime on a file as a user would run it. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.bench.measure import NotHereError, first_line

Arrays = Sequence[NDArray[Any]]
"""x, float32 [N, F]; edge_index, int64 [2, E]; edge_attr, float32 [E, A]: as many as a network reads."""
Run = Callable[[Arrays], NDArray[np.float32]]
"""Arrays to logits, float32 [E, 1], or points, float32 [N, D]."""

CONCATENATED, FROZEN, COMPILED = "torch eager, concatenated", "TorchScript, frozen", "torch.compile"
TORCH_ONNX, TORCH_ONNX_MENDED = "torch's ONNX export in ONNX Runtime", "the same, mended"
"""Mended: with scatter_add and without the exporter's optimiser, for those who found that the defaults write wrong files."""
PEERS = (CONCATENATED, FROZEN, COMPILED, TORCH_ONNX, TORCH_ONNX_MENDED)


def ort_run(model: bytes | Path, threads: int) -> Run:
    """Return a run of an ONNX file in ONNX Runtime with its default options but the number of threads.

    Raises:
        NotHereError: ONNX Runtime is missing or refuses the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise NotHereError("onnxruntime is not installed") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
        raise NotHereError(f"ONNX Runtime refuses it: {first_line(error)}") from error
    names = [value.name for value in session.get_inputs()]

    def run(arrays: Arrays) -> NDArray[np.float32]:
        feeds = dict(zip(names, map(np.ascontiguousarray, arrays), strict=True))
        return np.asarray(session.run(None, feeds)[0], np.float32)

    return run
