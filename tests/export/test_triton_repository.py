"""The model repository of target triton: its configs are Triton's own messages, its model answers as `Pipeline.run` does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import text_format
from safetensors.torch import save
from support.small_events import small_events
from support.tiny import tiny_spec
from support.triton_stand_in import InferenceRequest, Model, TritonError, TritonModelException, config_of, serving
from tritonclient.grpc import model_config_pb2

from trkx.bundle import STAGES, Bundle, Manifest, file_entry, write_manifest
from trkx.errors import ExportError
from trkx.export.metadata import weights_metadata
from trkx.export.triton.config import Served, stage_config, tracks_config
from trkx.export.triton.repository import TARGET, network_path, write_repository
from trkx.models.networks import build_network
from trkx.runtime.events import Event
from trkx.runtime.pipeline import Pipeline
from trkx.spec import CutSpec, FeatureSpec

DOCS = Path(__file__).parents[2] / "docs" / "triton.md"
ALONE = tiny_spec(name="gnn alone", embedding=None, graph=None, filter=None, cuts=CutSpec(filter=None, gnn=0.4))
TYPES = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a repository. That an export writes the same is test_targets.py's."""
    folder = tmp_path_factory.mktemp("triton") / "bundle"
    shutil.copytree(tiny_bundle, folder)
    manifest = Bundle.open(folder).manifest
    entries = []
    for stage in STAGES:
        (folder / network_path(stage)).parent.mkdir(parents=True)
        shutil.copy(folder / f"{stage}.onnx", folder / network_path(stage))
        entries.append(file_entry(folder, network_path(stage), stage, "onnx", target=TARGET))
    entries += write_repository(folder, manifest.spec)
    write_manifest(folder, replace(manifest, files=(*manifest.files, *entries)))
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> Iterator[Model]:
    with pytest.MonkeyPatch.context() as patch:
        yield Model(bundle / "triton" / "tracks", patch, threads="1")


def equal(found: dict[str, np.ndarray] | TritonError, pipeline: Pipeline, event: Event) -> bool:
    assert not isinstance(found, TritonError), found.message()
    tracks = pipeline.run(event)
    return (
        np.array_equal(found["label"], tracks.label) and np.array_equal(found["track_id"], tracks.track_id)
        and found["event_id"].tolist() == [event.event_id] and len(found["label"]) == len(found["track_id"]) == len(event)
    )


def test_a_bundle_with_a_repository_is_whole(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.verify()
    assert opened.strangers() == []
    assert opened.entry("all", "triton-python", target=TARGET).path == "triton/tracks/1/model.py"
    assert opened.entry("gnn", "triton-config", target=TARGET).path == "triton/gnn/config.pbtxt"
    listed = {path.relative_to(bundle).as_posix() for path in (bundle / "triton").rglob("*") if path.is_file()}
    assert listed == {entry.path for entry in opened.manifest.files if entry.target == TARGET}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_s_config_says_what_its_file_holds(bundle: Path, stage: str) -> None:
    config = config_of(bundle / "triton" / stage / "config.pbtxt")
    assert (config.name, config.platform, config.max_batch_size) == (stage, "onnxruntime_onnx", 0)
    assert (bundle / "triton" / stage / "1" / config.default_model_filename).is_file()
    graph = onnx.load_model(bundle / network_path(stage)).graph
    for ports, values in ((config.input, graph.input), (config.output, graph.output)):
        said = [(port.name, model_config_pb2.DataType.Name(port.data_type), list(port.dims)) for port in ports]
        held = [
            (value.name, TYPES[value.type.tensor_type.elem_type],
             [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]) for value in values
        ]
        assert said == held


def comments(text: str) -> str:
    return "\n".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))


def test_comments_say_how_to_scale_and_what_parameters_mean() -> None:
    spec = tiny_spec()
    for stage in STAGES:
        said = comments(stage_config(spec, stage))
        assert ", ".join(f'"{feature.name}" / {feature.scale!r}' for feature in spec.features) in said
        assert ("a logit an edge" in said) == (stage != "embedding")
    said = comments(tracks_config(spec))
    for words in ("0 for one per core", "relative to the model repository", "none is scaled"):
        assert words in said
    assert "tracks" not in comments(stage_config(ALONE, "gnn")), "there is no such model in its repository"


