"""Lays out the model repository in a bundle: `triton/STAGE/1/model.onnx`, `triton/tracks/1/model.py`, a config beside each."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from trkx.bundle import FileEntry, Stage, file_entry
from trkx.export.triton.config import TRACKS, stage_config, tracks_config
from trkx.spec import PipelineSpec

TARGET = "triton"
CONFIG, PYTHON = "triton-config", "triton-python"
"""Formats of the files beside the networks."""
MODEL = Path(__file__).with_name("model.py")


def network_path(stage: str) -> str:
    """Return where a stage's ONNX file lies in a bundle: folder of the model, its version, the name that Triton opens."""
    return f"{TARGET}/{stage}/1/model.onnx"


def write_repository(folder: Path, spec: PipelineSpec) -> list[FileEntry]:
    """Write configs and the pipeline's model beside the stages' ONNX files, and return the entries of what was written.

    A pipeline that makes no tracks (a GNN alone) gets no model `tracks`: its stages are served one by one.

    Raises:
        ExportError: a feature has the name of another input.
    """
    entries = []
    for stage in spec.stages:
        path = _write(folder, f"{TARGET}/{stage}/config.pbtxt", stage_config(spec, stage))
        entries.append(file_entry(folder, path, cast(Stage, stage), CONFIG, target=TARGET))
    if spec.makes_tracks:
        path = _write(folder, f"{TARGET}/{TRACKS}/config.pbtxt", tracks_config(spec))
        entries.append(file_entry(folder, path, "all", CONFIG, target=TARGET))
        path = _write(folder, f"{TARGET}/{TRACKS}/1/model.py", MODEL.read_text(encoding="utf-8"))
        note = "run by Triton's Python backend only; needs trkx there"
        entries.append(file_entry(folder, path, "all", PYTHON, target=TARGET, note=note))
    return entries


def _write(folder: Path, path: str, text: str) -> str:
    place = folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(text.encode())
    return path
