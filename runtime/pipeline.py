"""The pipeline: hits to tracks, one stage after the other, each measured."""

from __future__ import annotations

import importlib.util
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trkx.backends import require
from trkx.bundle import Bundle
from trkx.errors import BundleError, SpecError, TrkxWarning
from trkx.runtime.candidates import kept_edges
from trkx.runtime.crew import available_cores
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import canonical, orientation
from trkx.runtime.engines import ENGINES, Engine, StreamingEngine, open_engine
from trkx.runtime.events.event import Event
from trkx.runtime.features import FROM_POSITION, node_features, warn_if_out_of_range
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.measure import Meter
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.precision import EXACT
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec, logit_of_cut

Int = NDArray[np.int64]
Float = NDArray[np.float32]
Orient = Callable[[Int], Int]

CHUNK = 1 << 17
"""Edges that the filter sees at once: its memory is CHUNK times the hidden width, however many candidates there are."""
ON_DEVICE = "triton"
"""Neighbours and labelling on a GPU, beside an engine there."""


class Pipeline:
    """A bundle that is ready to run; `run` may be called from any number of threads at once.

    spec: what the bundle says of features, graph and cuts. engine: runs the networks. neighbours, labelling: names of
    backends. threads: worker threads of every stage. chunk: edges that the filter sees at once, on engines that
    don't take them as they are found.
    """

    def __init__(
        self,
        spec: PipelineSpec,
        engine: Engine,
        neighbours: str = "grid",
        labelling: str = "union_find",
        threads: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        if chunk < 1:
            raise SpecError(f"chunk must be at least 1 edge, found {chunk}.")
        self.spec = spec
        self.engine = engine
        self.neighbours = neighbours
        self.labelling = labelling
        self.threads = _threads(threads)
        self.chunk = chunk
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        bundle: Path | str,
        engine: str = "tiled",
        neighbours: str | None = None,
        labelling: str | None = None,
        threads: int | None = None,
        precision: str = EXACT,
        device: str | None = None,
    ) -> Pipeline:
        """Open a bundle folder; its files are verified when they are read.

        Args:
            bundle: the folder that `trkx export` wrote.
            engine: "tiled" (reads the weights; the fast one on a CPU), "onnxruntime", "torchscript" or "eager"; on a GPU "triton"
                (reads the weights; the fast one there), "torch-cuda", "torch-compile", "onnxruntime-cuda",
                "onnxruntime-tensorrt" or "tensorrt": then every stage runs there, and a DevicePipeline comes back.
            neighbours: "grid", "kdtree", "brute", or with an engine on a GPU "triton"; all give the same pairs. None: "triton"
                there, "grid" else.
            labelling: "union_find", "scipy", or with an engine on a GPU "triton"; all give the same labels. None: "triton" there,
                "union_find" else.
            threads: None for one per core.
            precision: "fp32"; "tf32", "bf16", "fp16" or "mixed" (trkx.runtime.precision); or of each network, such as
                "filter=bf16,gnn=bf16". Engine "tiled" and those on a GPU.
            device: "cuda" (the current one) or "cuda:1" …, for engines on a GPU; None for "cuda".

        Raises:
            BundleError: not a bundle, or a file that is missing, edited or can't be loaded.
            MissingExtraError: the engine's package is not installed, or there is no GPU for it.
            TrkxError: a GPU that fails, or has no memory for the networks.
            SpecError: an unknown backend or precision, a precision that the engine does not run in, a backend or device that the
                engine can't be combined with, or fewer than one thread.
        """
        opened = Bundle.open(bundle)
        if engine in DEVICE_ENGINES:
            return _on_device(opened, engine, neighbours, labelling, threads, precision, device)
        if engine in ENGINES and device not in (None, "cpu"):
            raise SpecError(
                f"device '{device}': engine '{engine}' runs on the CPU; leave the device out, or choose an engine on a GPU: "
                f"{', '.join(DEVICE_ENGINES)}."
            )
        for what, name in (("neighbours", neighbours), ("labelling", labelling)):
            if name == ON_DEVICE:
                raise SpecError(
                    f"{what} '{name}' run on a GPU beside an engine there ({', '.join(DEVICE_ENGINES)}), not with engine "
                    f"'{engine}'; leave {what} out, or choose one of those engines."
                )
        networks = open_engine(engine, opened, _threads(threads), precision)
        return cls(opened.spec, networks, neighbours or "grid", labelling or "union_find", threads)

    def run(self, event: Event, keep_graphs: bool = False) -> Tracks:
        """Return the tracks of one event.

        Args:
            event: hits; no truth is looked at.
            keep_graphs: also return the edges after the stages "graph" (all candidates, in the order of their hits),
                "filter" and "gnn" (sorted by target, then source).

        Raises:
            InputError: hits that make no sense, a feature that the event lacks, too many candidates.
            BundleError: a network that answers with NaN.
        """
        self._require_tracks()
        event.checked()
        hits = len(event)
        contract = self.spec.labelling.method == "edge_contraction"  # reads the edges below the cut as well
        graphs: dict[str, Int] = {}
        with Meter() as meter:
            with meter.stage("features", hits, "hits") as count:
                x = node_features(event, self.spec.features)
                self._check_ranges(event, x)
                count.count_out = hits
            with meter.stage("embedding", hits, "hits") as count:
                points = self.engine.embed(x) if hits else np.empty((0, self.spec.width("embedding")), np.float32)
                count.count_out = len(points)
            edges, truncated = self._edges(event, x, points, meter, graphs if keep_graphs else None)
            del points
            with meter.stage("gnn", edges.shape[1], "edges") as count:
                weight = np.empty(0, np.float64)
                if edges.shape[1]:
                    attributes = [edge_features(self.spec, x, edges)] if self.spec.edge_features else []
                    logits = _finite(self.engine.gnn(x, edges, *attributes), "gnn")
                    weight = logits - np.float64(logit_of_cut(self.spec.needed_cut("gnn")))
                above = weight > 0.0
                count.count_out = int(np.count_nonzero(above))
                surviving = edges[:, above] if keep_graphs or not contract else edges
            if keep_graphs:
                graphs["gnn"] = surviving
            if not contract:
                edges = surviving
            with meter.stage("labelling", edges.shape[1], "tracks") as count:
                if contract:
                    label = edge_contraction(edges, weight, hits, self.labelling)
                else:
                    label = connected_components(edges, hits, self.labelling)
                tracks = Tracks(event.event_id, event.hit_id, label, self.spec.labelling.min_hits)
                count.count_out = tracks.num_tracks
        return Tracks(tracks.event_id, tracks.hit_id, label, tracks.min_hits, tuple(meter.stages), graphs, truncated)

    def _require_tracks(self) -> None:
        if not self.spec.makes_tracks:
            raise SpecError(
                f"{self.spec.name} has only {', '.join(self.spec.stages)}: hits become tracks with an embedding and a GNN. Use "
                "its files where edges are made (ACTS, a module map), or call the engine's methods on your own edges."
            )

    def warm_up(self) -> None:
        """Run a made-up event, so that kernels are compiled and sessions have run before anything is timed."""
        rng = np.random.default_rng(0)
        angle, radius = rng.uniform(-np.pi, np.pi, 64), rng.uniform(30.0, 1000.0, 64)
        position = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-1000.0, 1000.0, 64)], axis=1)
        lacks = [f.name for f in self.spec.features if f.name not in FROM_POSITION]
        cells = {name: np.zeros(64, np.float32) for name in lacks}
        event = Event(0, np.arange(64), position.astype(np.float32), cells=cells, source="warm-up")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrkxWarning)
            self.run(event)
        source = rng.integers(0, 63, 128)
        pairs = np.stack([source, rng.integers(source + 1, 64)])
        self._contract(pairs, rng.normal(size=128), 64)  # edges for and against: every kernel is compiled

    def _contract(self, edges: Int, weight: NDArray[np.float64], hits: int) -> None:
        edge_contraction(edges, weight, hits, self.labelling)

    def _edges(self, event: Event, x: Float, points: Float, meter: Meter, graphs: dict[str, Int] | None) -> tuple[Int, int]:
        """Return the edges that the GNN reads, by (target, source), and how many hits lost neighbours; graphs: receives edges."""
        graph, hits = self.spec.needed_graph(), len(event)
        if self.spec.filter and hits and not self.spec.filter.looks_at_all_rows and isinstance(self.engine, StreamingEngine):
            return self._streamed(self.engine, event, x, points, meter, graphs)
        with meter.stage("graph", hits, "edges") as count:
            orient = orientation(event.position, graph.direction)
            found = radius_graph(points, graph.radius, graph.k_max, self.neighbours, self.threads)
            pairs, truncated = found.pairs, found.truncated
            del found
            if graphs is not None:
                graphs["graph"] = orient(pairs)
            count.count_out = pairs.shape[1]
            if self.spec.filter is None:
                return canonical(orient(pairs)), truncated
        with meter.stage("filter", pairs.shape[1], "edges") as count:
            edges = canonical(self._filtered(orient, x, pairs))
            count.count_out = edges.shape[1]
        if graphs is not None:
            graphs["filter"] = edges
        return edges, truncated

    def _streamed(
        self, engine: StreamingEngine, event: Event, x: Float, points: Float, meter: Meter, graphs: dict[str, Int] | None
    ) -> tuple[Int, int]:
        """Search and filter at once, so that candidates are never held."""
        from trkx.runtime.neighbours.stream import pair_stream  # Numba is loaded when it is needed

        graph, cut = self.spec.needed_graph(), logit_of_cut(self.spec.needed_cut("filter"))
        with meter.stages_at_once(("graph", "filter"), len(points), "edges") as (searched, filtered, searching):
            start = time.perf_counter()
            orient = orientation(event.position, graph.direction)
            stream = pair_stream(points, graph.radius, graph.k_max, self.neighbours, self.threads)
            searching[0] = time.perf_counter() - start
            judge, checked = engine.edge_filter(x), partial(_finite, stage="filter")
            kept = kept_edges(stream, orient, judge, checked, cut, self.threads, graphs is not None)
            searching[0] += kept.searching
            edges = canonical(kept.edges)
            searched.count_out = filtered.count_in = kept.candidates
            filtered.count_out = edges.shape[1]
        if graphs is not None and kept.all_edges is not None:
            low, high = kept.all_edges.min(axis=0), kept.all_edges.max(axis=0)
            graphs["graph"] = np.ascontiguousarray(kept.all_edges[:, np.lexsort((high, low))])
            graphs["filter"] = edges
        return edges, stream.truncated

    def _filtered(self, orient: Orient, x: Float, pairs: Int) -> Int:
        """Return the edges, int64 [2, E'], whose filter score exceeds the cut; chunk by chunk, if the filter allows it."""
        cut = logit_of_cut(self.spec.needed_cut("filter"))
        kept = [np.empty((2, 0), np.int64)]
        together = self.spec.filter is not None and self.spec.filter.looks_at_all_rows  # a batch norm over the edges of the event
        chunk = max(pairs.shape[1], 1) if together else self.chunk
        for start in range(0, pairs.shape[1], chunk):
            edges = orient(pairs[:, start : start + chunk])
            logits = _finite(self.engine.filter(x, edges), "filter")
            kept.append(edges[:, logits > cut])
        return np.concatenate(kept, axis=1)

    def _check_ranges(self, event: Event, x: Float) -> None:
        """Warn of ranges that contradict the bundle, once for each folder that events come from."""
        place = str(Path(event.source.split(",")[0]).parent)
        with self._lock:
            if place not in self._warned and warn_if_out_of_range(event, x, self.spec.features):
                self._warned.add(place)


