"""Graph networks replayed as CUDA graphs: events are padded to a few sizes, and each size is recorded once.

A network of eight iterations launches about a hundred kernels; recorded, they follow one another without Python between them.
Padding is edges between hits of padding: no sum of a real hit has one more term, so its logits are the same to the last bit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from trkx.runtime.cuda.networks.graph_layout import require_inside
from trkx.runtime.cuda.networks.graph_network import DeviceGraphNetwork, GraphInputs, Run

GROWTH = 1.125
SMALLEST = 256
EDGES_EACH = 16  # edges of a hit of padding, so that none has so many that others wait for it
MEMORY = 1 << 30  # bytes of all recordings together
WARM_UPS = 2

T = TypeVar("T")


def bucket(count: int, growth: float = GROWTH, smallest: int = SMALLEST) -> int:
    """Return the lowest of the sizes smallest, smallest * growth, … (whole multiples of 16) that is not below `count`."""
    size = smallest
    while size < count:
        size = max(size + 16, -(-int(size * growth) // 16) * 16)
    return size


def padded(
    x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None, growth: float = GROWTH
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return an event with hits and edges behind its own up to sizes of `bucket`, as (x, edge_index, edge_attr).

    Hits and attributes of padding are 0; an edge of padding joins a hit of padding with itself. Sorted edges stay sorted.
    """
    hits, edges = len(x), edge_index.shape[1]
    more_edges = bucket(edges, growth) - edges
    more_hits = bucket(hits + max(1, -(-more_edges // EDGES_EACH)), growth) - hits
    place = hits + torch.arange(more_edges, device=x.device) * more_hits // max(1, more_edges)
    edge_index = torch.cat([edge_index, place.to(edge_index.dtype).expand(2, -1)], 1)
    x = torch.cat([x, x.new_zeros((more_hits, x.shape[1]))])
    if edge_attr is not None:
        edge_attr = torch.cat([edge_attr, edge_attr.new_zeros((more_edges, edge_attr.shape[1]))])
    return x, edge_index, edge_attr


def tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a tree of tuples, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors(part)] if isinstance(value, tuple) else []


def replaced(value: T, function: Callable[[torch.Tensor], torch.Tensor]) -> T:
    """Return a tree of tuples with `function` of each tensor in its place."""
    if isinstance(value, torch.Tensor):
        return function(value)  # type: ignore[return-value]
    if not isinstance(value, tuple):
        return value
    parts = [replaced(part, function) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


@dataclass
class _Recording:
    given: GraphInputs
    logits: torch.Tensor
    graph: torch.cuda.CUDAGraph
    size: int


class Recordings:
    """Runs a function of inputs as CUDA graphs, one for each size of inputs; those not used for longest go first.

    run: makes logits of inputs without waiting for the device. memory: bytes of all recordings; one alone may be larger.
    Calls may come from any number of threads; they follow one another on the device.
    """

    def __init__(self, run: Run, memory: int = MEMORY) -> None:
        self._run = run
        self._memory = memory
        self._held: OrderedDict[tuple[Any, ...], _Recording] = OrderedDict()
        self._lock = threading.Lock()
        self._done: torch.cuda.Event | None = None

    def __call__(self, given: GraphInputs) -> torch.Tensor:
        """Return the logits of inputs; recorded if no inputs of this size were before."""
        if not given.nodes.is_cuda:
            return self._run(given)
        with self._lock, torch.cuda.device(given.nodes.device):
            stream = torch.cuda.current_stream()
            if self._done is not None:
                stream.wait_event(self._done)  # another stream may still read or write the recording's memory
            held = self._recording(given)
            for here, there in zip(tensors(held.given), tensors(given), strict=True):
                here.copy_(there)
            held.graph.replay()
            logits = held.logits.clone()
            self._done = torch.cuda.Event()
            self._done.record(stream)
            return logits

    def _recording(self, given: GraphInputs) -> _Recording:
        key = shape(given)
        if key not in self._held:
            self._held[key] = self._recorded(given)
        self._held.move_to_end(key)
        while len(self._held) > 1 and sum(held.size for held in self._held.values()) > self._memory:
            torch.cuda.current_stream().synchronize()  # what is let go may be running
            self._held.popitem(last=False)
        return self._held[key]

    def _recorded(self, given: GraphInputs) -> _Recording:
        before = torch.cuda.memory_reserved()
        own = replaced(given, torch.clone)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles kernels, which can't be done while recording
            for _ in range(WARM_UPS):
                self._run(own)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = self._run(own)
        size = max(torch.cuda.memory_reserved() - before, sum(t.numel() * t.element_size() for t in tensors(own)))
        return _Recording(own, logits, graph, size)


def shape(given: GraphInputs) -> tuple[Any, ...]:
    """Return what two inputs must share for one recording: the sizes of all tensors, and which of them are there."""
    found: list[Any] = []

    def noted(tensor: torch.Tensor) -> torch.Tensor:
        found.append((tuple(tensor.shape), tensor.dtype))
        return tensor

    layout = given.layout
    present = (given.pair is None, layout.incoming.pieces is None, layout.outgoing.pieces is None, given.attributes is None)
    replaced(given, noted)
    return (*found, *present)


class ReplayedGraphNetwork:
    """A graph network whose events are padded and replayed. On a CPU they are padded and run: nothing is recorded there."""

    def __init__(self, network: DeviceGraphNetwork, growth: float = GROWTH, memory: int = MEMORY) -> None:
        self._network = network
        self._growth = growth
        self._recordings = Recordings(network.logits, memory)

    def __call__(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logit of each edge, float32 [E]; arguments and errors as of the network."""
        self._network.check(x, edge_index, edge_attr)
        count = edge_index.shape[1]
        if not count:
            return self._network(x, edge_index, edge_attr)
        require_inside(edge_index, len(x))  # an index beyond the hits would be one of padding
        event = padded(x, edge_index, edge_attr, self._growth)
        return self._network.judged(*event, self._run, cut=True)[:count]

    def _run(self, given: GraphInputs) -> torch.Tensor:
        return self._recordings(given._replace(layout=given.layout._replace(order=None)))  # the order is for what comes after
