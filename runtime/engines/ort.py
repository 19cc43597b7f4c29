"""ONNX Runtime on the CPU, from verified bytes. Needs no torch."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import onnxruntime as ort

from trkx.bundle import Bundle
from trkx.errors import BundleError, SpecError, TrkxError
from trkx.identity import require_same
from trkx.runtime.engines.base import Float, Int, not_loadable
from trkx.runtime.precision import EXACT, FILE_TYPES, precisions

LOG_ERRORS_ONLY = 3
NO_OTHER_FILES = "session.model_external_initializers_file_folder_path"
"""Where ONNX Runtime looks for weights that are not in the file; of bytes, if not said, in the current folder."""
ON_A_CPU = (EXACT, "fp16")
"""ONNX Runtime's CPU provider has no products in bfloat16."""


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


def open_engine(bundle: Bundle, threads: int, precision: str = EXACT) -> OrtEngine:
    """Return the engine for a bundle's ONNX files; of each stage the file that computes in its precision.

    Raises:
        SpecError: a precision that no file says, of a stage that the bundle lacks, or that ONNX Runtime's CPU provider lacks.
        BundleError: no such file, or one that is edited, is refused by ONNX Runtime, or says that it was made for another spec
            or stage.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = LOG_ERRORS_ONLY
    options.enable_mem_pattern = False  # sizes differ from event to event: patterns would be kept for each
    options.add_session_config_entry("session.force_spinning_stop", "1")  # leave the cores to the next stage
    options.add_session_config_entry(NO_OTHER_FILES, "/dev/null")  # weights that lie beside a file are verified by nobody
    sessions = {}
    for stage, type_ in _types(bundle, precision).items():
        data = bundle.read(stage, "onnx", type_)
        where = str(bundle.path / bundle.entry(stage, "onnx", type_).path)
        try:
            sessions[stage] = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
            raise _refused(bundle, stage, where, type_, error) from error
        require_same(sessions[stage].get_modelmeta().custom_metadata_map, bundle.spec, where, stage, type_, "ort-cpu")
    return OrtEngine(sessions)


def _refused(bundle: Bundle, stage: str, where: str, type_: str, error: Exception) -> TrkxError:
    if type_ == FILE_TYPES[EXACT]:
        return not_loadable(bundle, stage, "onnx", error)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if "NOT_IMPLEMENTED" in first:
        return SpecError(f"{where}: ONNX Runtime's CPU provider does not compute in {type_} ({first}). Engine 'tiled' does.")
    return BundleError(f"{where}: can't be loaded ({first}). Upgrade ONNX Runtime, or export the bundle again.")


def _types(bundle: Bundle, precision: str) -> dict[str, str]:
    """Return stage to the `FileEntry.precision` of the file that is wanted; BundleError names all that are not there."""
    wanted = precisions(precision, bundle.spec.stages)
    unsaid = next((name for name in wanted.values() if name not in ON_A_CPU), "")
    if unsaid:
        raise SpecError(
            f"engine 'onnxruntime' does not run in {unsaid} on a CPU, only in {', '.join(ON_A_CPU)}, for example "
            f"filter=fp16,gnn=fp16. Engine 'tiled' has {unsaid}."
        )
    types = {stage: FILE_TYPES[wanted[stage]] for stage in bundle.spec.stages}
    held = {(entry.stage, entry.precision) for entry in bundle.manifest.files if entry.format == "onnx" and not entry.target}
    halves = {(stage, type_) for stage, type_ in types.items() if type_ != FILE_TYPES[EXACT]}
    missing = [f"{stage} in {type_}" for stage, type_ in types.items() if (stage, type_) in halves - held]
    if missing:
        raise BundleError(
            f"{bundle.path}: precision '{precision}' needs ONNX files that the bundle lacks: {', '.join(missing)}. Export it "
            f"again: export-models … --precision {precision}."
        )
    return types