def _threads(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise SpecError(f"threads must be at least 1, found {threads}; leave it out for one per core.")
    return threads or available_cores()


def _on_device(
    bundle: Bundle, engine: str, neighbours: str | None, labelling: str | None, threads: int | None, precision: str,
    device: str | None,
) -> Pipeline:
    """Return a bundle's pipeline on a GPU; torch is loaded here."""
    if importlib.util.find_spec("torch") is None:
        require("engine", engine)  # says how to get it
    from trkx.runtime.cuda.engines.table import device_of, open_device_engine
    from trkx.runtime.cuda.path import DevicePipeline

    networks = open_device_engine(engine, bundle, device_of(device or "cuda"), precision)
    return DevicePipeline(bundle.spec, networks, neighbours or ON_DEVICE, labelling or ON_DEVICE, threads)


def _finite(logits: Float, stage: str) -> Float:
    bad = int(np.count_nonzero(~np.isfinite(logits)))
    if bad:
        raise not_finite_logits(bad, len(logits), stage)
    return logits


def not_finite_logits(bad: int, count: int, stage: str) -> BundleError:
    """Return the error for a network that answers with NaN or infinity for `bad` of `count` edges."""
    return BundleError(
        f"stage {stage}: {bad} of {count} logits are NaN or infinite: the model file is not sound, or the features are "
        "far from what it was trained on, or the precision does not reach as far as they do (fp16 ends at 65504). Look at "
        "the features of the event, run it in fp32, or export the bundle again."
    )
