"""The algorithm in ACTS's sequencer sees what `trkx run` sees, writes what the pipeline finds, and fails with a message."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.acts_gun import muons, write_guns
from support.tiny import tiny_spec

pytest.importorskip("acts", reason="needs the extra 'simulate'")

import acts
import acts.examples as examples

from trkx.errors import InputError, SpecError
from trkx.runtime.acts.algorithm import TrkxTrackFinding
from trkx.runtime.acts.chains import ALL_POINTS, add_points
from trkx.runtime.acts.frames import Frames, frames_of
from trkx.runtime.acts.geometry import generic_detector
from trkx.runtime.acts.settings import SequenceSpec
from trkx.runtime.acts.simulation import add_simulation
from trkx.runtime.acts.steps import Steps
from trkx.runtime.events import open_events
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.simulate.collisions import Generated
from trkx.spec import CutSpec, FeatureSpec, LabellingSpec

EVENTS = [muons(150), muons(0), muons(60, pt=1.0, seed=2, eta_max=3.0)]  # the second is empty
ERROR = acts.logging.ERROR


@pytest.fixture(scope="module")
def setup():
    return generic_detector()


class Collector(examples.IAlgorithm):
    """Keeps proto tracks by event."""

    def __init__(self, key):
        examples.IAlgorithm.__init__(self, f"Collector-{key}", ERROR)
        self.handle = examples.ReadDataHandle(self, examples.ProtoTrackContainer, "Input")
        self.handle.initialize(key)
        self.tracks = {}

    def execute(self, context):
        self.tracks[int(context.eventNumber)] = [list(track) for track in self.handle(context.eventStore)]
        return examples.ProcessCode.SUCCESS


def run_sequence(folder, setup, finders, events=EVENTS, threads=1, extra=()):
    """Run guns through simulation and finders ({key: make}); return proto tracks by key and event."""
    write_guns(folder, events)
    sequencer = examples.Sequencer(
        events=len(events), numThreads=threads, logLevel=ERROR, trackFpes=False, outputDir=str(folder)
    )
    steps = Steps(sequencer, folder)
    add_simulation(steps, setup, SequenceSpec(events=len(events), threads=threads), folder)
    add_points(steps, setup)
    collectors = {}
    for key, make in finders.items():
        steps.algorithm("trkx", make(key))
        collectors[key] = Collector(key)
        steps.algorithm("test", collectors[key])
    for writer in extra:
        steps.writer("test", writer)
    sequencer.run()
    assert len(steps.times()) > len(finders)
    return {key: collector.tracks for key, collector in collectors.items()}


def csv_writers(folder):
    folder.mkdir()
    return [examples.CsvSpacePointWriter(level=ERROR, inputSpacePoints=ALL_POINTS, outputDir=str(folder))]


def measurement_sets(tracks):
    return sorted(sorted(track) for track in tracks)


@pytest.fixture(scope="module")
def pipelines(request):
    """The tiny bundle's networks in two pipelines: connected components and edge contraction, with a cut amid their scores."""
    opened = Pipeline.open(request.getfixturevalue("tiny_bundle"), threads=1)
    graph, cuts = dataclasses.replace(opened.spec.graph, radius=0.02), CutSpec(filter=0.3, gnn=0.75)
    methods = {"components": "connected_components", "contraction": "edge_contraction"}
    return {
        key: Pipeline(
            dataclasses.replace(opened.spec, graph=graph, cuts=cuts, labelling=LabellingSpec(method=method, min_hits=3)),
            opened.engine, threads=1,
        ) for key, method in methods.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory, setup, pipelines):
    """Proto tracks of every finder from one sequence, and the folder of its space points as CSV."""
    folder = tmp_path_factory.mktemp("acts")
    finders = {
        "components": lambda key: TrkxTrackFinding(pipelines["components"], ALL_POINTS, key, level=ERROR),
        "contraction": lambda key: TrkxTrackFinding(pipelines["contraction"], ALL_POINTS, key, level=ERROR),
        "one-link": lambda key: TrkxTrackFinding(
            pipelines["components"], ALL_POINTS, key, stripSpacePoints=False, level=ERROR
        ),
        "of-measurements": lambda key: TrkxTrackFinding(
            pipelines["components"], "", key, inputMeasurements="measurements", trackingGeometry=setup.geometry, level=ERROR
        ),
    }
    tracks = run_sequence(folder / "work", setup, finders, extra=csv_writers(folder / "csv"))
    return tracks, folder / "csv"


