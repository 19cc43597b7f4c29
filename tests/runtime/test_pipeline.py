import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from support.tiny import tiny_spec

from trkx.errors import BundleError, InputError, SpecError, TrkxWarning
from trkx.runtime.edges import canonical
from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import Pipeline
from trkx.spec import CutSpec, GraphSpec, LabellingSpec, logit_of_cut

SPEC = tiny_spec(graph=GraphSpec(radius=0.2), cuts=CutSpec(filter=0.3, gnn=0.6))


class Ruler:
    """Engine without networks: the embedding is the input, a logit falls with the distance of the two hits."""

    def __init__(self, offset=4.0):
        self.offset = offset
        self.calls = []

    def embed(self, x):
        self.calls.append(("embed", len(x)))
        return x

    def filter(self, x, edge_index):
        self.calls.append(("filter", edge_index.shape[1]))
        return self.logit(x, edge_index, 30.0)

    def gnn(self, x, edge_index):
        self.calls.append(("gnn", edge_index.shape[1]))
        return self.logit(x, edge_index, 60.0)

    def logit(self, x, edge_index, slope):
        return (self.offset - slope * np.linalg.norm(x[edge_index[0]] - x[edge_index[1]], axis=1)).astype(np.float32)


def event(rng, tracks=40, number=5):
    """Straight tracks with hits every 60 mm, in the units of the tiny spec."""
    radius = np.arange(60.0, 900.0, 60.0)
    phi, slope = rng.uniform(-np.pi, np.pi, tracks)[:, None], rng.uniform(-1, 1, tracks)[:, None]
    hits = np.stack(np.broadcast_arrays(radius * np.cos(phi), radius * np.sin(phi), radius * slope), axis=-1).reshape(-1, 3)
    hits = hits[rng.permutation(len(hits))]
    return Event(number, np.arange(len(hits)) + 10, hits.astype(np.float32), source="made-up/tracks")


def test_stages_graphs_and_tracks(rng):
    made = event(rng)
    tracks = Pipeline(SPEC, Ruler(), threads=2).run(made, keep_graphs=True)
    graph, filtered, final = (tracks.graphs[name] for name in ("graph", "filter", "gnn"))
    assert [stage.name for stage in tracks.stages] == ["features", "embedding", "graph", "filter", "gnn", "labelling"]
    hits = len(made)
    counts = [hits, hits, hits, graph.shape[1], filtered.shape[1], final.shape[1]]
    assert [stage.count_in for stage in tracks.stages] == counts
    assert [stage.count_out for stage in tracks.stages] == [hits, *counts[2:], tracks.num_tracks]
    assert [stage.unit for stage in tracks.stages] == ["hits", "hits", "edges", "edges", "edges", "tracks"]
    assert all(stage.seconds > 0 and stage.peak_bytes > 1 << 20 for stage in tracks.stages)
    assert graph.shape[1] > filtered.shape[1] > final.shape[1] > 0
    radius = np.linalg.norm(made.position.astype(np.float64), axis=1)
    assert (radius[graph[0]] <= radius[graph[1]]).all()
    for edges in (filtered, final):
        assert edges.dtype == np.int64
        np.testing.assert_array_equal(edges, canonical(edges))
    assert tracks.event_id == 5
    np.testing.assert_array_equal(tracks.hit_id, made.hit_id)
    assert 10 <= tracks.num_tracks <= 40
    assert not Pipeline(SPEC, Ruler()).run(made).graphs


@pytest.mark.parametrize("method", ["connected_components", "edge_contraction"])
def test_without_a_filter(method, rng, monkeypatch):
    """The graph's edges are the GNN's; sorting them is part of stage graph: no work is outside of all stages."""
    wait = 0.05  # s

    def slowly(edges):
        time.sleep(wait)
        return canonical(edges)

    monkeypatch.setattr("trkx.runtime.pipeline.canonical", slowly)
    spec = replace(SPEC, filter=None, cuts=CutSpec(gnn=0.6), labelling=LabellingSpec(method, min_hits=3))
    made, ruler = event(rng), Ruler()
    tracks = Pipeline(spec, ruler, threads=1).run(made, keep_graphs=True)
    took = {stage.name: stage.seconds for stage in tracks.stages}
    assert list(took) == ["features", "embedding", "graph", "gnn", "labelling"]
    assert took["graph"] >= wait
    edges, counts = tracks.graphs["graph"].shape[1], {stage.name: (stage.count_in, stage.count_out) for stage in tracks.stages}
    above = tracks.graphs["gnn"].shape[1]
    assert 0 < above < edges
    assert (counts["gnn"], counts["labelling"][0]) == ((edges, above), edges if method == "edge_contraction" else above)
    np.testing.assert_array_equal(tracks.label, Pipeline(spec, Ruler(), threads=1).run(made).label)


def test_cut_is_strict_and_on_the_logit(rng):
    class Constant(Ruler):
        def logit(self, x, edge_index, slope):
            return np.full(edge_index.shape[1], self.offset, np.float32)

    exact = replace(SPEC, cuts=CutSpec(filter=0.5, gnn=0.5))
    assert logit_of_cut(0.5) == 0.0
    made = event(rng)
    assert Pipeline(exact, Constant(0.0)).run(made, keep_graphs=True).graphs["filter"].shape == (2, 0)
    above = Pipeline(exact, Constant(1e-30)).run(made, keep_graphs=True).graphs
    assert above["gnn"].shape == above["graph"].shape


