"""What a checkpoint of another code base is, as plain values: family, layers, features, what an export would ask for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from trkx.errors import CheckpointError, SpecError
from trkx.export.assembling import Given, assembled
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.families.reading import Reading
from trkx.models.families.table import family_of, recognise
from trkx.runtime.describe import Description
from trkx.spec import STAGES

SUFFIXES = (".ckpt", ".pt", ".pth", ".pkl", ".bin", ".tar", ".safetensors")
"""Files that may be checkpoints."""


def describe_checkpoint(path: Path, family: str | None = None, hparams: Path | None = None) -> Description:
    """Return what a checkpoint is; key "refused" says why it is none that trkx can export. Weights are not read.

    Raises:
        CheckpointError: it can't be read at all.
    """
    checkpoint = open_checkpoint(path, hparams)
    found: Description = {
        "kind": "checkpoint",
        "path": str(path),
        "container": checkpoint.kind,
        "class": checkpoint.class_name,
        "tensors": [{"name": n, "dtype": checkpoint.dtypes[n], "shape": list(shape)} for n, shape in checkpoint.shapes.items()],
        "hyper_parameters": dict(checkpoint.hyper_parameters),
        "hyper_source": checkpoint.hyper_source,
        "notes": list(checkpoint.notes),
    }
    try:
        reading = recognise(checkpoint, None, family)
    except CheckpointError as error:
        return found | {"refused": str(error)}
    return found | _recognised(checkpoint, reading, hparams)


def describe_foreign_folder(path: Path) -> Description | None:
    """Return what a folder with pipeline.toml and checkpoints of other code bases is, None if its file describes the networks.

    Raises:
        SpecError, CheckpointError: as an export would.
    """
    file = path / "pipeline.toml"
    if not file.is_file():
        return None
    from trkx.export.pipeline_folder import open_source, read_table  # torch; whoever only looks at bundles may not have it

    if any(stage in read_table(file) for stage in STAGES):
        return None
    source = open_source(path)
    rows = [{"path": held.name, "stage": stage, "format": source.readings[stage].family, "bytes": held.stat().st_size,
             "state": "ok", "content": {}} for stage, held in source.checkpoints.items()]
    return {"kind": "pipeline folder", "path": str(path), "ok": True, "name": source.spec.name, "spec": source.spec.to_dict(),
            "files": rows, "notes": list(source.notes)}


def _recognised(checkpoint: Checkpoint, reading: Reading, hparams: Path | None) -> dict[str, Any]:
    row = family_of(reading.family)
    used = sum(math.prod(checkpoint.shapes[key]) for key in set(reading.weights.values()))
    facts = {name: value for name, value in vars(reading.facts).items() if value is not None}
    given = Given({reading.stage: reading.family}, {} if hparams is None else {reading.stage: hparams})
    missing: list[str] = []
    try:
        assembled({reading.stage: checkpoint.path}, given)
    except SpecError as error:
        missing = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
    return {
        "family": reading.family,
        "stage": reading.stage,
        "title": row.title,
        "forward": row.forward,
        "page": row.page,
        "summary": reading.spec.summary,
        "inputs": reading.inputs,
        "parameters": used,
        "facts": facts,
        "assumed": list(reading.assumed),
        "unused": sorted(checkpoint.shapes.keys() - set(reading.weights.values())),
        "missing": missing,
    }