@pytest.mark.parametrize("method", ["components", "contraction"])
def test_proto_tracks_are_those_of_the_pipeline_on_the_same_hits(ran, pipelines, method):
    tracks, folder = ran
    found = 0
    filled = {source.event_id: source for source in open_events(folder) if source.event_id != 1}
    assert set(filled) == {0, 2}
    for number, source in filled.items():
        event = source.read()  # what `trkx run` reads: measurement ids, float32 mm
        assert len(event) > 400
        expected = [rows.tolist() for rows in pipelines[method].run(event).hits_of_tracks()]
        assert measurement_sets(tracks[method][number]) == measurement_sets(expected)
        found += len(expected)
    assert found > 40  # there is something to compare
    assert tracks[method][1] == []  # the empty event


def test_the_bundles_way_of_building_tracks_is_followed(ran):
    tracks, _ = ran
    assert measurement_sets(tracks["components"][0]) != measurement_sets(tracks["contraction"][0])


def test_reading_one_link_only_changes_nothing_without_strips(ran):
    tracks, _ = ran
    assert tracks["one-link"] == tracks["components"]


def test_measurements_give_the_tracks_of_their_space_points(ran):
    tracks, _ = ran
    for number in (0, 1, 2):
        assert measurement_sets(tracks["of-measurements"][number]) == measurement_sets(tracks["components"][number])


def test_two_events_at_a_time(tmp_path, setup, pipelines, ran):
    finders = {"components": lambda key: TrkxTrackFinding(pipelines["components"], ALL_POINTS, key, level=ERROR)}
    tracks = run_sequence(tmp_path / "work", setup, finders, threads=2)
    assert tracks["components"] == ran[0]["components"]


class Broken(Pipeline):
    """Fails in one event."""

    def __init__(self, spec, error):
        super().__init__(spec, engine=None, threads=1)
        self.error = error

    def run(self, event, keep_graphs=False):
        raise self.error


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_trkx_ends_the_sequence_with_its_message_in_the_log(tmp_path, setup, capfd, threads):
    made = []

    def finder(key):
        pipeline = Broken(tiny_spec(), InputError("event {0}: {no} good"))
        made.append(TrkxTrackFinding(pipeline, ALL_POINTS, key))
        return made[-1]

    with pytest.raises(RuntimeError, match="Failed to process event data"):
        run_sequence(tmp_path / "work", setup, {"broken": finder}, events=[muons(3)] * 2, threads=threads)
    assert str(made[0].failure) == "event {0}: {no} good"
    log = capfd.readouterr()
    assert "event {0}: {no} good" in log.out + log.err