def test_a_feature_s_name_does_not_leave_its_comment() -> None:
    features = (*tiny_spec().features, FeatureSpec('a\nname: "b"\r\x85\u2028max_batch_size: 7', 2.0))
    for text in (stage_config(tiny_spec(features=features), "embedding"), tracks_config(tiny_spec(features=features))):
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
        assert config.name in ("embedding", "tracks") and config.max_batch_size == 0


def test_a_gnn_with_edge_attributes_and_no_other_stage() -> None:
    spec = ALONE
    config = text_format.Parse(stage_config(spec, "gnn"), model_config_pb2.ModelConfig())
    assert [port.name for port in config.input] == ["x", "edge_index"]
    with_attributes = type("Spec", (), {
        "features": spec.features, "edge_features": ("dr", "dphi"), "width": lambda self, _: 1, "makes_tracks": False
    })()
    config = text_format.Parse(stage_config(with_attributes, "gnn"), model_config_pb2.ModelConfig())
    assert [(port.name, list(port.dims)) for port in config.input][2] == ("edge_attr", [-1, 2])


def test_the_whole_pipeline_is_served_only_where_there_is_one(tmp_path: Path) -> None:
    spec = ALONE
    assert [entry.path for entry in write_repository(tmp_path, spec)] == ["triton/gnn/config.pbtxt"]


def test_further_features_are_inputs_and_names_are_escaped() -> None:
    features = tuple(FeatureSpec(name, 1.0) for name in ("r", "phi", "z", "volume", 'a "b" \\ \x01 é'))
    served = Served("/some where/ü", "onnxruntime", "gnn=bf16", 2, 3)
    config = text_format.Parse(tracks_config(tiny_spec(features=features), served), model_config_pb2.ModelConfig())
    assert config.backend == "python" and not config.platform
    named = {port.name: (model_config_pb2.DataType.Name(port.data_type), list(port.dims), port.optional) for port in config.input}
    assert named == {
        "position": ("TYPE_FP32", [-1, 3], False), "hit_id": ("TYPE_INT64", [-1], True), "event_id": ("TYPE_INT64", [1], True),
        "volume": ("TYPE_INT32", [-1], False), 'a "b" \\ \x01 é': ("TYPE_FP32", [-1], False),
    }
    said = {key: value.string_value for key, value in config.parameters.items()}
    assert said == {"bundle": "/some where/ü", "engine": "onnxruntime", "precision": "gnn=bf16", "threads": "2"}
    assert [(group.count, group.kind) for group in config.instance_group] == [(3, model_config_pb2.ModelInstanceGroup.KIND_CPU)]


def test_a_feature_with_the_name_of_an_input_is_refused() -> None:
    with pytest.raises(ExportError, match="feature 'hit_id' has the name of an input"):
        tracks_config(tiny_spec(features=(*tiny_spec().features, FeatureSpec("hit_id", 1.0))))


def test_the_schema_is_strict(bundle: Path) -> None:
    text = (bundle / "triton" / "gnn" / "config.pbtxt").read_text("utf-8")
    for wrong in (("platform", "plattform"), ("TYPE_FP32", "TYPE_FLOAT"), ("KIND_AUTO", "KIND_ANY"), ("[ -1, 3 ]", "[ N, 3 ]")):
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text.replace(*wrong), model_config_pb2.ModelConfig())


def test_the_model_answers_as_the_pipeline_does(bundle: Path, model: Model) -> None:
    pipeline = Pipeline.open(bundle, threads=1)
    events = small_events(4)
    answers = [model.infer(position=e.position, hit_id=e.hit_id, event_id=np.array([e.event_id])) for e in events]
    assert all(equal(answer, pipeline, event) for answer, event in zip(answers, events, strict=True))  # their inputs are gone
    assert any((answer["track_id"] == -1).any() and answer["track_id"].max() > 0 for answer in answers)
    plain = model.infer(position=events[1].position)
    assert plain["event_id"].tolist() == [0] and np.array_equal(plain["label"], answers[1]["label"])


@pytest.mark.parametrize("hits", [0, 1])
def test_no_hits_and_one_hit(bundle: Path, model: Model, hits: int) -> None:
    event = Event(5, np.arange(hits), small_events(1)[0].position[:hits])
    assert equal(model.infer(position=event.position, event_id=np.array([5])), Pipeline.open(bundle, threads=1), event)


