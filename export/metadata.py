"""What a bundle says about where it came from, and what an ONNX file says about itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trkx import __version__
from trkx.errors import ExportError
from trkx.identity import PREFIX, SPEC_KEY, STAGE_KEY, TARGET_KEY, spec_json
from trkx.manifest import SCHEMA
from trkx.spec import PipelineSpec

PACKAGES = ("torch", "onnx", "onnxscript", "onnxsim", "onnxruntime", "onnxruntime-gpu", "numpy", "safetensors")


def onnx_metadata(spec: PipelineSpec, stage: str, target: str = "ort-cpu") -> dict[str, str]:
    """Return the metadata_props of one stage's ONNX file, so that a file without its bundle still says what it is."""
    return {
        PREFIX + "schema": str(SCHEMA),
        SPEC_KEY: spec_json(spec),
        STAGE_KEY: stage,
        TARGET_KEY: target,
        PREFIX + "version": __version__,
    }


def weights_metadata(spec: PipelineSpec) -> dict[str, str]:
    """Return the metadata of weights.safetensors. One key: safetensors writes several in no fixed order."""
    return {SPEC_KEY: spec_json(spec)}


def utc_time() -> str:
    """Return the time as ISO 8601 in UTC, to the second; SOURCE_DATE_EPOCH (seconds since 1970) replaces the clock.

    Raises:
        ExportError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        raise ExportError(f"SOURCE_DATE_EPOCH must be whole seconds since 1970, found '{epoch}'; mend or unset it.") from None


def versions() -> dict[str, str]:
    """Return the versions of trkx and of the installed packages that take part in an export."""
    found = {"trkx": __version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def provenance(checkpoints: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's provenance: time, versions, SHA-256 of each source checkpoint, options of the export.

    Checkpoints are named by file name only: a bundle does not tell the folders of the machine that made it.
    """
    return {
        "created": utc_time(),
        "versions": versions(),
        "checkpoints": {stage: {"file": path.name, "sha256": sha256(path.read_bytes())} for stage, path in checkpoints.items()},
        "options": dict(options),
    }