@pytest.mark.parametrize("chunk", [1, 7, 100, 10**9])
@pytest.mark.parametrize("direction", ["by_radius", "by_index"])
def test_chunks_do_not_matter(chunk, direction, rng):
    spec = replace(SPEC, graph=replace(SPEC.graph, direction=direction))
    made = event(rng, tracks=12)
    ruler = Ruler()
    whole = Pipeline(spec, Ruler()).run(made, keep_graphs=True)
    parts = Pipeline(spec, ruler, chunk=chunk).run(made, keep_graphs=True)
    for name in ("graph", "filter", "gnn"):
        np.testing.assert_array_equal(parts.graphs[name], whole.graphs[name])
    np.testing.assert_array_equal(parts.label, whole.label)
    sizes = [size for what, size in ruler.calls if what == "filter"]
    assert max(sizes) <= chunk
    assert sum(sizes) == whole.graphs["graph"].shape[1]


@pytest.mark.parametrize("neighbours", ["grid", "kdtree", "brute"])
@pytest.mark.parametrize("labelling", ["union_find", "scipy"])
@pytest.mark.parametrize("threads", [1, 3])
def test_backends_and_threads_do_not_matter(neighbours, labelling, threads, rng):
    made = event(rng)
    expected = Pipeline(SPEC, Ruler()).run(made, keep_graphs=True)
    found = Pipeline(SPEC, Ruler(), neighbours, labelling, threads).run(made, keep_graphs=True)
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_array_equal(found.graphs["graph"], expected.graphs["graph"])


def hits(positions):
    positions = np.asarray(positions, np.float32).reshape(-1, 3)
    return Event(1, np.arange(len(positions)), positions, source="few")


@pytest.mark.parametrize("made, calls, label", [
    (hits([]), [], []),
    (hits([[1, 2, 3]]), [("embed", 1)], [0]),
    (hits([[100, 0, 0], [900, 0, 0]]), [("embed", 2)], [0, 1]),
    (hits([[100, 0, 0]] * 4), [("embed", 4), ("filter", 6), ("gnn", 6)], [0, 0, 0, 0]),
])
def test_few_hits(made, calls, label):
    ruler = Ruler()
    tracks = Pipeline(SPEC, ruler).run(made, keep_graphs=True)
    assert ruler.calls == calls
    assert tracks.label.tolist() == label
    assert tracks.num_tracks == (len(label) == 4)
    assert len(tracks.stages) == 6
    assert tracks.graphs["gnn"].shape[0] == 2


def test_no_edge_passes_the_filter(rng):
    ruler = Ruler(offset=-50.0)
    tracks = Pipeline(SPEC, ruler).run(event(rng))
    assert "gnn" not in dict(ruler.calls)
    assert tracks.num_tracks == 0
    assert tracks.label.tolist() == list(range(len(tracks.label)))


def test_min_hits_and_k_max(rng):
    spec = replace(SPEC, labelling=LabellingSpec(min_hits=15), graph=replace(SPEC.graph, k_max=2))
    made = event(rng)
    tracks = Pipeline(spec, Ruler()).run(made, keep_graphs=True)
    assert tracks.truncated > 0
    assert tracks.graphs["graph"].shape[1] < 2 * len(made) + 1
    assert all(len(track) >= 15 for track in tracks.hits_of_tracks())


class NaN(Ruler):
    def __init__(self, stage):
        super().__init__()
        self.stage = stage

    def embed(self, x):
        return np.full_like(x, np.nan) if self.stage == "embedding" else x

    def filter(self, x, edge_index):
        return super().filter(x, edge_index) * np.float32(np.nan if self.stage == "filter" else 1.0)

    def gnn(self, x, edge_index):
        return super().gnn(x, edge_index) * np.float32(np.inf if self.stage == "gnn" else 1.0)


@pytest.mark.parametrize("stage, error", [("embedding", InputError), ("filter", BundleError), ("gnn", BundleError)])
def test_a_network_that_answers_nan_is_refused(stage, error, rng):
    with pytest.raises(error, match="NaN or infinite"):
        Pipeline(SPEC, NaN(stage)).run(event(rng))


@pytest.mark.parametrize("broken, message", [
    (hits([[1, 2, 3], [np.nan, 0, 0]]), "NaN or infinite coordinates"),
    (replace(hits([[1, 2, 3], [4, 5, 6]]), hit_id=np.array([8, 8])), "duplicate hit id"),
])
def test_bad_events(broken, message):
    with pytest.raises(InputError, match=message):
        Pipeline(SPEC, Ruler()).run(broken)


def test_identical_hits_beyond_the_limit_give_a_clear_error(monkeypatch):
    from trkx.runtime import pipeline

    search = pipeline.radius_graph
    monkeypatch.setattr(pipeline, "radius_graph", lambda *given: search(*given, max_pairs=1000))
    with pytest.raises(InputError, match=r"more than 1,000 pairs .* hits nearly identical"):
        Pipeline(SPEC, Ruler()).run(hits([[100, 50, 700]] * 100))


def test_contradicting_ranges_warn_once_for_each_folder(rng):
    pipeline = Pipeline(SPEC, Ruler())
    made = event(rng)
    cm = replace(made, position=made.position * np.float32(100))
    with pytest.warns(TrkxWarning, match="'r' .* trained on 0 to 1.1"):
        pipeline.run(cm)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.run(cm)
        pipeline.run(made)
    with pytest.warns(TrkxWarning, match="elsewhere"):
        pipeline.run(replace(cm, source="elsewhere/tracks"))


@pytest.mark.parametrize("change, message", [({"threads": 0}, "threads must be at least 1"), ({"chunk": 0}, "chunk must be")])
def test_bad_options(change, message):
    with pytest.raises(SpecError, match=message):
        Pipeline(SPEC, Ruler(), **change)