BAD = {
    "NaN": ({"position": np.full((3, 3), np.nan, np.float32)}, "3 hit.s. with NaN or infinite coordinates"),
    "infinite": ({"position": np.full((1, 3), np.inf, np.float32)}, "NaN or infinite"),
    "twice": ({"position": np.ones((2, 3), np.float32), "hit_id": np.array([4, 4])}, "duplicate hit id.s., first 4"),
    "negative": ({"position": np.ones((2, 3), np.float32), "hit_id": np.array([-4, 4])}, "0 or above"),
    "lengths": ({"position": np.ones((2, 3), np.float32), "hit_id": np.array([4])}, r"must be \[1, 3\] for 1 hit ids"),
    "columns": ({"position": np.ones((2, 4), np.float32)}, r"must be \[2, 3\]"),
    "axes": ({"position": np.ones(6, np.float32)}, r"position must be float32 \[N, 3\], found float32 \[6\]"),
    "type": ({"position": np.ones((2, 3))}, "must be float32"),
    "ids": ({"position": np.ones((2, 3), np.float32), "hit_id": np.ones((2, 1), np.int64)}, "hit_id must be int64 with 1 axis"),
    "events": ({"position": np.ones((2, 3), np.float32), "event_id": np.array([1, 2])}, "event_id must be one number"),
    "nothing": ({}, "input position, float32 .* is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_an_error_and_the_next_is_answered(model: Model, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    inputs, message = BAD[case]
    monkeypatch.setattr(Model, "problem_of", lambda self, inputs: "")  # as if the core let it through
    found = model.infer(**inputs)
    assert isinstance(found, TritonError) and found.code() == TritonError.INVALID_ARG
    assert re.search(message, found.message()), found.message()
    assert not isinstance(model.infer(position=np.ones((1, 3), np.float32)), TritonError)


def test_requests_that_come_together_are_answered_in_their_order(model: Model) -> None:
    good, bad = small_events(1)[0].position, np.full((2, 3), np.nan, np.float32)
    requests = [InferenceRequest(position=position, event_id=np.array([k])) for k, position in enumerate((good, bad, good[:7]))]
    first, second, third = model.model.execute(requests)
    assert second.has_error() and "event 1 (request): 2 hit(s) with NaN" in second.error().message()
    sizes = [{tensor.name(): len(tensor.as_numpy()) for tensor in one.output_tensors()} for one in (first, third)]
    assert sizes == [{"label": count, "track_id": count, "event_id": 1} for count in (200, 7)]


def test_whatever_happens_inside_is_an_error_of_that_request(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Pipeline, event: Event) -> None:
        raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "run", run)
        found = model.infer(position=np.ones((1, 3), np.float32))
    assert isinstance(found, TritonError)
    assert (found.message(), found.code()) == ("MemoryError: no more", TritonError.INTERNAL)
    assert not isinstance(model.infer(position=np.ones((1, 3), np.float32)), TritonError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bundle": "../nowhere"}, "expected a bundle .* found nothing"),
        ({"engine": "tilde"}, "unknown engine 'tilde'"),
        ({"precision": "fp8"}, "fp8"),
        ({"threads": "two"}, "threads must be a whole number, 0 for one per core, found 'two'"),
        ({"thread": "2"}, "config.pbtxt has the unknown thread; its parameters are bundle, engine"),
    ],
)
def test_a_model_that_can_not_run_is_refused_when_it_is_loaded(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(TritonModelException, match=message):
        Model(bundle / "triton" / "tracks", monkeypatch, **changes)


def test_an_edited_bundle_is_refused_and_a_copied_repository_is_not(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "repository"
    shutil.copytree(bundle / "triton", copied)
    config = copied / "tracks" / "config.pbtxt"
    config.write_text(config.read_text("utf-8").replace('"tiled"', '"onnxruntime"'), "utf-8")
    model = Model(copied / "tracks", monkeypatch, bundle=str(bundle))
    event = small_events(1)[0]
    found = model.infer(position=event.position, event_id=np.array([event.event_id]))
    assert equal(found, Pipeline.open(bundle, "onnxruntime"), event)
    edited = tmp_path / "bundle"
    shutil.copytree(bundle, edited)
    shutil.copy(config, edited / "triton" / "tracks" / "config.pbtxt")
    with pytest.raises(TritonModelException, match=r"triton/tracks/config\.pbtxt has \d+ bytes instead of"):
        Model(edited / "triton" / "tracks", monkeypatch)


def test_further_features_reach_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    names = {"r": 1000.0, "phi": 3.0, "z": 1000.0, "layer": 10.0, "cell_count": 5.0}
    spec = tiny_spec(features=tuple(FeatureSpec(name, scale) for name, scale in names.items()))
    torch.manual_seed(3)
    states = {stage: build_network(spec, stage).state_dict() for stage in spec.stages}
    tensors = {f"{stage}.{key}": value.contiguous() for stage, state in states.items() for key, value in state.items()}
    (tmp_path / "weights.safetensors").write_bytes(save(tensors, weights_metadata(spec)))
    files = [file_entry(tmp_path, "weights.safetensors", "all", "safetensors"), *write_repository(tmp_path, spec)]
    write_manifest(tmp_path, Manifest(spec.name, spec, tuple(files)))
    model = Model(tmp_path / "triton" / "tracks", monkeypatch, threads="1")
    position = small_events(1)[0].position
    further = {"layer": rng.integers(0, 9, len(position), np.int32), "cell_count": rng.random(len(position), np.float32)}
    event = Event(0, np.arange(len(position)), position, layer=further["layer"], cells={"cell_count": further["cell_count"]})
    assert equal(model.infer(position=position, **further), Pipeline.open(tmp_path, threads=1), event)
    missing = model.infer(position=position, layer=further["layer"])
    assert isinstance(missing, TritonError) and "cell_count" in missing.message()  # Triton's core says it
    monkeypatch.setattr(Model, "problem_of", lambda self, inputs: "")
    found = model.infer(position=position, layer=further["layer"])
    assert isinstance(found, TritonError) and "input cell_count, [200], is missing" in found.message()
    bad = model.infer(position=position, layer=further["layer"], cell_count=further["cell_count"] * np.float32(np.nan))
    assert isinstance(bad, TritonError) and "cell_count holds NaN" in bad.message()


def test_the_client_of_the_documentation_and_many_at_once(
    bundle: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tritonclient.grpc import InferenceServerClient, InferenceServerException, InferInput

    program = re.search(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL).group(1)
    pipeline, events = Pipeline.open(bundle, threads=1), small_events(3)
    np.save(tmp_path / "position.npy", events[2].position)
    with serving({"tracks": model}) as place:
        program = program.replace("localhost:8001", place)
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tracks = pipeline.run(events[2])
        assert done.stdout == f"event 7: {tracks.num_tracks} tracks of {len(events[2])} hits\n"

        def ask(position: np.ndarray, number: int) -> dict[str, np.ndarray]:
            hits, event = InferInput("position", list(position.shape), "FP32"), InferInput("event_id", [1], "INT64")
            hits.set_data_from_numpy(position)
            event.set_data_from_numpy(np.array([number]))
            answer = client.infer("tracks", [hits, event])
            return {name: answer.as_numpy(name) for name in ("label", "track_id", "event_id")}

        client = InferenceServerClient(place)
        with ThreadPoolExecutor(4) as pool:
            wanted = [events[k % 3] for k in range(12)]
            found = list(pool.map(lambda event: ask(event.position, event.event_id), wanted))
        assert all(equal(answer, pipeline, event) for answer, event in zip(found, wanted, strict=True))
        with pytest.raises(InferenceServerException, match="NaN or infinite coordinates"):
            ask(np.full((2, 3), np.nan, np.float32), 1)
        assert len(ask(np.empty((0, 3), np.float32), 9)["label"]) == 0
        client.close()


def test_curl_of_the_documentation_asks_what_the_model_takes(model: Model) -> None:
    body = re.search(r"-d '(\{.*?\})'", DOCS.read_text("utf-8"), re.DOTALL).group(1)
    types = {"FP32": np.float32, "INT64": np.int64}
    asked = json.loads(body)["inputs"]
    inputs = {one["name"]: np.array(one["data"], types[one["datatype"]]).reshape(one["shape"]) for one in asked}
    assert model.infer(**inputs)["event_id"].tolist() == [7]


def test_the_documentation_names_every_parameter() -> None:
    text, config = DOCS.read_text("utf-8"), text_format.Parse(tracks_config(tiny_spec()), model_config_pb2.ModelConfig())
    rows = dict(re.findall(r"\| parameter `(\w+)` \| `([^`]*)` \|", text))
    assert rows == {key: value.string_value for key, value in config.parameters.items()}
    assert all(f"`{port.name}`" in text for port in (*config.input, *config.output))


def test_the_model_needs_no_torch(bundle: Path) -> None:
    place = str(bundle / "triton" / "tracks" / "1")
    program = f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {place!r}); import model\n"
    program += "assert not {'torch', 'onnx', 'trkx.export', 'triton'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
