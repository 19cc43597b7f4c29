"""The networks as TensorRT engines, built on this GPU from the bundle's files for it, once: engine "tensorrt".

Engines are kept in a cache and used again only by the same TensorRT on the same kind of GPU for the same file, profile and
precision. An event beyond the profile is refused, never cut; a smaller one is padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from trkx import __version__
from trkx.bundle import Bundle
from trkx.errors import BundleError, SpecError
from trkx.identity import require_same
from trkx.runtime.cuda.engines.base import DeviceFilter
from trkx.runtime.cuda.tensorrt.build import Tools, built, loaded, tools
from trkx.runtime.cuda.tensorrt.cache import cached_engine, default_cache
from trkx.runtime.cuda.tensorrt.executor import Executor, TensorRTExecutor
from trkx.runtime.cuda.tensorrt.padding import fitted, parts
from trkx.runtime.cuda.tensorrt.profiles import FILE, TARGET, Profiles, StageProfile, profiles_of
from trkx.runtime.cuda.tensorrt.sidecar import Sidecar, identity_of, sidecar_of
from trkx.runtime.describe import describe_onnx
from trkx.runtime.precision import EXACT, FILE_TYPES, precisions
from trkx.spec import PipelineSpec

OpenStage = Callable[[str, StageProfile], Executor]
"""(stage, profile) to what runs it."""


class TensorRTEngine:
    """The three networks of one bundle as TensorRT engines. See `trkx.runtime.cuda.engines.base.DeviceEngine`.

    spec: of the bundle. profiles: its profiles. executors: stage to what runs it. device: where the tensors are.

    Raises:
        BundleError: the profile of a network that looks at all rows of an event begins above 1: padding would change its logits.
    """

    def __init__(self, spec: PipelineSpec, profiles: Profiles, executors: Mapping[str, Executor], device: torch.device) -> None:
        """Hold them; nothing is run."""
        for stage, network in spec.networks.items():
            profile = profiles.of(stage)
            padded = profile.hits.min > 1 or (profile.edges is not None and profile.edges.min > 1)
            if network.looks_at_all_rows and padded:
                raise BundleError(f"{FILE}: the {stage} looks at all rows of an event, so its profile must begin at 1.")
        self.device = device
        self._spec, self._profiles, self._executors = spec, profiles, executors

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D]. InputError: more hits than the profile holds."""
        return self._run("embedding", x, None, None)

    def edge_filter(self, x: torch.Tensor) -> DeviceFilter:
        """Return the filter for the edges of the event with hits x.

        A network that sees one edge at a time takes them in pieces that its profile holds; one that looks at all rows of an event
        raises InputError for more edges than that.
        """
        network = self._spec.filter
        whole = network is None or network.looks_at_all_rows

        def judge(edge_index: torch.Tensor) -> torch.Tensor:
            pieces = [edge_index] if whole or not edge_index.shape[1] else parts(self._profiles.of("filter"), edge_index)
            return torch.cat([self._run("filter", x, piece, None).squeeze(1) for piece in pieces])

        return judge

    def gnn(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the graph network's logit of each edge, float32 [E]. InputError: more hits or edges than the profile holds."""
        return self._run("gnn", x, edge_index, edge_attr).squeeze(1)

    def _run(
        self, stage: str, x: torch.Tensor, edge_index: torch.Tensor | None, edge_attr: torch.Tensor | None
    ) -> torch.Tensor:
        if stage not in self._executors:
            raise SpecError(f"this bundle has no {stage}; its stages are {', '.join(self._executors) or 'none'}.")
        width = self._spec.width("embedding") if stage == "embedding" else 1
        rows = len(x) if edge_index is None else edge_index.shape[1]
        if not rows or not len(x):  # TensorRT takes no empty axis, and there is nothing to compute
            return x.new_empty((rows, width), dtype=torch.float32)
        fit = fitted(self._profiles.of(stage), x, edge_index, edge_attr)
        first = fit.inputs["x"] if edge_index is None else fit.inputs["edge_index"].mT
        output = torch.empty((len(first), width), dtype=torch.float32, device=x.device)
        self._executors[stage](fit.inputs, output)
        return output[: fit.rows]


def open_engine(bundle: Bundle, device: torch.device, precision: str = EXACT, cache: Path | None = None) -> TensorRTEngine:
    """Return the engine for a bundle that was exported with `--target tensorrt`; engines that are not in the cache are built.

    Building takes minutes a stage.

    Args:
        bundle: with files and profiles for TensorRT.
        device: a CUDA device.
        precision: of all stages or of each, as `trkx.runtime.precision.precisions` reads it; half types need files in them.
        cache: folder for engines; None for the user's (`trkx.runtime.cuda.tensorrt.cache.default_cache`).

    Raises:
        BundleError: the bundle has no file for TensorRT in that precision or no profiles, or TensorRT refuses a file.
        MissingExtraError: tensorrt or polygraphy is not installed.
        SpecError: an unknown precision, or a device that is no GPU.
    """
    wanted, profiles = precisions(precision, bundle.spec.stages), profiles_of(bundle)
    files = {stage: model_file(bundle, stage, wanted[stage]) for stage in bundle.spec.stages}
    found = tools()
    if device.type != "cuda":
        raise SpecError(f"engine 'tensorrt' runs on a CUDA device, found '{device}'.")
    folder = default_cache() if cache is None else cache
    executors = {}
    with torch.cuda.device(device):
        for stage, onnx in files.items():
            executors[stage] = _open(found, bundle, stage, onnx, wanted[stage], profiles.of(stage), device, folder)
    return TensorRTEngine(bundle.spec, profiles, executors, device)


def model_file(bundle: Bundle, stage: str, precision: str) -> bytes:
    """Return the ONNX file of a stage for TensorRT, verified. "tf32" reads the float32 file.

    Raises:
        BundleError: the bundle has none, and the message has the command that makes it; or it says that it was made for another
            spec, stage, precision or target.
    """
    kind = FILE_TYPES.get(precision, FILE_TYPES[EXACT])
    try:
        bundle.entry(stage, "onnx", kind, TARGET)
    except BundleError as error:
        half = f" --precision {precision}" if kind != FILE_TYPES[EXACT] else ""
        raise BundleError(f"{error} Export it again: `export-models … --target {TARGET}{half}`.") from None
    data = bundle.read(stage, "onnx", kind, TARGET)
    where = str(bundle.path / bundle.entry(stage, "onnx", kind, TARGET).path)
    require_same(describe_onnx(data, where)["metadata"], bundle.spec, where, stage, kind, TARGET)
    return data


def _open(
    found: Tools, bundle: Bundle, stage: str, onnx: bytes, precision: str, profile: StageProfile, device: torch.device,
    cache: Path,
) -> Executor:
    shapes, where = profile.shapes(bundle.spec), f"{bundle.path}, stage {stage}"
    gpu = torch.cuda.get_device_properties(device)
    identity = identity_of(stage, onnx, precision, shapes, found.versions[0], gpu.name, f"{gpu.major}.{gpu.minor}")

    def build() -> tuple[bytes, Sidecar]:
        engine = built(found, onnx, shapes, precision == "tf32", where)
        return engine, sidecar_of(identity, engine, found.versions[1], __version__)

    engine = cached_engine(cache, identity, build)
    return TensorRTExecutor(loaded(found, engine, where), shapes, device, where)
