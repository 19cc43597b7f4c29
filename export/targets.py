"""Where a file is meant to run: what each target accepts, as a table. Exporters, lint, repair and validation read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from trkx.errors import ExportError, unknown_name

Format = Literal["onnx", "torchscript", "aoti"]
Device = Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: the word that `--target` takes.
        format: of the files that are written for it.
        runs: the engine that runs the file, in words.
        devices: where it may run.
        opset: newest opset of the default ONNX domain that every supported version of the engine accepts; 0 if not ONNX.
        oldest_opset: oldest opset in which a summing scatter has a meaning there.
        ir: newest ONNX IR version; 0 if not ONNX.
        by_name: the engine binds tensors by name, so names must be those of the contract.
        output_ranks: ranks of a classifier's output that it accepts; the first is the one that is written.
        needs_edge_attr: the engine binds a third input, `edge_attr` float32 [E, 6], and fails without it.
        double: float64 inside the file is computed as float64 (TensorRT computes it in float32, silently).
        scatter_nd_add: ScatterND with a reduction gives right sums (ONNX Runtime's CPU kernel races, TensorRT rejects it).
        scatter_elements_add: ScatterElements with reduction "add" gives right sums in float32.
        half_scatter: scatter in half precision is accumulated in float32 (no known engine does).
        sort: TopK over all edges works (TensorRT: k <= 3840).
        lowerings: names of the safe lowerings of `segment_sum`, the default first; see `trkx.export.lowerings`.
        foreign_domains: operator domains besides ai.onnx that the engine has.
        names: "stage.name" of a tensor in the contract to what this target calls it, {} if it calls them as the contract does.
        sources: where the facts come from.
    """

    name: str
    format: Format
    runs: str
    devices: tuple[Device, ...]
    opset: int = 0
    oldest_opset: int = 16
    ir: int = 0
    by_name: bool = False
    output_ranks: tuple[int, ...] = (2, 1)
    needs_edge_attr: bool = False
    double: bool = True
    scatter_nd_add: bool = False
    scatter_elements_add: bool = True
    half_scatter: bool = False
    sort: bool = True
    lowerings: tuple[str, ...] = ()
    foreign_domains: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    def name_of(self, stage: str, name: str) -> str:
        """Return what a tensor of the contract ("x", "output", …) is called in a file of a stage."""
        return self.names.get(f"{stage}.{name}", name)


_ORT = "https://onnxruntime.ai/docs/reference/compatibility.html"
_ORT_DOMAINS = ("com.microsoft", "ai.onnx.ml")
_RACE = "https://github.com/microsoft/onnxruntime/issues/23396"
_ACTS = "https://github.com/acts-project/acts/tree/main/Plugins/Gnn"
_TRT = "https://github.com/onnx/onnx-tensorrt/issues/957"
_TRT_SCATTER = "https://github.com/NVIDIA/TensorRT/tree/main/plugin/scatterElementsPlugin"

NAMES_2021: Mapping[str, str] = {
    "embedding.x": "sp_features", "embedding.output": "embedding_output",
    "filter.x": "f_nodes", "filter.edge_index": "f_edges", "filter.output": "f_edge_score",
    "gnn.x": "g_nodes", "gnn.edge_index": "g_edges", "gnn.output": "gnn_edge_score",
}
"""Tensors in the files of exatrkx-acat2021 and of the programs that read them (exatrkx-service, ACTS before version 41)."""

TARGETS: Mapping[str, Target] = {
    row.name: row
    for row in (
        Target("ort-cpu", "onnx", "ONNX Runtime, CPU provider", ("cpu",), opset=21, ir=10,
               lowerings=("buckets", "scatter", "prefix64", "doubling"), foreign_domains=_ORT_DOMAINS, sources=(_ORT, _RACE)),
        Target("ort-cuda", "onnx", "ONNX Runtime, CUDA provider", ("cuda",), opset=20, ir=10, scatter_nd_add=True,
               lowerings=("scatter", "doubling"), foreign_domains=_ORT_DOMAINS, sources=(_ORT,)),
        Target("tensorrt", "onnx", "TensorRT 10 or newer", ("cuda",), opset=20, ir=10, by_name=True, double=False, sort=False,
               lowerings=("segments", "scatter"), sources=(_TRT, _TRT_SCATTER)),
        Target("acts-onnx", "onnx", "ACTS OnnxEdgeClassifier", ("cpu", "cuda"), opset=18, ir=10, output_ranks=(2,),
               lowerings=("scatter", "buckets", "doubling"), foreign_domains=_ORT_DOMAINS, sources=(_ACTS,)),
        Target("acts-tensorrt", "onnx", "ACTS TensorRTEdgeClassifier", ("cuda",), opset=20, ir=10, by_name=True,
               needs_edge_attr=True, double=False, sort=False, lowerings=("scatter", "segments"), sources=(_ACTS, _TRT)),
        Target("exatrkx-2021", "onnx", "programs that bind the tensor names of 2021", ("cpu", "cuda"), opset=18, ir=10,
               by_name=True, lowerings=("scatter", "buckets", "doubling"), foreign_domains=_ORT_DOMAINS, names=NAMES_2021,
               sources=("https://github.com/exatrkx/exatrkx-acat2021",)),
        Target("triton", "onnx", "Triton Inference Server, ONNX Runtime backend", ("cpu", "cuda"), opset=20, ir=10, by_name=True,
               lowerings=("scatter", "doubling"), foreign_domains=_ORT_DOMAINS, sources=(_ORT,)),
        Target("acts-torch", "torchscript", "ACTS TorchMetricLearning, TorchEdgeClassifier", ("cpu", "cuda"), sources=(_ACTS,)),
        Target("libtorch", "torchscript", "libtorch, torch::jit::load", ("cpu", "cuda")),
        Target("aoti", "aoti", "libtorch, AOTIModelPackageLoader", ("cpu",)),
    )
}


GROUPS: Mapping[str, tuple[str, ...]] = {"acts": ("acts-torch", "acts-onnx")}
"""Words for several targets at once, where `--target` of an export takes a list."""


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return targets, each once, with the targets of a group in the place of its word; unknown names stay as they are."""
    return tuple(dict.fromkeys(target for name in names for target in GROUPS.get(name, (name,))))


def target_of(name: str) -> Target:
    """Return the row of a target; ExportError lists the known ones."""
    if name not in TARGETS:
        raise ExportError(unknown_name("target", name, TARGETS))
    return TARGETS[name]
