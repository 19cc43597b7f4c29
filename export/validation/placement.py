"""Where each operator of an ONNX file ran, from ONNX Runtime's own profile: no silent fall-back to another provider."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime

from trkx.errors import ExportError
from trkx.export.targets import target_of
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.report import Row, Status
from trkx.export.zoo import Case, feeds_of

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""Device of a target to the ONNX Runtime provider that every operator must run on."""
LOG_ERRORS_ONLY = 3
SHAPE_OPERATORS = ("Shape", "Size")
"""Operators whose result ONNX Runtime keeps in host memory by design: on a GPU they touch no data, so they are no fall-back."""


@dataclass(frozen=True)
class Placement:
    """Operators of one run: provider to operator to how many nodes ran there; memcpy: copies between host and device."""

    nodes: Mapping[str, Mapping[str, int]]
    memcpy: int

    @property
    def total(self) -> int:
        """Number of nodes that ran."""
        return sum(count for operators in self.nodes.values() for count in operators.values())

    def elsewhere(self, provider: str) -> dict[str, int]:
        """Return operators that ran on another provider, "Operator on Provider" to how many nodes."""
        return {
            f"{operator} on {name or 'no provider'}": count
            for name, operators in self.nodes.items() if name != provider
            for operator, count in operators.items() if name != PROVIDERS["cpu"] or operator not in SHAPE_OPERATORS
        }


def placement_of(profile: Sequence[Mapping[str, Any]]) -> Placement:
    """Read a profile (the JSON list that ONNX Runtime writes): each node once, however often the session ran.

    Raises:
        ExportError: it names no node at all, so it proves nothing.
    """
    found: dict[str, tuple[str, str]] = {}
    for event in profile:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "op_name" in arguments:
            name = str(event.get("name", "")).removesuffix("_kernel_time")
            found[f"{arguments.get('node_index', '')} {name}"] = (str(arguments.get("provider", "")), str(arguments["op_name"]))
    if not found:
        raise ExportError("the profile of ONNX Runtime names no operator; expected one entry for each node that ran.")
    nodes: dict[str, Counter[str]] = {}
    for provider, operator in found.values():
        nodes.setdefault(provider, Counter())[operator] += 1
    return Placement(nodes, sum(operator.startswith("Memcpy") for _, operator in found.values()))


def profiled(file: ModelFile, case: Case, provider: str) -> Placement:
    """Run an ONNX file once on a provider with profiling, and return where its nodes ran."""
    with tempfile.TemporaryDirectory(prefix="trkx-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.log_severity_level = LOG_ERRORS_ONLY
        wanted = [provider] if provider == PROVIDERS["cpu"] else [provider, PROVIDERS["cpu"]]  # as users set it
        session = onnxruntime.InferenceSession(file.data, options, providers=wanted)
        session.run(None, feeds_of(case, [value.name for value in session.get_inputs()]))
        profile = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return placement_of(profile)


def placement_rows(file: ModelFile, case: Case) -> list[Row]:
    """Return a row for each device that the file's target runs on; "not checked" for a provider that is not here.

    Args:
        file: an ONNX file; other formats have no profile and get no row.
        case: a graph of its stage.
    """
    if file.format != "onnx":
        return []
    return [_row(file, case, PROVIDERS[device]) for device in target_of(file.target).devices]


def _row(file: ModelFile, case: Case, provider: str) -> Row:
    def row(status: Status, detail: str) -> Row:
        return Row("placement", file.stage, file.path, f"ONNX Runtime, {provider}", case.name, status, detail=detail)

    here = onnxruntime.get_available_providers()
    if provider not in here:
        return row("not checked", f"{provider} is not part of this onnxruntime, which has {', '.join(here)}")
    try:
        placement = profiled(file, case, provider)
    except Exception as error:  # ONNX Runtime has error classes of its own
        return row("failed", f"can't be run with profiling: {error}")
    return row(*verdict(placement, provider))


def verdict(placement: Placement, provider: str) -> tuple[Status, str]:
    """Say whether every node ran on the provider that was asked for, and which did not."""
    counted = f"{placement.total} nodes, {placement.memcpy} copies between host and device"
    elsewhere = placement.elsewhere(provider)
    if not elsewhere:
        return "passed", f"{counted}; all on {provider}"
    shown = ", ".join(f"{count} {name}" for name, count in sorted(elsewhere.items(), key=lambda item: -item[1])[:6])
    number = sum(elsewhere.values())
    if not placement.nodes.get(provider):
        return "failed", (f"{counted}; {provider} was asked for and not one node ran there ({shown}): the provider could not be "
                          "loaded and ONNX Runtime fell back silently; look at its libraries and versions")
    return "failed", (f"{counted}; {number} did not run on {provider} ({shown}): ONNX Runtime has no kernel for them there, and "
                      "every such node costs copies; export for this target again")
