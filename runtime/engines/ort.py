"""ONNX Runtime on the CPU, from verified bytes. Needs no torch."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnxruntime as ort

from trkx.bundle import Bundle
from trkx.identity import require_same
from trkx.runtime.engines.base import Float, Int, not_loadable

LOG_ERRORS_ONLY = 3


class OrtEngine:
    """One session a stage. The filter keeps its memory from chunk to chunk, and returns it before the graph network runs."""

    def __init__(self, sessions: dict[str, Any]) -> None:
        self._sessions = sessions
        self._shrink = ort.RunOptions()
        self._shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def _run(self, stage: str, options: Any, **inputs: Float | Int) -> Float:
        return cast(Float, self._sessions[stage].run(["output"], inputs, options)[0])

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        return self._run("embedding", self._shrink, x=x)

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        return self._run("filter", None, x=x, edge_index=np.ascontiguousarray(edge_index)).reshape(-1)

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        if "filter" in self._sessions:  # one edge: only to shrink
            self._run("filter", self._shrink, x=x[:1], edge_index=np.zeros((2, 1), np.int64))
        more = {} if edge_attr is None else {"edge_attr": np.ascontiguousarray(edge_attr)}
        return self._run("gnn", self._shrink, x=x, edge_index=np.ascontiguousarray(edge_index), **more).reshape(-1)


def open_engine(bundle: Bundle, threads: int) -> OrtEngine:
    """Return the engine for a bundle's ONNX files.

    Raises:
        BundleError: a file is edited, is refused by ONNX Runtime, or says that it was made for another spec or stage.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = LOG_ERRORS_ONLY
    options.enable_mem_pattern = False  # sizes differ from event to event: patterns would be kept for each
    options.add_session_config_entry("session.force_spinning_stop", "1")  # leave the cores to the next stage
    sessions = {}
    for stage in bundle.spec.stages:
        data = bundle.read(stage, "onnx")
        try:
            sessions[stage] = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
            raise not_loadable(bundle, stage, "onnx", error) from error
        where = str(bundle.path / bundle.entry(stage, "onnx").path)
        require_same(sessions[stage].get_modelmeta().custom_metadata_map, bundle.spec, where, stage)
    return OrtEngine(sessions)
