"""What an export starts from: `pipeline.toml` with a checkpoint for each network, or a spec and three files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from trkx.errors import CheckpointError, SpecError, unknown_name
from trkx.manifest import STAGES
from trkx.models.checkpoint import fit, read_checkpoint
from trkx.models.networks import BUILDERS
from trkx.spec import PipelineSpec

PIPELINE = "pipeline.toml"
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Source:
    """A pipeline before its export.

    spec: everything but the weights. checkpoints: stage to safetensors file. card: the model card, or None. origin: what
    messages call it.
    """

    spec: PipelineSpec
    checkpoints: Mapping[str, Path]
    card: Path | None
    origin: str


def open_source(path: Path, spec: Path | None = None, files: Mapping[str, Path | None] | None = None) -> Source:
    """Read a pipeline folder (or its pipeline.toml).

    Args:
        path: folder with pipeline.toml, or a TOML or JSON file of the same keys.
        spec: use this specification file instead of the folder's pipeline.toml.
        files: checkpoints that replace those of the file's [checkpoints] table, None for none.

    Raises:
        SpecError: no such file, not TOML, an unknown or missing key.
        CheckpointError: a checkpoint that is not there.
    """
    file = spec or (path / PIPELINE if path.is_dir() else path)
    if not file.is_file():
        found = "an empty folder or one without it" if path.is_dir() else "nothing there"
        raise SpecError(f"{file}: expected a pipeline file ({PIPELINE}), found {found}; give a pipeline folder or --spec FILE.")
    values = _read_table(file)
    table = values.pop("checkpoints", {})
    where = str(file)
    if not isinstance(table, Mapping):
        raise SpecError(f"{where}: [checkpoints] must be a table of {', '.join(STAGES)}, found {table!r}.")
    for key, value in table.items():
        if key not in STAGES:
            raise SpecError(f"{where}: [checkpoints] has an " + unknown_name("key", str(key), STAGES))
        if not isinstance(value, str):
            raise SpecError(f"{where}: checkpoints.{key} must be a file name, found {value!r}.")
    base = path if path.is_dir() else file.parent
    checkpoints = {key: base / value for key, value in table.items()}
    checkpoints |= {stage: given for stage, given in (files or {}).items() if given is not None}
    parsed = PipelineSpec.from_dict(values, where)
    missing = [stage for stage in STAGES if stage not in checkpoints]
    if missing:
        raise CheckpointError(
            f"{where}: no checkpoint for {', '.join(missing)}; name it in [checkpoints] or give "
            f"{' '.join(f'--{stage} FILE' for stage in missing)}."
        )
    card = base / CARD
    return Source(parsed, {stage: checkpoints[stage] for stage in STAGES}, card if card.is_file() else None, where)


def _read_table(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:  # TOML, JSON and UTF-8 errors are ValueErrors
        raise SpecError(f"{file}: can't be read as {'JSON' if file.suffix == '.json' else 'TOML'}: {error}.") from error
    if not isinstance(values, dict):
        raise SpecError(f"{file}: expected a table of keys, found {type(values).__name__}.")
    return values


def load_network(source: Source, stage: str) -> nn.Module:
    """Return one network in float32 and eval mode, with the weights of its checkpoint.

    Raises:
        CheckpointError: the file can't be read, or does not fit the spec (missing, unexpected and mis-shaped keys are listed).
    """
    path = source.checkpoints[stage]
    network = BUILDERS[stage](source.spec)
    fit(network, read_checkpoint(path), f"{path} (stage {stage} of {source.origin})")
    return network.float().eval()
