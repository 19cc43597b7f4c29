"""Tiny pipelines for tests: a spec, a pipeline folder with random weights, and a bundle exported from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trkx.spec import CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, LabellingSpec, PipelineSpec

if TYPE_CHECKING:
    from trkx.export.build import ExportReport
    from trkx.export.pipeline_folder import Source
    from trkx.runtime.events.event import Event

SCALES = {"r": 1000.0, "phi": 3.141592653589793, "z": 1000.0}


def tiny_spec(**changes: Any) -> PipelineSpec:
    """Return a spec with all parts, so small that an export takes seconds; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "features": (
            FeatureSpec("r", SCALES["r"], 0.0, 1.1),
            FeatureSpec("phi", SCALES["phi"], -1.0, 1.0),
            FeatureSpec("z", SCALES["z"]),
        ),
        "embedding": EmbeddingSpec(hidden=8, layers=2, dim=4),
        "graph": GraphSpec(radius=0.05),
        "filter": FilterSpec(hidden=8, layers=2),
        "gnn": GNNSpec(hidden=8, iterations=2),
        "cuts": CutSpec(filter=0.3, gnn=0.4),
        "labelling": LabellingSpec(),
    }
    return PipelineSpec(**{**fields, **changes})


def toml_of(values: Mapping[str, Any], prefix: str = "") -> str:
    """Return nested plain values as TOML: scalars and lists of them first, then tables; None is left out."""
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping) or _is_rows(value)}
    plain = {key: value for key, value in values.items() if key not in tables and value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in tables.items():
        for row in [value] if isinstance(value, Mapping) else value:
            name = prefix + key
            lines += ["", f"[{name}]" if isinstance(value, Mapping) else f"[[{name}]]", toml_of(row, f"{name}.")]
    return "\n".join(lines)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and isinstance(value[0], Mapping)


def write_spec(path: Path, spec: PipelineSpec, checkpoints: Mapping[str, str] | None = None) -> Path:
    """Write a pipeline.toml."""
    table = {"checkpoints": dict(checkpoints)} if checkpoints else {}
    path.write_text(toml_of(spec.to_dict() | table) + "\n", encoding="utf-8")
    return path


def tiny_pipeline(folder: Path, spec: PipelineSpec | None = None, seed: int = 1) -> Path:
    """Write a pipeline folder with random weights (biases and norms too, so that nothing is 0 or 1 by default)."""
    import torch

    from trkx.models.checkpoint import save_checkpoint
    from trkx.models.networks import build_network

    spec = spec or tiny_spec()
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for stage in spec.stages:
            network = build_network(spec, stage)
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim == 1:
                        parameter.add_(0.3 * torch.randn_like(parameter))
            files[stage] = f"{stage}.safetensors"
            save_checkpoint(folder / files[stage], network)
    write_spec(folder / "pipeline.toml", spec, files)
    return folder


@dataclass(frozen=True)
class TinyExport:
    """A pipeline, the bundle exported from it, and what the export compared."""

    source: Source
    folder: Path
    report: ExportReport
    event: Event


def tiny_export_into(folder: Path, spec: PipelineSpec | None = None, seed: int = 1) -> TinyExport:
    """Export a tiny pipeline into folder/bundle, with files for ort-cuda; takes several seconds, so share it (`tiny_export`)."""
    from trkx.export.build import export_models
    from trkx.export.pipeline_folder import open_source
    from trkx.export.zoo import helix_event

    source = open_source(tiny_pipeline(folder / "pipeline", spec, seed))
    event = helix_event(source.spec, tracks=40)
    report = export_models(source, folder / "bundle", event, targets=("ort-cuda",))
    return TinyExport(source, folder / "bundle", report, event)


def half_bundle_into(folder: Path, bundle: Path) -> Path:
    """Copy a bundle and give it half-precision ONNX files: of all networks in float16, of filter and GNN in bfloat16."""
    import shutil
    from dataclasses import replace

    from trkx.bundle import Bundle, write_manifest
    from trkx.export.precision.files import write_half

    target = folder / "bundle"
    shutil.copytree(bundle, target)
    manifest = Bundle.open(target).manifest
    plain = [entry for entry in manifest.files if not entry.target]
    halves = write_half(target, manifest.spec, plain, ("fp16", "mixed"))
    write_manifest(target, replace(manifest, files=(*manifest.files, *halves)))
    return target
