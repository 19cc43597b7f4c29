"""ONNX Runtime with its CUDA or TensorRT provider, on tensors of torch: no copy through the host between stages.

It is opened with the files of the bundle that were written for the provider: what is right on a CPU need not be on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnxruntime as ort
import torch

from trkx.bundle import Bundle
from trkx.errors import BundleError, MissingExtraError, SpecError
from trkx.identity import require_same
from trkx.runtime.cuda.engines.base import DeviceFilter
from trkx.runtime.cuda.engines.ort_placement import CPU, EDGES, HITS, opened_session, probe_inputs
from trkx.runtime.cuda.engines.ort_session import BoundSession
from trkx.runtime.cuda.engines.table import require_precision
from trkx.runtime.precision import EXACT, FILE_TYPES
from trkx.spec import PipelineSpec

if TYPE_CHECKING:
    from trkx.runtime.cuda.engines.tensorrt import TensorRTEngine

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
TARGETS = {CUDA: "ort-cuda", TENSORRT: "tensorrt"}
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
CHUNK = 1 << 17
"""Edges that the filter sees at once."""

class OrtDeviceEngine:
    """One session a stage, on one device.

    spec: of the pipeline. sessions: by stage. chunk: edges that the filter sees at once, unless its norms look at all.
    """

    def __init__(
        self, spec: PipelineSpec, sessions: Mapping[str, BoundSession], device: torch.device, chunk: int = CHUNK
    ) -> None:
        self.device = device
        self._spec = spec
        self._sessions = sessions
        self._chunk = None if spec.filter is not None and spec.filter.looks_at_all_rows else chunk

    def _run(self, stage: str, output: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        if stage not in self._sessions:
            raise SpecError(f"this bundle has no {stage}; it has {', '.join(self._sessions)}.")
        if len(output):  # ONNX Runtime binds no empty memory, and there is nothing to compute
            self._sessions[stage]({name: tensor.contiguous() for name, tensor in inputs.items()}, output)
        return output

    def _new(self, rows: int, columns: int = 1) -> torch.Tensor:
        return torch.empty((rows, columns), dtype=torch.float32, device=self.device)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D]."""
        return self._run("embedding", self._new(len(x), self._spec.width("embedding")), x=x)

    def edge_filter(self, x: torch.Tensor) -> DeviceFilter:
        """Return the filter for the edges of the event with hits x."""

        def judge(edge_index: torch.Tensor) -> torch.Tensor:
            edges = edge_index.shape[1]
            chunk = self._chunk or max(edges, 1)
            logits = self._new(edges)
            for start in range(0, edges, chunk):
                end = min(start + chunk, edges)
                self._run("filter", logits[start:end], x=x, edge_index=edge_index[:, start:end])
            return logits.squeeze(1)

        return judge

    def gnn(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the graph network's logit of each edge, float32 [E]."""
        more = {} if edge_attr is None else {"edge_attr": edge_attr}
        return self._run("gnn", self._new(edge_index.shape[1]), x=x, edge_index=edge_index, **more).squeeze(1)


def open_engine(bundle: Bundle, device: torch.device, precision: str) -> OrtDeviceEngine:
    """Return the engine "onnxruntime-cuda" for a bundle's ONNX files of target ort-cuda; on a CPU, for tests, of ort-cpu.

    Raises:
        SpecError: a precision that it does not run in.
        MissingExtraError: this onnxruntime has no CUDA provider.
        BundleError: a file that is missing, edited, refused by ONNX Runtime, made for another spec or stage, or parts of which
            would run on the host.
    """
    wanted = require_precision("onnxruntime-cuda", precision, bundle.spec.stages)
    stream = _stream(device)
    provider = CPU if stream is None else CUDA
    _require_provider(provider)
    target, types = _files(bundle, wanted, provider)
    sessions = {}
    for stage, type_ in types.items():
        providers = [CPU] if stream is None else [(CUDA, cuda_options(device, stream, wanted[stage] == "tf32"))]
        where = str(bundle.path / bundle.entry(stage, "onnx", type_, target).path)
        data = bundle.read(stage, "onnx", type_, target)
        sessions[stage] = opened_session(
            data, where, providers, device, stream, (provider,), probe_inputs(bundle.spec, stage, HITS, EDGES, device)
        )
        held = sessions[stage].session.get_modelmeta().custom_metadata_map
        require_same(held, bundle.spec, where, stage, type_, target or "ort-cpu")
    return OrtDeviceEngine(bundle.spec, sessions, device)


def open_tensorrt(bundle: Bundle, device: torch.device, precision: str) -> TensorRTEngine:
    """Return the engine "onnxruntime-tensorrt" for a bundle's ONNX files of target tensorrt, with their profiles.

    TensorRT multiplies float32 as TF32 unless NVIDIA_TF32_OVERRIDE=0 is set; ONNX Runtime has no option for it
    (microsoft/onnxruntime issue 26029).

    Raises:
        SpecError: a precision that it does not run in, or "fp32" where TF32 is not switched off.
        MissingExtraError, BundleError: as of `open_engine`; or the bundle has no profiles.
    """
    wanted = require_precision("onnxruntime-tensorrt", precision, bundle.spec.stages)
    stream = _stream(device)
    if stream is None:
        raise SpecError("engine 'onnxruntime-tensorrt' runs on a GPU only; on a CPU take engine 'onnxruntime'.")
    require_no_tf32({stage: wanted[stage] for stage in bundle.spec.stages}, os.environ.get(TF32_OVERRIDE))
    _require_provider(TENSORRT)
    from trkx.runtime.cuda.engines.tensorrt import TensorRTEngine
    from trkx.runtime.cuda.tensorrt.cache import default_cache
    from trkx.runtime.cuda.tensorrt.profiles import profiles_of
    from trkx.runtime.cuda.tensorrt.provider import provider_options

    target, types = _files(bundle, wanted, TENSORRT)
    profiles, sessions = profiles_of(bundle), {}
    for stage, type_ in types.items():
        profile = profiles.of(stage)
        data = bundle.read(stage, "onnx", type_, target)
        cache = default_cache() / "onnxruntime"
        computes = f"{wanted[stage]} on {torch.cuda.get_device_name(device)}"
        own = provider_options(profile, bundle.spec, cache, device.index or 0, stream.cuda_stream, data, computes)
        providers = [(TENSORRT, own), (CUDA, cuda_options(device, stream, wanted[stage] == "tf32"))]
        where = str(bundle.path / bundle.entry(stage, "onnx", type_, target).path)
        hits, edges = profile.hits.opt, profile.edges.opt if profile.edges is not None else 0
        sessions[stage] = opened_session(
            data, where, providers, device, stream, (TENSORRT, CUDA), probe_inputs(bundle.spec, stage, hits, edges, device)
        )
        held = sessions[stage].session.get_modelmeta().custom_metadata_map
        require_same(held, bundle.spec, where, stage, type_, target or "ort-cpu")
    return TensorRTEngine(bundle.spec, profiles, sessions, device)


def require_no_tf32(wanted: Mapping[str, str], override: str | None) -> None:
    """Raise SpecError where TensorRT would take TF32 for products in float32, which files in half precision have as well.

    wanted: stage to precision. override: NVIDIA_TF32_OVERRIDE.
    """
    exact = [stage for stage, precision in wanted.items() if precision != "tf32"]
    if exact and override != "0":
        raise SpecError(
            f"engine 'onnxruntime-tensorrt' multiplies float32 as TF32, unless {TF32_OVERRIDE}=0 is set before Python starts; "
            f"{', '.join(f'{stage} shall run in {wanted[stage]}' for stage in exact)}, whose products in float32 are exact. Set "
            "it, or say tf32, or take engine 'tensorrt'."
        )


def cuda_options(device: torch.device, stream: torch.cuda.Stream, tf32: bool) -> dict[str, str]:
    """Return the options of the CUDA provider: on which device and stream, and whether float32 is multiplied as TF32."""
    return {
        "device_id": str(device.index or 0),
        "user_compute_stream": str(stream.cuda_stream),
        "use_tf32": str(int(tf32)),
        "arena_extend_strategy": "kSameAsRequested",
    }


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a stream for the sessions, None on a CPU. Not torch's default one: its address, 0, tells the provider of none."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def _require_provider(name: str) -> None:
    here = ort.get_available_providers()
    if name not in here:
        raise MissingExtraError(
            f"this onnxruntime has no {name}, only {', '.join(here)}. Install the one for GPUs in its place: pip uninstall "
            'onnxruntime, then pip install "trkx[gpu]".'
        )


def _files(bundle: Bundle, wanted: Mapping[str, str], provider: str) -> tuple[str, dict[str, str]]:
    """Return the target of the files, and stage to their `FileEntry.precision`; BundleError names all that are missing."""
    target = TARGETS.get(provider, "")
    types = {stage: FILE_TYPES.get(wanted[stage], FILE_TYPES[EXACT]) for stage in bundle.spec.stages}  # tf32: of float32 files
    held = {(entry.stage, entry.precision) for entry in bundle.manifest.files if (entry.format, entry.target) == ("onnx", target)}
    missing = [f"{stage} in {type_}" for stage, type_ in types.items() if (stage, type_) not in held]
    if missing:
        halves = ",".join(f"{stage}={wanted[stage]}" for stage, type_ in types.items() if type_ != FILE_TYPES[EXACT])
        options = (f" --target {target}" if target else "") + (f" --precision {halves}" if halves else "")
        raise BundleError(
            f"{bundle.path}: {provider} needs ONNX files{f' of target {target}' if target else ''} that the bundle lacks: "
            f"{', '.join(missing)}. Export it again: export-models …{options}."
        )
    return target, types
