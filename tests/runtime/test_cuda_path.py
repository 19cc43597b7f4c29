"""The pipeline on a device, here on the CPU: the same results as Pipeline, stage by stage; kernels in the interpreter."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from support.kernels import MODES, run_kernels
from support.tiny import tiny_spec

torch = pytest.importorskip("torch", reason="not checked: needs torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")

from trkx.errors import BundleError, InputError, SpecError, TrkxWarning  # noqa: E402
from trkx.runtime import edge_features as on_host  # noqa: E402
from trkx.runtime.cuda import edge_features as on_device  # noqa: E402
from trkx.runtime.cuda.edges import canonical_on_device, orientation_on_device  # noqa: E402
from trkx.runtime.cuda.meter import DeviceMeter  # noqa: E402
from trkx.runtime.cuda.path import DevicePipeline  # noqa: E402
from trkx.runtime.cuda.rows import aligned, empty_pairs  # noqa: E402
from trkx.runtime.edges import canonical, oriented  # noqa: E402
from trkx.runtime.events.event import Event  # noqa: E402
from trkx.runtime.pipeline import Pipeline  # noqa: E402
from trkx.spec import CutSpec, FeatureSpec, GraphSpec, LabellingSpec, logit_of_cut  # noqa: E402

SPEC = tiny_spec(graph=GraphSpec(radius=0.2), cuts=CutSpec(filter=0.3, gnn=0.6))
CPU = torch.device("cpu")
HOST = ("grid", "union_find")


@pytest.mark.parametrize("mode", MODES)
def test_whole_events_and_contraction(mode):
    assert " passed" in run_kernels("interpreted_path.py", mode)


class Rule:
    """Networks without weights: the embedding is the input, a logit falls with the distance of the two hits."""

    device = CPU

    def __init__(self, offset=4.0):
        self.offset = offset
        self.calls = []

    def embed(self, x):
        self.calls.append(("embed", len(x)))
        return x

    def filter(self, x, edge_index):
        self.calls.append(("filter", edge_index.shape[1]))
        return self.logit(x, edge_index, 30.0)

    def gnn(self, x, edge_index, edge_attr=None):
        self.calls.append(("gnn", edge_index.shape[1]))
        return self.logit(x, edge_index, 60.0)

    def logit(self, x, edge_index, slope):
        return self.offset - slope * (x[edge_index[0]] - x[edge_index[1]]).norm(dim=1)


class Ruler(Rule):
    """As an engine on a device."""

    def edge_filter(self, x):
        return lambda edge_index: self.filter(x, edge_index)


class HostRuler(Rule):
    """As an engine on the host, with the numbers of torch."""

    def embed(self, x):
        return super().embed(torch.from_numpy(x)).numpy()

    def filter(self, x, edge_index):
        return super().filter(torch.from_numpy(x), torch.from_numpy(edge_index)).numpy()

    def gnn(self, x, edge_index, edge_attr=None):
        return super().gnn(torch.from_numpy(x), torch.from_numpy(edge_index)).numpy()


def event(rng, tracks=40, number=5):
    """Straight tracks with hits every 60 mm, in the units of the tiny spec."""
    radius = np.arange(60.0, 900.0, 60.0)
    phi, slope = rng.uniform(-np.pi, np.pi, tracks)[:, None], rng.uniform(-1, 1, tracks)[:, None]
    hits = np.stack(np.broadcast_arrays(radius * np.cos(phi), radius * np.sin(phi), radius * slope), axis=-1).reshape(-1, 3)
    hits = hits[rng.permutation(len(hits))]
    return Event(number, np.arange(len(hits)) + 10, hits.astype(np.float32), source="made-up/tracks")


def hits(positions):
    positions = np.asarray(positions, np.float32).reshape(-1, 3)
    return Event(1, np.arange(len(positions)), positions, source="few")


def device(spec, engine, chunk=1 << 22):
    return DevicePipeline(spec, engine, *HOST, threads=1, chunk=chunk)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.label, expected.label)
    np.testing.assert_array_equal(found.hit_id, expected.hit_id)
    assert found.graphs.keys() == expected.graphs.keys()
    for name, edges in expected.graphs.items():
        assert found.graphs[name].dtype == np.int64
        np.testing.assert_array_equal(found.graphs[name], edges, err_msg=name)
    assert (found.event_id, found.min_hits, found.truncated) == (expected.event_id, expected.min_hits, expected.truncated)
    told = [(stage.name, stage.count_in, stage.count_out, stage.unit) for stage in found.stages]
    assert told == [(stage.name, stage.count_in, stage.count_out, stage.unit) for stage in expected.stages]
    assert all(stage.seconds > 0 and stage.peak_bytes > 1 << 20 for stage in found.stages)


@pytest.mark.parametrize("method", ["connected_components", "edge_contraction"])
@pytest.mark.parametrize("direction", ["by_radius", "by_index"])
@pytest.mark.parametrize("k_max", [None, 2])
def test_equals_the_pipeline_on_the_host(method, direction, k_max, rng):
    graph, labelling = GraphSpec(0.2, k_max, direction), LabellingSpec(method, min_hits=3)
    spec, made = replace(SPEC, graph=graph, labelling=labelling), event(rng)
    expected = Pipeline(spec, HostRuler()).run(made, keep_graphs=True)
    assert_same(device(spec, Ruler()).run(made, keep_graphs=True), expected)
    assert expected.graphs["graph"].shape[1] > expected.graphs["filter"].shape[1] > expected.graphs["gnn"].shape[1] > 20
    assert not device(spec, Ruler()).run(made).graphs
    assert (expected.truncated > 0) == (k_max is not None)


def test_without_a_filter(rng):
    spec, made = replace(SPEC, filter=None, cuts=CutSpec(gnn=0.6)), event(rng)
    expected = Pipeline(spec, HostRuler()).run(made, keep_graphs=True)
    assert_same(device(spec, Ruler()).run(made, keep_graphs=True), expected)


def test_without_a_filter_sorting_is_part_of_the_graph(rng, monkeypatch):
    """No work is outside of all stages: what the pipeline says it took is what it took."""
    wait = 0.05  # s

    def slowly(*given):
        threading.Event().wait(wait)
        return canonical_on_device(*given)

    monkeypatch.setattr("trkx.runtime.cuda.path.canonical_on_device", slowly)
    made = event(rng, tracks=5)
    for spec, stage in ((SPEC, "filter"), (replace(SPEC, filter=None, cuts=CutSpec(gnn=0.6)), "graph")):
        took = {stage.name: stage.seconds for stage in device(spec, Ruler()).run(made).stages}
        assert took[stage] >= wait


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_do_not_matter(chunk, rng):
    made, ruler = event(rng, tracks=12), Ruler()
    expected = Pipeline(SPEC, HostRuler()).run(made, keep_graphs=True)
    assert_same(device(SPEC, ruler, chunk).run(made, keep_graphs=True), expected)
    sizes = [size for what, size in ruler.calls if what == "filter"]
    assert max(sizes) <= chunk
    assert sum(sizes) == expected.graphs["graph"].shape[1]


@pytest.mark.parametrize("made, calls, label", [
    (hits([]), [], []),
    (hits([[1, 2, 3]]), [("embed", 1)], [0]),
    (hits([[100, 0, 0], [900, 0, 0]]), [("embed", 2)], [0, 1]),
    (hits([[100, 0, 0]] * 4), [("embed", 4), ("filter", 6), ("gnn", 6)], [0, 0, 0, 0]),
])
@pytest.mark.parametrize("method", ["connected_components", "edge_contraction"])
def test_few_hits(made, calls, label, method):
    spec, ruler = replace(SPEC, labelling=LabellingSpec(method)), Ruler()
    tracks = device(spec, ruler).run(made, keep_graphs=True)
    assert ruler.calls == calls
    assert tracks.label.tolist() == label
    assert_same(tracks, Pipeline(spec, HostRuler()).run(made, keep_graphs=True))


def test_no_edge_passes_the_filter(rng):
    ruler = Ruler(offset=-50.0)
    tracks = device(SPEC, ruler).run(event(rng))
    assert "gnn" not in dict(ruler.calls)
    assert tracks.label.tolist() == list(range(len(tracks.label)))


@pytest.mark.parametrize("cut", [0.5, 0.07, 0.3])
def test_the_cut_is_where_numpy_has_it(cut, rng):
    """Logits at and beside the cut, in steps of float32: the same edges stay on device and host."""
    at = np.float32(logit_of_cut(cut))
    steps = np.array([np.nextafter(at, np.float32(-9)), at, np.nextafter(at, np.float32(9))], np.float32)

    def logit(self, x, edge_index, slope):
        return torch.from_numpy(steps)[(edge_index[0] * 7 + edge_index[1] + int(slope)) % (3 if slope == 30.0 else 2)]

    on_a_device = type("Steps", (Ruler,), {"logit": logit})
    on_the_host = type("Steps", (HostRuler,), {"logit": logit})
    spec, made = replace(SPEC, cuts=CutSpec(filter=cut, gnn=cut)), event(rng, tracks=15)
    expected = Pipeline(spec, on_the_host()).run(made, keep_graphs=True)
    assert_same(device(spec, on_a_device()).run(made, keep_graphs=True), expected)
    assert 0 < expected.graphs["filter"].shape[1] < expected.graphs["graph"].shape[1]


@pytest.mark.parametrize("stage, value, error", [
    ("embed", np.nan, InputError), ("filter", np.nan, BundleError), ("filter", np.inf, BundleError),
    ("gnn", -np.inf, BundleError),
])
@pytest.mark.parametrize("chunk", [50, 1 << 22])
def test_a_network_that_answers_nan_is_refused(stage, value, error, chunk, rng):
    class Bad(Ruler):
        def embed(self, x):
            return torch.full_like(x, value) if stage == "embed" else x

        def filter(self, x, edge_index):
            return self._spoiled("filter", super().filter(x, edge_index))

        def gnn(self, x, edge_index, edge_attr=None):
            return self._spoiled("gnn", super().gnn(x, edge_index))

        def _spoiled(self, name, logits):
            if name == stage:
                logits[-1] = value
            return logits

    with pytest.raises(error, match="NaN or infinite"):
        device(SPEC, Bad(), chunk).run(event(rng))


@pytest.mark.parametrize("broken, message", [
    (hits([[1, 2, 3], [np.nan, 0, 0]]), "NaN or infinite coordinates"),
    (replace(hits([[1, 2, 3], [4, 5, 6]]), hit_id=np.array([8, 8])), "duplicate hit id"),
])
def test_bad_events(broken, message):
    with pytest.raises(InputError, match=message):
        device(SPEC, Ruler()).run(broken)


def test_a_bundle_that_makes_no_tracks_is_refused(rng):
    spec = replace(SPEC, embedding=None, graph=None)
    with pytest.raises(SpecError, match="hits become tracks with an embedding and a GNN"):
        device(spec, Ruler()).run(event(rng))


@pytest.mark.parametrize("names, message", [
    (("gird", "union_find"), "unknown neighbour backend 'gird'.*grid"), (("grid", "scypi"), "unknown labelling backend 'scypi'"),
])
def test_unknown_backends(names, message):
    with pytest.raises(SpecError, match=message):
        DevicePipeline(SPEC, Ruler(), *names)


def test_contradicting_ranges_warn(rng):
    made = event(rng)
    with pytest.warns(TrkxWarning, match="'r' .* trained on 0 to 1.1"):
        device(SPEC, Ruler()).run(replace(made, position=made.position * np.float32(100)))


def test_warm_up_runs_every_stage():
    ruler = Ruler()
    device(SPEC, ruler).warm_up()
    assert ruler.calls[0] == ("embed", 64)


def test_threads_take_turns(rng):
    """Events run at once give the same tracks, and are never on the device at once."""
    class Alone(Ruler):
        inside = 0

        def embed(self, x):
            Alone.inside += 1
            assert Alone.inside == 1
            threading.Event().wait(0.01)
            Alone.inside -= 1
            return super().embed(x)

    pipeline = device(SPEC, Alone())
    made = [event(rng, tracks=8, number=number) for number in range(4)]
    found = [None] * 4

    def work(place):
        found[place] = pipeline.run(made[place], keep_graphs=True)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for tracks, one in zip(found, made, strict=True):
        assert_same(tracks, Pipeline(SPEC, HostRuler()).run(one, keep_graphs=True))


def test_no_gradients(rng):
    class Graded(Ruler):
        def logit(self, x, edge_index, slope):
            assert not torch.is_grad_enabled()
            return super().logit(x, edge_index, slope)

    device(SPEC, Graded()).run(event(rng, tracks=5))


def test_the_engine_of_a_pipeline_takes_arrays(rng):
    pipeline = device(SPEC, Ruler())
    x, edges = rng.uniform(-1, 1, (9, 3)).astype(np.float32), rng.integers(0, 9, (2, 30))
    expected = HostRuler()
    np.testing.assert_array_equal(pipeline.engine.embed(x), x)
    np.testing.assert_array_equal(pipeline.engine.filter(x, edges), expected.filter(x, edges))
    np.testing.assert_array_equal(pipeline.engine.gnn(x, edges), expected.gnn(x, edges))


@pytest.mark.parametrize("direction", ["by_radius", "by_index"])
def test_orientation_and_order(direction, rng):
    """Also where hits are as far from the origin as each other, to the last bit or nearly."""
    position = rng.normal(0, 500, (60, 3)).astype(np.float32)
    position[20:40] = -position[:20]
    position[40:] = np.nextafter(position[:20], np.float32(1e9))
    pairs = rng.integers(0, 60, (2, 2000))
    expected = oriented(pairs, position, direction)
    found = orientation_on_device(torch.from_numpy(position), direction)(torch.from_numpy(pairs))
    np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(canonical_on_device(found, 60).numpy(), canonical(expected))
    assert canonical_on_device(found[:, :0], 60).shape == (2, 0)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 2000])
def test_rows_of_edges_begin_where_kernels_want_them(count, rng):
    """Triton compiles a kernel anew for a row that begins at no multiple of 16 bytes: that of an odd number of edges."""
    pairs = torch.from_numpy(rng.integers(0, 60, (2, count)))
    position = torch.from_numpy(rng.normal(0, 500, (60, 3)).astype(np.float32))
    made = [orientation_on_device(position, direction)(pairs) for direction in ("by_radius", "by_index")]
    for edges in (*made, canonical_on_device(pairs, 60), empty_pairs(count, CPU)):
        assert (edges.shape, edges.dtype) == ((2, count), torch.int64)
        for row in edges:
            assert aligned(row) is row
    for row in (*torch.cat([pairs, pairs], 1)[:, count + 1 :], pairs.t().contiguous().t()[1]):
        found = aligned(row)
        assert found.is_contiguous() and found.data_ptr() % 16 == 0
        assert torch.equal(found, row)


class TestEdgeFeatures:
    names = tuple(on_host.FORMULAS)

    def spec(self):
        scales = {"r": 1000.0, "phi": 3.141592653589793, "z": 1000.0, "eta": 3.0}
        features = tuple(FeatureSpec(name, scale) for name, scale in scales.items())
        own = (FeatureSpec("r", 500.0), FeatureSpec("phi", 3.141592653589793), FeatureSpec("eta", 1.0))
        gnn = type("Reads", (), {"edge_features": self.names, "features": own})()
        return type("Spec", (), {"name": "made-up", "features": features, "gnn": gnn, "edge_features": self.names})()

    def test_every_formula_is_there(self):
        assert on_device.DEVICE_FORMULAS.keys() == on_host.FORMULAS.keys()

    def test_equal_to_the_last_bit(self, rng):
        x = rng.uniform(-1, 1, (80, 4)).astype(np.float32)
        x[::4, 0] = 0.25  # the same r, and with it steepest slopes
        x[::8, 1] = -0.5  # and the same phi
        edges = rng.integers(0, 80, (2, 5000))
        expected = on_host.edge_features(self.spec(), x, edges)
        found = on_device.edge_features_on_device(self.spec(), torch.from_numpy(x), torch.from_numpy(edges))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), expected)
        assert {-100.0, 0.0, 100.0} <= set(expected[:, self.names.index("phislope")].tolist())

    def test_what_cannot_be_made_is_refused(self):
        spec = self.spec()
        spec.features = spec.features[:2]
        with pytest.raises(SpecError, match="edge feature dz is made from z, and features has no z"):
            on_device.edge_features_on_device(spec, torch.zeros(3, 2), torch.zeros(2, 1, dtype=torch.int64))


def test_a_stage_that_fails_leaves_no_report():
    with DeviceMeter(CPU) as meter:
        with pytest.raises(ValueError, match="x"), meter.stage("graph", 1, "hits"):
            raise ValueError("x")
        with meter.stage_on_host("features", 3, "hits") as count:
            count.count_out = 3
    assert [stage.name for stage in meter.stages] == ["features"]
