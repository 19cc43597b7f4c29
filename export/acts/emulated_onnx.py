"""ACTS's OnnxEdgeClassifier, emulated on ONNX Runtime: inputs by position, a preallocated output of the declared rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.acts.emulator import Float, Graph, Judged, NoEdgesError, Read, option, scored


def masked(x: Float, selected: Sequence[int]) -> Float:
    """Return the columns of x [N, F] that a stage selects, always in ascending order: there the selection is a mask."""
    if any(not 0 <= column < x.shape[1] for column in selected):
        raise ExportError(f"selectedFeatures {list(selected)} reach beyond the {x.shape[1]} features that ACTS has.")
    return np.ascontiguousarray(x[:, sorted(set(selected))])


def session_of(data: bytes) -> Any:
    """Return a session with the options that ACTS gives it: one thread, sequential, extended optimisations, CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_into(session: Any, feeds: Mapping[str, NDArray[np.generic]], output: str, shape: Sequence[int]) -> Float:
    """Run a session on the caller's memory, without copies, and return the memory that it was given for a float32 output.

    Raises:
        ExportError: the model makes another shape or type than the memory is for, or can't take an input.
    """
    memory = np.full(tuple(shape), np.nan, np.float32)
    binding = session.io_binding()
    try:
        for name, array in feeds.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        binding.bind_output(output, "cpu", 0, np.float32, memory.shape, memory.ctypes.data)
        session.run_with_iobinding(binding)
    except Exception as error:  # ONNX Runtime has error classes of its own
        raise ExportError(f"an output of shape {list(shape)} was preallocated: {' '.join(str(error).split())}") from error
    return memory


class OnnxEdgeClassifier:
    """An ONNX classifier as ACTS configures and calls it. One session serves all threads."""

    def __init__(self, options: Mapping[str, Any], read: Read) -> None:
        """Open the model; options: of the stage, as in acts.json."""
        self.file: str = option(options, "model", str)
        self.cut = float(option(options, "cut", (int, float), 0.5))
        self.selected: list[int] = list(option(options, "selectedFeatures", list, []))
        self.scales: list[float] = list(option(options, "featureScales", list, []))
        try:
            self.session = session_of(read(self.file))
        except Exception as error:
            raise ExportError(f"{self.file}: ONNX Runtime can't load it: {' '.join(str(error).split())}") from error
        self.inputs = [item.name for item in self.session.get_inputs()]
        outputs = self.session.get_outputs()
        if len(self.inputs) not in (2, 3) or len(outputs) != 1:
            found = f"{len(self.inputs)} inputs and {len(outputs)} outputs"
            raise ExportError(f"{self.file}: ACTS wants 2 or 3 inputs and 1 output, found {found}.")
        self.output, self.rank = outputs[0].name, len(outputs[0].shape or ())

    def judge(self, graph: Graph) -> Judged:
        """Return what the model says of the edges of a graph. Without an edge the model is run all the same."""
        count = graph.edge_index.shape[1]
        x = masked(graph.x, self.selected) if self.selected else graph.x
        if self.scales:
            if len(self.scales) != x.shape[1]:
                raise ExportError(f"featureScales has {len(self.scales)} values for {x.shape[1]} selected features.")
            x = x * (np.float32(1.0) / np.asarray(self.scales, np.float32))  # once more: the algorithm has divided already
        feeds: list[NDArray[np.generic]] = [x, graph.edge_index]
        if len(self.inputs) == 3:
            if graph.edge_attr is None:
                raise ExportError(f"{self.file}: the model has three inputs, and this chain of ACTS makes no edge features.")
            feeds.append(graph.edge_attr)
        shape = [size for size in (count, 1) if size > 1 or self.rank == 2]  # whatever is 1 (or 0) is left out for another rank
        if not count and not shape:
            raise ExportError(
                f"{self.file}: the output has rank {self.rank}, so ACTS preallocates a scalar of no value for 0 edges; "
                "export it as [E, 1]."
            )
        logits = run_into(self.session, dict(zip(self.inputs, feeds, strict=True)), self.output, shape).reshape(-1)
        if not count:
            raise NoEdgesError
        return scored(logits, self.cut)
