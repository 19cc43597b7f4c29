"""`trkx bench components --device cuda`: our components and those of RAPIDS on a GPU, on graphs of events and on awkward ones.

A library is timed for building its graph and finding components; numbering them as `components_cuda` does is not timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from trkx.bundle import Bundle
from trkx.runtime.bench.cases import OWN
from trkx.runtime.bench.components import AFTER_FILTER, AFTER_GNN, HITS, MADE_UP
from trkx.runtime.bench.device_graphs import stages_of
from trkx.runtime.bench.device_measure import compare_on
from trkx.runtime.bench.measure import Case
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.cuda.adapters.components import renumbered
from trkx.runtime.cuda.adapters.table import LABELLING
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.engines.table import device_of
from trkx.runtime.cuda.on_host import current
from trkx.runtime.events import open_events
from trkx.spec import logit_of_cut

OURS = OWN + "triton"
Graph = tuple[str, torch.Tensor, int, str]
"""In words; edges, int64 [2, E]; number of hits; what it has in common with such a graph of another size."""


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases."""
    return (OURS, *LABELLING)


def rows(options: Options) -> list[Row]:
    """Measure components: on graphs of the first event in every size, if there is a bundle and an event, and on made-up ones.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
        MissingExtraError: there is no GPU.
    """
    device = device_of(options.device)
    names = options.wanted(known_cases())
    found: list[Row] = []
    for name, edges, hits, series in (*_of_events(options, device), *_made_up(options, device)):
        options.tell(f"components: {name}")
        found += measured(name, edges, hits, names, options, series)
    return found


def measured(
    graph: str, edges: torch.Tensor, hits: int, names: tuple[str, ...], options: Options, series: str = ""
) -> list[Row]:
    """Return the rows of one graph, on the device of its edges."""
    labels: dict[str, Any] = {}
    with current(edges.device):
        own = components_cuda(edges, hits)
        cases = {name: case(name, edges, hits) for name in names}
        timings, used = compare_on(edges.device, cases, options.rounds, options.memory, labels.__setitem__)
        made = []
        for name, timing in timings.items():
            facts: dict[str, Any] = {}
            if timing.available:
                label = labels[name] if name == OURS else renumbered(labels[name], hits)
                facts = {"labels": int(label.max()) + 1 if hits else 0, "ns/edge": 1e9 * timing.median / max(edges.shape[1], 1)}
                if name != OURS:
                    facts["same labels"] = torch.equal(label, own)
                if name in used:
                    facts["GPU memory in use, GB"] = used[name] / 1e9
            made.append(Row(graph, {"hits": hits, "edges": edges.shape[1]}, timing, name == OURS, facts=facts, series=series))
    return made


def case(name: str, edges: torch.Tensor, hits: int) -> Case:
    """Return a call of one case; its first raises MissingExtraError where the library is not installed."""
    if name == OURS:
        return lambda: components_cuda(edges, hits)
    return lambda: LABELLING[name].opened()(edges, hits)


def _of_events(options: Options, device: torch.device) -> Iterator[Graph]:
    """Yield the graphs that the bundle makes of the first event: what passes the filter, and what passes the GNN."""
    if options.bundle is None or not options.events:
        return
    bundle = Bundle.open(options.bundle)
    event = open_events(list(options.events))[0].read()
    for sized in events_of_sizes(event, options.sizes):
        options.tell(f"components: {len(sized):,} hits through the networks")
        given = stages_of(bundle, sized, device)
        hits, edges = len(sized), given.edges
        kept = edges[:, given.logits > logit_of_cut(bundle.spec.needed_cut("gnn"))]
        yield f"{hits:,} hits, {kept.shape[1]:,} edges after the GNN", kept, hits, AFTER_GNN
        yield f"{hits:,} hits, {edges.shape[1]:,} edges after the filter", edges, hits, AFTER_FILTER


def _made_up(options: Options, device: torch.device) -> Iterator[Graph]:
    for hits in options.sizes or (HITS,):
        for name, make in MADE_UP.items():
            edges = torch.from_numpy(make(hits, np.random.default_rng(0))).to(device)
            yield f"made up, {hits:,} hits: {name}", edges, hits, f"made up: {name}"
