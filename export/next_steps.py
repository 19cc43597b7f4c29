"""What comes after an export: commands that run what was written, and for which events TensorRT's engines are built."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from trkx.runtime.cuda.tensorrt.profiles import TARGET, Profiles
from trkx.runtime.engines.ort import ON_A_CPU
from trkx.runtime.precision import precisions
from trkx.spec import PipelineSpec

ENGINES = {"ort-cuda": "onnxruntime-cuda", TARGET: "tensorrt"}
"""Target to the engine of `trkx run` that reads its files."""


def commands(bundle: Path, spec: PipelineSpec, targets: Sequence[str], words: Sequence[str]) -> tuple[str, ...]:
    """Return ready commands, the one that runs anywhere first; EVENTS stands for the user's.

    Args:
        bundle: folder that was written.
        spec: of the pipeline; one that makes no tracks can only be looked at.
        targets: that files were written for.
        words: of half-precision files, as `--precision` takes them.
    """
    name = shlex.quote(str(bundle))
    if not spec.makes_tracks:
        return (f"trkx inspect {name}",)
    run = f"trkx run {name} EVENTS --out tracks"
    engines = [engine for target, engine in ENGINES.items() if target in targets]
    found = [run] if words else [run, *(f"{run} --engine {engine}" for engine in engines)]
    for word in words:
        on_a_cpu = set(precisions(word, spec.stages).values()) <= set(ON_A_CPU)
        first = "onnxruntime" if on_a_cpu else "tiled"  # which has bf16 on a CPU
        found += [f"{run} --engine {engine} --precision {shlex.quote(word)}" for engine in (first, *engines)]
    return tuple(dict.fromkeys(found))


def profiles_in_words(profiles: Profiles) -> str:
    """Return for which events the engines of TensorRT are built, and how to have them built for larger ones."""
    stages = []
    for stage in profiles.stages:
        edges = f" and {stage.edges.max:,} edges" if stage.edges is not None else ""
        stages.append(f"{stage.stage} up to {stage.hits.max:,} hits{edges}{' at a time' if stage.stage == 'filter' else ''}")
    seen = profiles.measured
    events = f"{seen[0].event} ({seen[0].hits:,} hits)" if len(seen) == 1 else f"{len(seen)} events"
    return (f"TensorRT's profiles, from {events} times {profiles.headroom:g}: {'; '.join(stages)}. Larger events are refused; "
            "--profile-events and --profile-headroom at export make room for them.")
