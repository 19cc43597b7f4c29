"""Peak memory of running a file on a graph, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from trkx.errors import ExportError
from trkx.export.validation.memory_child import STATUS
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.report import Row, Status
from trkx.export.zoo import Case

TIMEOUT = 300.0  # s
FORMATS = ("onnx", "torchscript")
CHILD = "trkx.export.validation.memory_child"


def memory_rows(file: ModelFile, case: Case, threads: int = 1) -> list[Row]:
    """Return one row: how much memory the file needs for a graph. It passes if the file runs; numbers stand in the detail.

    Args:
        file: an ONNX or a TorchScript file.
        case: a graph of its stage.
        threads: of the engine.
    """

    def row(status: Status, detail: str) -> list[Row]:
        engine = "ONNX Runtime CPU" if file.format == "onnx" else "TorchScript"
        return [Row("memory", file.stage, file.path, engine, case.name, status, detail=detail)]

    if file.format not in FORMATS:
        return row("not checked", f"memory of {file.format} files is not measured; only that of {', '.join(FORMATS)}")
    if not STATUS.is_file():
        return row("not checked", "this system has no /proc to read the peak from (Linux has)")
    try:
        before, peak = peak_of(file, case, threads)
    except ExportError as error:
        return row("failed", str(error))
    count, unit = (len(case.x), "hit") if file.stage == "embedding" else (case.edge_index.shape[1], "edge")
    extra = max(peak - before, 0)
    detail = f"{extra / 1e6:,.1f} MB above the loaded model for {count:,} {unit}s: {extra / max(count, 1):,.0f} bytes per {unit}"
    return row("passed", f"{detail}; peak of the process {peak / 1e6:,.0f} MB")


def peak_of(file: ModelFile, case: Case, threads: int = 1) -> tuple[int, int]:
    """Return bytes of memory of a fresh process: (with the model loaded and run once on one edge, peak while running a graph).

    Raises:
        ExportError: the process failed, was killed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="trkx-memory-") as folder:
        place = Path(folder)
        (place / "model").write_bytes(file.data)
        np.savez(place / "graph.npz", *case.arrays(file.stage))
        command = [sys.executable, "-m", CHILD, folder, file.format, str(threads)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            raise ExportError(f"running it in a process of its own took more than {TIMEOUT:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ExportError(f"the process that ran it ended with {done.returncode} (out of memory?): {last}")
    before, peak = json.loads(done.stdout)
    return int(before), int(peak)
