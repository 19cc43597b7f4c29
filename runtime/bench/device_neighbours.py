"""`trkx bench neighbours --device cuda`: our search and those of other libraries on a GPU, on embeddings in several sizes.

A library is timed for its own work, on points that are on the device; that its pairs are ours is checked outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from trkx.bundle import Bundle
from trkx.runtime.bench.cases import OWN
from trkx.runtime.bench.device_graphs import embedded
from trkx.runtime.bench.device_measure import compare_on
from trkx.runtime.bench.measure import unavailable
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.cuda.adapters.exact import decided, enlarged
from trkx.runtime.cuda.adapters.table import NEIGHBOURS
from trkx.runtime.cuda.engines.table import device_of
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.on_host import current
from trkx.runtime.events import open_events
from trkx.runtime.neighbours.table import MAX_PAIRS

OURS = OWN + "triton"


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases."""
    return (OURS, *NEIGHBOURS)


def rows(options: Options) -> list[Row]:
    """Measure the neighbour search on the embedding of the first event in every size.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
        MissingExtraError: there is no GPU.
    """
    device = device_of(options.device)
    bundle = Bundle.open(options.needed_bundle())
    names = options.wanted(known_cases())
    event = open_events(list(options.needed_events()))[0].read()
    found: list[Row] = []
    for sized in events_of_sizes(event, options.sizes):
        found += measured(embedded(bundle, sized, device), bundle.spec.needed_graph().radius, names, options)
    return found


def measured(points: torch.Tensor, radius: float, names: tuple[str, ...], options: Options) -> list[Row]:
    """Return the rows of one set of points, float32 [N, D], on their device."""
    graph = f"{len(points):,} hits, {points.shape[1]} axes, radius {radius:g}"
    options.tell(f"neighbours: {graph}")
    results: dict[str, torch.Tensor] = {}

    def keep(name: str, result: object) -> None:
        if isinstance(result, torch.Tensor):
            results[name] = result if name == OURS else decided(points, result, radius, MAX_PAIRS)

    with current(points.device):
        ours = radius_graph_cuda(points, radius).pairs
        cases = {name: search(name, points, radius) for name in names}
        timings, used = compare_on(points.device, cases, options.rounds, options.memory, keep)
    made = []
    for name in names:
        timing, facts = timings.get(name, unavailable(name, "did not run")), {}
        sizes = {"hits": len(points)}
        if timing.available:
            pairs = results[name].shape[1]
            sizes["edges"] = pairs
            facts = {"pairs": pairs, "ns/pair": 1e9 * timing.median / max(pairs, 1)}
            if name != OURS:
                facts["same pairs"] = torch.equal(results[name], ours)
            if name in used:
                facts["GPU memory in use, GB"] = used[name] / 1e9
        made.append(Row(graph, sizes, timing, name == OURS, facts=facts))
    return made


def search(name: str, points: torch.Tensor, radius: float) -> Callable[[], torch.Tensor]:
    """Return a call of one case; its first raises MissingExtraError or NotHereError where the library is missing or can't."""
    if name == OURS:
        return lambda: radius_graph_cuda(points, radius).pairs
    return lambda: NEIGHBOURS[name].opened()(points, enlarged(points, radius), MAX_PAIRS)
