"""Writes the folder acts/ of a bundle: models of the targets of ACTS, then their configuration and the code that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from torch import nn

from trkx.bundle import FileEntry, Stage, file_entry
from trkx.export.acts.components import components_of
from trkx.export.acts.config import BACKENDS, FOLDER, config_bytes, configuration, read_config, sizes_of
from trkx.export.acts.feeds import acts_case
from trkx.export.acts.form import acts_edge_columns, acts_network
from trkx.export.acts.limits import ACTS_TARGETS
from trkx.export.acts.readme import readme
from trkx.export.acts.snippet_cpp import cpp_snippet
from trkx.export.acts.snippet_python import python_snippet
from trkx.export.check import expectations
from trkx.export.metadata import onnx_metadata
from trkx.export.onnx_file import onnx_bytes, onnx_model
from trkx.export.simplify import simplified
from trkx.export.targets import target_of
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.zoo import Case
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec

__all__ = ["ACTS_TARGETS", "CONFIG", "TEXTS", "model_path", "write_acts_model", "write_acts_texts"]

CONFIG = f"{FOLDER}/acts.json"
TEXTS: Mapping[str, str] = {
    "acts-config": CONFIG,
    "acts-python": f"{FOLDER}/acts_pipeline.py",
    "acts-cpp": f"{FOLDER}/acts_pipeline.hpp",
    "acts-readme": f"{FOLDER}/README.md",
}
"""Format to the path of what is no model; their stage is "all"."""
COMPARED = ("event", "star", "duplicate edges", "one edge", "zero edges")
"""Graphs on which a simplified ONNX file is compared at once; the whole zoo follows when the bundle is read back."""


def model_path(stage: str, target: str) -> str | None:
    """Return where a stage's file for a target lies in the bundle; None for an embedding that the target can't take."""
    if stage == "embedding" and target == "acts-tensorrt":
        return None
    return f"{FOLDER}/{BACKENDS[target][2].format(stage)}"


def write_acts_model(
    folder: Path, spec: PipelineSpec, stage: str, network: nn.Module, zoo: Sequence[Case], target: str, lowering: str | None
) -> list[FileEntry]:
    """Write one network for one target of ACTS into a bundle folder and return its entry, none where there is no such file.

    Args:
        folder: of the bundle.
        spec: of the pipeline.
        stage: "embedding", "filter" or "gnn".
        network: float32 module in eval mode, as the pipeline runs it.
        zoo: graphs of the pipeline's own form.
        target: one of ACTS_TARGETS.
        lowering: how ONNX sums over edges, None for the target's own.

    Raises:
        ExportError: the network has no such form.
    """
    path = model_path(stage, target)
    if path is None:
        return []
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    form, name = acts_network(network, spec, stage), cast(Stage, stage)
    features, columns = len(spec.features), acts_edge_columns(spec)
    if target_of(target).format == "torchscript":
        (folder / path).write_bytes(torchscript_bytes(stage, form, features, columns, onnx_metadata(spec, stage, target)))
        return [file_entry(folder, path, name, "torchscript", target=target)]
    model = onnx_model(stage, form, features, target, lowering, columns)
    few = [acts_case(spec, case) for case in zoo if case.name in COMPARED]
    result = simplified(stage, model, expectations(stage, form, few))
    (folder / path).write_bytes(onnx_bytes(result.model, onnx_metadata(spec, stage, target)))
    return [file_entry(folder, path, name, "onnx", opset=target_of(target).opset, note=result.note, target=target)]


def write_acts_texts(
    folder: Path, spec: PipelineSpec, targets: Sequence[str], networks: Mapping[str, nn.Module], event: Event
) -> list[FileEntry]:
    """Write acts.json, and all else from it alone: code for Python and C++, README. Returns their entries.

    targets: what the export is for; without one of ACTS nothing is written. event: hits in which neighbours are
    counted, and tracks if there is truth.
    """
    own = [target for target in ACTS_TARGETS if target in targets]
    if not own:
        return []
    sizes = sizes_of(spec, networks.get("embedding"), event)
    data = config_bytes(configuration(spec, own, sizes, components_of(spec, networks, event)))
    config = read_config(data)
    texts = {"acts-python": python_snippet(config), "acts-cpp": cpp_snippet(config), "acts-readme": readme(config)}
    (folder / CONFIG).write_bytes(data)
    for format, text in texts.items():
        (folder / TEXTS[format]).write_text(text, encoding="utf-8")
    return [file_entry(folder, path, "all", format) for format, path in TEXTS.items()]
