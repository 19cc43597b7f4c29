"""Small bundles with files for ACTS, made without a whole export, and copies of them in which something is not right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from support.tiny import tiny_pipeline

from trkx.bundle import Bundle, Manifest, file_entry, write_manifest
from trkx.export.acts.config import config_bytes
from trkx.export.acts.files import TEXTS, write_acts_model, write_acts_texts
from trkx.export.acts.readme import readme
from trkx.export.acts.snippet_cpp import cpp_snippet
from trkx.export.acts.snippet_python import python_snippet
from trkx.export.build import embedder
from trkx.export.check import oracle_of
from trkx.export.metadata import weights_metadata
from trkx.export.pipeline_folder import Source, load_network, open_source
from trkx.export.validation.whole_event import exact_event
from trkx.export.zoo import Case, Embed, cases
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec

FEW = ("event", "star", "one edge of many hits", "zero edges", "isolated hits", "complete bipartite")
"""Graphs on which everything that ACTS may do shows."""


def few_cases(spec: PipelineSpec, event: Event, embed: Embed | None) -> list[Case]:
    """Return the zoo's FEW, in place of `trkx.export.zoo.cases`."""
    return [case for case in cases(spec, event, embed) if case.name in FEW]


def acts_bundle_into(folder: Path, spec: PipelineSpec, event: Event, targets: tuple[str, ...]) -> Path:
    """Write a bundle of weights (random) and files of ACTS's targets alone, with cuts in the middle of the scores of an event."""
    return acts_bundle_of(folder, open_source(tiny_pipeline(folder / "pipeline", spec)), event, targets)


def acts_bundle_of(folder: Path, source: Source, event: Event, targets: tuple[str, ...], telling: bool = True) -> Path:
    """Write such a bundle of a pipeline. telling: replace its cuts."""
    spec = source.spec
    networks = {stage: load_network(source, stage) for stage in spec.stages}
    if telling:
        spec = with_telling_cuts(spec, networks, event)
    bundle = folder / "bundle"
    bundle.mkdir()
    zoo = few_cases(spec, event, embedder(networks["embedding"]) if "embedding" in networks else None)
    entries = []
    for stage, network in networks.items():
        for target in targets:
            entries += write_acts_model(bundle, spec, stage, network, zoo, target, None)
    entries += write_acts_texts(bundle, spec, targets, networks, event)
    tensors = {f"{stage}.{key}": value for stage, network in networks.items() for key, value in network.state_dict().items()}
    (bundle / "weights.safetensors").write_bytes(save(tensors, weights_metadata(spec)))
    entries.append(file_entry(bundle, "weights.safetensors", "all", "safetensors"))
    write_manifest(bundle, Manifest(spec.name, spec, tuple(entries)))
    return bundle


def with_telling_cuts(spec: PipelineSpec, networks: Mapping[str, Any], event: Event) -> PipelineSpec:
    """Return a spec whose cuts drop about a third of an event's edges each: random networks give all edges nearly one score."""
    wide = {stage: oracle_of(network) for stage, network in networks.items()}
    for stage in [stage for stage in spec.stages if stage != "embedding"]:
        case = exact_event(spec, wide, event).cases[stage]
        import torch

        arrays = [torch.from_numpy(item) for item in case.arrays(stage)]
        with torch.no_grad():
            logits = wide[stage](*(item.double() if item.is_floating_point() else item for item in arrays)).numpy().ravel()
        cut = round(float(1.0 / (1.0 + np.exp(-np.quantile(logits, 0.35)))), 5)
        spec = replace(spec, cuts=replace(spec.cuts, **{stage: cut}))
    return spec


def changed(
    bundle: Path, target: Path, files: Mapping[str, bytes], config: Callable[[dict[str, Any]], None] | None = None
) -> Path:
    """Copy a bundle with other content of files, or of acts.json and all that is made from it; hashes are of the new content."""
    shutil.copytree(bundle, target)
    new = dict(files)
    if config is not None:
        held = json.loads((bundle / TEXTS["acts-config"]).read_bytes())
        config(held)
        made = {"acts-config": config_bytes(held).decode(), "acts-python": python_snippet(held), "acts-cpp": cpp_snippet(held),
                "acts-readme": readme(held)}
        new |= {TEXTS[format]: text.encode() for format, text in made.items()}
    manifest = Bundle.open(target).manifest
    entries = []
    for entry in manifest.files:
        if entry.path in new:
            (target / entry.path).write_bytes(new[entry.path])
            entry = replace(file_entry(target, entry.path, entry.stage, entry.format), target=entry.target, opset=entry.opset)
        entries.append(entry)
    write_manifest(target, replace(manifest, files=tuple(entries)))
    return target
