"""Whole events: the float64 networks as an engine of the pipeline, and an engine that remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trkx.export.zoo import Case, event_case
from trkx.runtime.engines.base import Engine
from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec

Int = NDArray[np.int64]
Float = NDArray[np.float32]


class OracleEngine:
    """The float64 networks of a pipeline. Places are rounded to float32 once, at the end; logits stay float64."""

    def __init__(self, networks: Mapping[str, nn.Module]) -> None:
        self._networks = networks

    def _run(self, stage: str, *inputs: Float | Int) -> NDArray[np.float64]:
        wide = [torch.tensor(item, dtype=torch.float64 if item.dtype.kind == "f" else None) for item in inputs]
        with torch.no_grad():
            output = self._networks[stage](*wide)
        return np.asarray(output.numpy())

    def places(self, x: Float) -> NDArray[np.float64]:
        """Return the place of each hit, float64 [N, D]."""
        return self._run("embedding", x)

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]: the float64 result, rounded."""
        return self.places(x).astype(np.float32)

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float64 [E]; the pipeline compares it with the cut as it is."""
        return cast(Float, self._run("filter", x, edge_index).reshape(-1))

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float64 [E]."""
        more = () if edge_attr is None else (edge_attr,)
        return cast(Float, self._run("gnn", x, edge_index, *more).reshape(-1))


class Recorder:
    """An engine that hands everything on to another one and keeps the last event's graphs and outputs, stage by stage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls: dict[str, list[tuple[Int, Float]]] = {}
        self._x: Float | None = None
        self._edge_attr: Float | None = None

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]. A new event starts here: what was kept of the last one is dropped."""
        self._calls, self._x = {}, x
        return self._kept("embedding", np.empty((2, 0), np.int64), self._engine.embed(x))

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, [E]."""
        return self._kept("filter", edge_index, self._engine.filter(x, edge_index))

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, [E]."""
        self._edge_attr = edge_attr
        more = () if edge_attr is None else (edge_attr,)
        return self._kept("gnn", edge_index, self._engine.gnn(x, edge_index, *more))

    def _kept(self, stage: str, edges: Int, output: Float) -> Float:
        self._calls.setdefault(stage, []).append((edges, output))
        return output

    def seen(self, stage: str, name: str) -> tuple[Case, Float] | None:
        """Return the graph that a stage was given, all chunks joined, and what it answered; None if it was not called."""
        calls = self._calls.get(stage)
        if not calls or self._x is None:
            return None
        edges, outputs = zip(*calls, strict=True)
        attributes = self._edge_attr if stage == "gnn" else None
        return Case(name, self._x, np.concatenate(edges, axis=1), attributes), np.concatenate(outputs)


@dataclass(frozen=True)
class Exact:
    """What the float64 networks make of an event: the graph of each stage ("embedding" has no edges), and tracks, if any."""

    event: Event
    name: str
    tracks: Tracks | None
    cases: Mapping[str, Case]


def exact_event(spec: PipelineSpec, oracles: Mapping[str, nn.Module], event: Event) -> Exact:
    """Run the pipeline of a spec with float64 networks (stage to module) on an event.

    A pipeline that makes no tracks has the graph of `trkx.export.zoo.event_case`: its own pairs, or neighbours in azimuth.
    """
    engine, name = OracleEngine(oracles), f"event {event.event_id}"
    if not spec.makes_tracks:
        case = replace(event_case(spec, event, engine.places if spec.embedding is not None else None), name=name)
        return Exact(event, name, None, dict.fromkeys(spec.stages, case))
    recorder = Recorder(engine)
    tracks = Pipeline(spec, recorder, neighbours="kdtree").run(event, keep_graphs=True)
    seen = {stage: recorder.seen(stage, name) for stage in oracles}
    return Exact(event, name, tracks, {stage: found[0] for stage, found in seen.items() if found is not None})
