"""Pipeline folders and what can be wrong with them; graphs to check with; provenance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.tiny import tiny_pipeline, tiny_spec, toml_of, write_spec

from trkx.errors import CheckpointError, ExportError, SpecError, TrkxError
from trkx.export import metadata, sample, zoo
from trkx.export.pipeline_folder import load_network, open_source
from trkx.runtime.events.event import Event
from trkx.spec import FeatureSpec, FilterSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("pipeline"))


def test_a_folder_a_file_and_a_spec_with_files_are_the_same_source(folder: Path, tmp_path: Path) -> None:
    from_folder, from_file = open_source(folder), open_source(folder / "pipeline.toml")
    assert from_folder == from_file
    assert from_folder.spec == tiny_spec()
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(tiny_spec().to_dict()), encoding="utf-8")
    apart = open_source(spec, spec, dict(from_folder.checkpoints))
    assert (apart.spec, apart.checkpoints) == (from_folder.spec, from_folder.checkpoints)
    other = folder / "filter.safetensors"
    assert open_source(folder, files={"gnn": other, "filter": None}).checkpoints == {**from_folder.checkpoints, "gnn": other}


BROKEN = [
    (lambda t: "colour = 1\n" + t, SpecError, "unknown key 'colour'"),
    (lambda t: t.replace("hidden", "hiden", 1), SpecError, "unknown key 'hiden'. Did you mean 'hidden'"),
    (lambda t: t.replace("[checkpoints]", "[checkpoint]"), SpecError, "unknown key 'checkpoint'"),
    (lambda t: t.replace("gnn = ", "gnnn = "), SpecError, "unknown key 'gnnn'"),
    (lambda t: t.replace('gnn = "gnn.safetensors"', ""), CheckpointError, "no checkpoint for gnn.*--gnn FILE"),
    (lambda t: t.replace('"gnn.safetensors"', "3"), SpecError, "must be a file name"),
    (lambda t: t.replace("radius = 0.05", "radius = -1"), SpecError, "radius must be above 0"),
    (lambda t: t.replace("[graph]", "[graph"), SpecError, "can't be read as TOML"),
    (lambda t: t.replace("radius = 0.05", ""), SpecError, "missing key radius"),
]


@pytest.mark.parametrize(("change", "error", "message"), BROKEN, ids=[m[:25] for _, _, m in BROKEN])
def test_a_broken_pipeline_file_is_named(change, error: type[TrkxError], message: str, folder: Path, tmp_path: Path) -> None:
    text = (folder / "pipeline.toml").read_text(encoding="utf-8")
    assert change(text) != text
    (tmp_path / "pipeline.toml").write_text(change(text), encoding="utf-8")
    with pytest.raises(error, match=message) as caught:
        open_source(tmp_path)
    assert "pipeline.toml" in str(caught.value)


def test_missing_and_unreadable_checkpoints_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected a pipeline file"):
        open_source(tmp_path)
    files = {"embedding": "a.safetensors", "filter": "b.safetensors", "gnn": "c.safetensors"}
    write_spec(tmp_path / "pipeline.toml", tiny_spec(), files)
    (tmp_path / "b.safetensors").write_bytes((folder / "filter.safetensors").read_bytes()[:500])
    source = open_source(tmp_path)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: there is no such file; give the path"):
        load_network(source, "embedding")
    with pytest.raises(CheckpointError, match=r"b\.safetensors: .*truncated"):
        load_network(source, "filter")


def test_toml_of_reads_back() -> None:
    import tomllib

    spec = tiny_spec(filter=FilterSpec(hidden=3, layers=1, geometry=False))
    assert type(spec).from_dict(tomllib.loads(toml_of(spec.to_dict()))) == spec


def embed(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float64)


def test_the_zoo_has_what_each_animal_is_for() -> None:
    spec = tiny_spec()
    found = {case.name: case for case in zoo.cases(spec, zoo.helix_event(spec), embed)}
    for case in found.values():
        assert case.x.dtype == np.float32
        assert case.edge_index.dtype == np.int64
        assert case.edge_index.size == 0 or 0 <= case.edge_index.min() <= case.edge_index.max() < len(case.x)
    star, path, twice = found["star"].edge_index, found["path"].edge_index, found["duplicate edges"].edge_index
    assert np.unique(star[1]).tolist() == [0]
    assert len(np.unique(path[0])) == len(np.unique(path[1])) == path.shape[1]
    assert np.unique(twice, axis=1).shape[1] < twice.shape[1]
    assert len(np.unique(found["isolated hits"].edge_index)) < len(found["isolated hits"].x)
    sizes = {name: (len(case.x), case.edge_index.shape[1]) for name, case in found.items()}
    assert sizes["one edge"] == (2, 1)
    assert sizes["zero edges"][1] == 0
    assert sizes["one hit"] == (1, 0)
    assert sizes["more hits than edges"][0] > sizes["more hits than edges"][1]
    assert sizes["more edges than hits"][0] < sizes["more edges than hits"][1]
    assert sizes["complete bipartite"] == (27, 12 * 15)
    assert sizes["event"][1] > 10


def test_an_event_graph_is_oriented_sorted_and_bounded() -> None:
    spec = tiny_spec()
    event = zoo.helix_event(spec, tracks=400)
    case = zoo.event_case(spec, event, embed)
    assert len(case.x) == zoo.MAX_HITS < len(event)
    assert case.edge_index.shape[1] <= zoo.MAX_EDGES
    radius = np.linalg.norm(zoo.pie_slice(event).position.astype(np.float64), axis=1)
    assert (radius[case.edge_index[0]] <= radius[case.edge_index[1]]).all()
    assert (np.diff(case.edge_index[1]) >= 0).all()
    alone = zoo.event_case(spec, event, lambda x: 1e3 * np.arange(len(x), dtype=np.float64)[:, None])
    assert alone.edge_index.shape[1] > 0
    with pytest.raises(ExportError, match="at least 2 hits"):
        zoo.event_case(spec, Event(1, np.array([1]), np.ones((1, 3), np.float32)), embed)


def test_features_that_are_no_positions_are_made_up() -> None:
    extra = (*tiny_spec().features, FeatureSpec("cell_count", 10.0, 0.1, 2.0), FeatureSpec("leta", 1.0))
    spec = tiny_spec(features=extra)
    event = sample.check_event(spec)
    assert zoo.cases(spec, event, embed)[0].x.shape[1] == 5
    assert zoo.pie_slice(event, 10).cells["cell_count"].shape == (10,)


def test_time_honours_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert metadata.utc_time() == "2023-11-14T22:13:20Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(ExportError, match="whole seconds since 1970"):
        metadata.utc_time()
