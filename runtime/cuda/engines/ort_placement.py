"""Whether the parts of a session run where they should, from ONNX Runtime's own profile of one run.

ONNX Runtime leaves to the CPU what a provider has no kernel for, with copies both ways, and says so in no error. What computes
shapes belongs there; what touches a value for each hit or edge does not.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import torch

from trkx.errors import BundleError, MissingExtraError
from trkx.runtime.cuda.engines.ort_session import BoundSession
from trkx.runtime.engines.ort import NO_OTHER_FILES
from trkx.spec import PipelineSpec

HITS, EDGES = 211, 307
"""Of the run that is profiled: numbers that are no width of a network, so that a tensor with such an axis is one of the event."""
SHAPES = ("Shape", "Size")
"""Operators that read the shape of a tensor and none of its values."""
CPU = "CPUExecutionProvider"
LOG_ERRORS_ONLY = 3
Provider = str | tuple[str, dict[str, str]]


def misplaced(profile: Sequence[Mapping[str, Any]], allowed: Sequence[str], rows: Sequence[int]) -> Counter[str]:
    """Return the operators that touch an event's values outside the `allowed` providers, "Operator on Provider" to how many.

    Args:
        profile: what ONNX Runtime wrote, a list of events.
        allowed: providers.
        rows: numbers of hits and edges of the run.

    Raises:
        BundleError: it names no operator, so it proves nothing.
    """
    seen: dict[str, str] = {}
    nodes = 0
    for event in profile:
        arguments = event.get("args", {})
        if event.get("cat") != "Node" or "op_name" not in arguments:
            continue
        nodes += 1
        provider, operator = str(arguments.get("provider", "")), str(arguments["op_name"])
        if provider in allowed or operator in SHAPES or not _touches(arguments, rows):
            continue
        seen[f"{arguments.get('node_index', '')} {event.get('name', '')}"] = f"{operator} on {provider or 'no provider'}"
    if not nodes:
        raise BundleError("ONNX Runtime's profile names no operator; expected one entry for each that ran: try another version.")
    return Counter(seen.values())


def _touches(arguments: Mapping[str, Any], rows: Sequence[int]) -> bool:
    """Return whether an operator reads or writes a tensor with an axis as long as one of `rows`."""
    tensors = [*arguments.get("input_type_shape", ()), *arguments.get("output_type_shape", ())]
    return any(size in rows for tensor in tensors for shape in tensor.values() for size in shape)


def require_placement(profile: Sequence[Mapping[str, Any]], where: str, allowed: Sequence[str], rows: Sequence[int]) -> None:
    """Raise BundleError unless all that touches an event's values ran on the allowed providers, and something on the first.

    profile, allowed, rows: as of `misplaced`. where: the file, for messages.
    """
    elsewhere = misplaced(profile, allowed, rows)
    there = {event.get("args", {}).get("provider") for event in profile if event.get("cat") == "Node"}
    if allowed[0] not in there:
        raise BundleError(
            f"{where}: not one operator ran on {allowed[0]}: ONNX Runtime fell back silently. Look at the versions of its "
            "libraries (CUDA, cuDNN, TensorRT), or choose another engine."
        )
    if elsewhere:
        shown = ", ".join(f"{count} {name}" for name, count in elsewhere.most_common(6))
        raise BundleError(
            f"{where}: {sum(elsewhere.values())} operators would copy the event to the host and back ({shown}): {allowed[0]} has "
            "no kernel for them. Export the bundle again with a newer trkx, or upgrade onnxruntime-gpu."
        )


def probe_inputs(spec: PipelineSpec, stage: str, hits: int, edges: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Return made-up inputs of a stage, by name, on a device."""
    made = torch.Generator().manual_seed(0)
    given = {"x": torch.rand(hits, len(spec.features), generator=made)}
    if stage != "embedding":
        given["edge_index"] = torch.randint(0, hits, (2, edges), generator=made)
    if stage == "gnn" and spec.edge_features:
        given["edge_attr"] = torch.rand(edges, len(spec.edge_features), generator=made)
    return {name: tensor.to(device) for name, tensor in given.items()}


def _require_loaded(there: Sequence[str], where: str, wanted: str) -> None:
    """Raise MissingExtraError where ONNX Runtime left a provider out, which it does without an error if a library is missing."""
    if wanted not in there:
        raise MissingExtraError(
            f"{where}: ONNX Runtime could not load its {wanted}, and has only {', '.join(there)}: libraries of CUDA, cuDNN or "
            "TensorRT are missing or of another version; what it printed says which file. Take an onnxruntime-gpu and a torch "
            "for the same CUDA: the libraries of torch serve both."
        )


def opened_session(
    data: bytes, where: str, providers: Sequence[Provider], device: torch.device, stream: torch.cuda.Stream | None,
    allowed: Sequence[str], probe: Mapping[str, torch.Tensor],
) -> BoundSession:
    """Return a session that has run once and whose parts are where they should be.

    Args:
        data: the file.
        where: its path, for messages.
        providers: with options.
        device: of the tensors.
        stream: the one that the providers were told of; None on a CPU.
        allowed: names of the providers that may touch an event; at least one part must run on the first.
        probe: inputs that are run.

    Raises:
        BundleError: ONNX Runtime refuses it, or would run it elsewhere.
        MissingExtraError: ONNX Runtime could not load the first of `allowed`.
    """
    options = ort.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.enable_mem_pattern = False  # sizes differ from event to event: patterns would be kept for each
    options.enable_profiling = True
    options.add_session_config_entry(NO_OTHER_FILES, "/dev/null")  # weights that lie beside a file are verified by nobody
    with tempfile.TemporaryDirectory(prefix="trkx-profile-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session: Any = ort.InferenceSession(data, options, providers=list(providers))
        except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BundleError(
                f"{where}: can't be loaded by {allowed[0]} ({first}). Upgrade ONNX Runtime, or export the bundle again."
            ) from error
        _require_loaded(session.get_providers(), where, allowed[0])
        bound = BoundSession(session, device, stream, where)
        hits, edges = len(probe["x"]), probe["edge_index"].shape[1] if "edge_index" in probe else 0
        bound(probe, torch.empty((edges or hits, bound.columns), dtype=torch.float32, device=device))
        if stream is not None:
            stream.synchronize()
        profile = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    require_placement(profile, where, allowed, (hits, edges) if edges else (hits,))
    return bound