def test_other_errors_are_not_hidden(tmp_path, setup):
    pipeline = Broken(tiny_spec(), ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_sequence(
            tmp_path / "work", setup, {"broken": lambda key: TrkxTrackFinding(pipeline, ALL_POINTS, key)}, events=[muons(3)]
        )


@pytest.mark.parametrize("options, message", [
    ({"inputMeasurements": "measurements"}, "give one of them"),
    ({"inputSpacePoints": ""}, "give one of them"),
    ({"inputSpacePoints": "", "inputMeasurements": "measurements"}, "give the trackingGeometry"),
])  # fmt: skip
def test_wrong_inputs(options, message):
    with pytest.raises(SpecError, match=message):
        TrkxTrackFinding(Broken(tiny_spec(), ValueError()), **options)


def test_a_pipeline_without_tracks_is_refused():
    with pytest.raises(SpecError, match="tracks need an embedding and a GNN"):
        TrkxTrackFinding(Broken(tiny_spec(embedding=None, graph=None, filter=None, cuts=CutSpec(gnn=0.4)), ValueError()))


def with_feature(name):
    return tiny_spec(features=(*tiny_spec().features, FeatureSpec(name, 1.0)))


def test_features_that_acts_cannot_give_are_refused():
    with pytest.raises(InputError, match=r"needs the feature 'cell_count'.*they give: x, y.*cell_val"):
        TrkxTrackFinding(Broken(with_feature("cell_count"), ValueError()))
    with pytest.raises(SpecError, match="needs cell_val, which are made from clusters; give inputClusters"):
        TrkxTrackFinding(Broken(with_feature("cell_val"), ValueError()))


def test_clusters_of_a_smearing_digitisation_are_refused(tmp_path, setup):
    made = []

    def finder(key):
        pipeline = Broken(with_feature("cell_val"), ValueError())
        made.append(TrkxTrackFinding(pipeline, ALL_POINTS, key, inputClusters="clusters"))
        return made[-1]

    with pytest.raises(RuntimeError):
        run_sequence(tmp_path / "work", setup, {"broken": finder}, events=[muons(3)])
    assert "no cluster holds a cell" in str(made[0].failure)


class Seen(Pipeline):
    """Keeps the events that it is given."""

    def __init__(self, spec):
        super().__init__(spec, engine=None, threads=1)
        self.events = []

    def run(self, event, keep_graphs=False):
        from trkx.runtime.tracks import Tracks

        self.events.append(event)
        return Tracks(event.event_id, event.hit_id, event.hit_id, 3)


def test_identifiers_are_read_where_the_bundle_needs_them(tmp_path, setup):
    seen = {"points": Seen(with_feature("layer")), "rows": Seen(with_feature("volume")), "without": Seen(tiny_spec())}
    finders = {
        "points": lambda key: TrkxTrackFinding(seen["points"], ALL_POINTS, key),
        "rows": lambda key: TrkxTrackFinding(
            seen["rows"], "", key, inputMeasurements="measurements", trackingGeometry=setup.geometry
        ),
        "without": lambda key: TrkxTrackFinding(seen["without"], ALL_POINTS, key),
    }
    run_sequence(tmp_path / "work", setup, finders, events=[muons(20)])
    points, rows, without = (seen[key].events[0] for key in finders)
    assert without.volume is None
    for name in ("volume", "layer", "module"):
        np.testing.assert_array_equal(getattr(points, name), getattr(rows, name))
    np.testing.assert_allclose(points.position, rows.position, atol=1e-3)  # mm: rounding of float32 at 1 m
    radius = np.hypot(points.position[:, 0], points.position[:, 1])
    innermost = (points.volume == 8) & (points.layer == 2)
    assert innermost.any()
    assert set(points.volume) <= {7, 8, 9, 12, 13, 14, 16, 17, 18}
    np.testing.assert_allclose(radius[innermost], 32.0, atol=4.0)


def test_close_hits_are_merged_only_where_asked(tmp_path, setup):
    one, other = muons(30), muons(30)
    other.barcode[:, 2] += 30
    names = [field.name for field in dataclasses.fields(Generated)]
    both = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in names}
    hits = {}
    for merge in (False, True):
        seen, folder = Seen(tiny_spec()), write_guns(tmp_path / str(merge), [Generated(**both)])
        sequencer = examples.Sequencer(events=1, numThreads=1, logLevel=ERROR, trackFpes=False, outputDir=str(folder))
        steps = Steps(sequencer, folder)
        add_simulation(steps, setup, SequenceSpec(events=1, merge=merge), folder)
        add_points(steps, setup)
        steps.algorithm("trkx", TrkxTrackFinding(seen, ALL_POINTS, "found", level=ERROR))
        sequencer.run()
        hits[merge] = len(seen.events[0])
    assert hits[False] > hits[True] + 30
    assert not SequenceSpec().merge


def test_frames_refuse_what_they_do_not_know(setup):
    frames = frames_of(setup.geometry)
    assert len(frames.geometry_id) > 10_000
    np.testing.assert_allclose(np.linalg.norm(frames.axis_x, axis=1), 1.0, atol=1e-9)
    with pytest.raises(InputError, match=r"event 3: 1 measurement\(s\) on surfaces that are no plane modules.*geometry id 5"):
        frames.to_global(np.array([frames.geometry_id[0], 5], np.uint64), np.zeros((2, 2)), "event 3")
    empty = Frames(np.empty(0, np.uint64), *(np.empty((0, 3)) for _ in range(3)))
    with pytest.raises(InputError, match="no plane modules"):
        empty.to_global(np.array([5], np.uint64), np.zeros((1, 2)), "event 3")
    assert empty.to_global(np.empty(0, np.uint64), np.zeros((0, 2)), "event 3").shape == (0, 3)


def test_the_guides_lines_run(tmp_path, setup, tiny_bundle, ran):
    text = (Path(__file__).parents[2] / "docs" / "acts-sequence.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    folder = write_guns(tmp_path / "work", EVENTS)
    sequencer = examples.Sequencer(
        events=len(EVENTS), numThreads=1, logLevel=ERROR, trackFpes=False, outputDir=str(folder)
    )
    steps = Steps(sequencer, folder)
    add_simulation(steps, setup, SequenceSpec(events=len(EVENTS)), folder)
    add_points(steps, setup)
    exec(code, {"sequencer": sequencer, "BUNDLE": tiny_bundle})
    collector = Collector("trkx_prototracks")
    sequencer.addAlgorithm(collector)
    sequencer.run()
    source = next(source for source in open_events(ran[1]) if source.event_id == 0)
    expected = [rows.tolist() for rows in Pipeline.open(tiny_bundle, threads=1).run(source.read()).hits_of_tracks()]
    assert measurement_sets(collector.tracks[0]) == measurement_sets(expected) != []


def test_without_pyacts_the_message_says_what_to_install():
    code = (
        "import sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'acts':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "from trkx.errors import MissingExtraError\n"
        "try:\n"
        "    import trkx.runtime.acts.algorithm\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs pyacts" in done.stdout
    assert 'pip install "trkx[simulate]"' in done.stdout
