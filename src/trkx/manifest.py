"""What `bundle.json` holds: schema version, specification, files with SHA-256, provenance, validation, its own SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, Self

from trkx.errors import BundleError, SpecError
from trkx.identity import canonical_json
from trkx.spec import PipelineSpec, from_dict

SCHEMA = 1
"""Newest schema version that this trkx reads, and the one that it writes."""
MANIFEST_NAME = "bundle.json"
Stage = Literal["embedding", "filter", "gnn", "all"]


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle.

    Attributes:
        path: relative to the bundle folder, with "/" between parts.
        stage: the network it holds, "all" for weights, profiles and card.
        format: "onnx", "torchscript", "aoti", "safetensors", "profiles" (of TensorRT), "triton-config", "triton-python",
            "acts-config", "acts-python", "acts-cpp", "acts-readme", "card".
        precision: "float32", or the precision used inside the model.
        sha256: 64 lower-case hexadecimal digits.
        bytes: size of the file.
        opset: of the default ONNX domain, None for other formats.
        note: what was done to the file, if anything is worth telling.
        target: where the file is meant to run, "" for the files that every bundle has (ONNX Runtime on a CPU, libtorch).
    """

    path: str
    stage: Stage
    format: str
    sha256: str
    bytes: int
    precision: str = "float32"
    opset: int | None = None
    note: str = ""
    target: str = ""

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts or set(self.path) & set("\\:\0"):
            raise SpecError(f"path {self.path!r} must be relative and stay inside the bundle folder.")
        if parts == (MANIFEST_NAME,):
            raise SpecError(f"path {self.path!r}: {MANIFEST_NAME} can't list itself.")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise SpecError(f"{self.path}: sha256 must be 64 lower-case hexadecimal digits, found {self.sha256!r}.")
        if self.bytes < 0:
            raise SpecError(f"{self.path}: bytes must be at least 0, found {self.bytes}.")


@dataclass(frozen=True)
class Manifest:
    """The content of `bundle.json`.

    Attributes:
        name: of the pipeline.
        spec: features, networks, graph, cuts, labelling.
        files: every file of the bundle but `bundle.json`.
        provenance: versions, sources, options, time; plain JSON values.
        validation: what was compared before the bundle was put in place; plain JSON values.
        schema: version of this format.
    """

    name: str
    spec: PipelineSpec
    files: tuple[FileEntry, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        paths = [str(PurePosixPath(entry.path)) for entry in self.files]
        roles = [f"{entry.stage} {entry.format} {entry.precision} {entry.target}".strip() for entry in self.files]
        for what, names in (("path", paths), ("stage, format, precision and target", roles)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecError(f"files: two entries with the same {what}: {', '.join(twice)}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = MANIFEST_NAME) -> Self:
        """Return the manifest that a mapping holds.

        Raises:
            BundleError: a newer schema, an unknown or missing key, an unsafe path, a value of the wrong type.
        """
        _check_schema(values.get("schema"), where)
        free = {key: values[key] for key in ("provenance", "validation") if key in values}
        for key, value in free.items():
            if not isinstance(value, Mapping):
                raise BundleError(f"{where}.{key}: expected a table, found {value!r}.")
        try:
            manifest = from_dict(cls, {key: value for key, value in values.items() if key not in free}, where)
        except SpecError as error:
            raise BundleError(f"{error} The bundle was edited or not written by trkx; export it again.") from None
        return dataclasses.replace(manifest, **free)

    @classmethod
    def from_json(cls, data: bytes, where: str = MANIFEST_NAME, verify: bool = True) -> Self:
        """Return the manifest that JSON text (UTF-8) holds.

        Args:
            data: content of `bundle.json`.
            where: its path, for messages.
            verify: require that the content has the SHA-256 that stands in it.

        Raises:
            BundleError: not JSON, not what `from_dict` takes, or edited.
        """
        try:
            values = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
            content = {key: value for key, value in values.items() if key != "sha256"} if isinstance(values, dict) else {}
            found = _sha256(content)
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{where}: not valid JSON ({error}): truncated or edited. Export the bundle again.") from None
        if not isinstance(values, dict):
            raise BundleError(f"{where}: expected a JSON object, found {type(values).__name__}. Export the bundle again.")
        manifest = cls.from_dict(content, where)
        if verify and values.get("sha256") != found:
            problem = "its content does not have the SHA-256 that stands in it: edited or corrupted"
            if "sha256" not in values:
                problem = "expected a SHA-256 of its own, found none: edited, or written before trkx wrote one"
            raise BundleError(f"{where}: {problem}. Edit pipeline.toml instead, and export the bundle again.")
        return manifest

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as plain containers; `from_dict` is its inverse."""
        files = [{k: v for k, v in dataclasses.asdict(entry).items() if v not in (None, "")} for entry in self.files]
        return {
            "schema": self.schema,
            "name": self.name,
            "spec": self.spec.to_dict(),
            "files": files,
            "provenance": dict(self.provenance),
            "validation": dict(self.validation),
        }

    def to_json(self) -> bytes:
        """Return the manifest as JSON text, UTF-8, with its own SHA-256: that of the rest as canonical JSON.

        Raises:
            BundleError: provenance or validation hold more than plain finite values.
        """
        try:
            content = json.loads(json.dumps(self.to_dict(), allow_nan=False))  # as it will be read: no tuples, keys are text
            return (json.dumps({**content, "sha256": _sha256(content)}, indent=2) + "\n").encode("utf-8")
        except (TypeError, ValueError) as error:
            raise BundleError(f"{MANIFEST_NAME}: provenance and validation must be plain, finite values ({error}).") from None


def _check_schema(found: object, where: str) -> None:
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise BundleError(f"{where}: expected a schema version (an integer from 1), found {found!r}; this is not a trkx bundle.")
    if found > SCHEMA:
        raise BundleError(
            f"{where}: schema {found} is newer than schema {SCHEMA}, the newest that this trkx reads; "
            f"upgrade it (pip install --upgrade trkx) or export the bundle with this version."
        )


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode("ascii")).hexdigest()


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON value")
