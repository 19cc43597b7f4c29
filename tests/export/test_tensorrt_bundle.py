"""Bundles for TensorRT: files that need no plug-in, profiles from events, and the engine on ONNX Runtime in TensorRT's place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from support.tiny import TinyExport
from typer.testing import CliRunner

from trkx.bundle import Bundle
from trkx.cli import app
from trkx.errors import BundleError, ExportError, InputError, SpecError
from trkx.export.build import export_models
from trkx.export.lint.run import lint
from trkx.export.tensorrt.profiles import HEADROOM, SMALLEST, STEP, measured, profiles_from
from trkx.runtime.cuda.engines.tensorrt import TensorRTEngine, model_file
from trkx.runtime.cuda.engines.tensorrt import open_engine as open_tensorrt
from trkx.runtime.cuda.tensorrt.limits import LARGEST_EDGES, LARGEST_HITS
from trkx.runtime.cuda.tensorrt.padding import fitted
from trkx.runtime.cuda.tensorrt.profiles import FILE, Extent, Measured, Profiles, StageProfile, profiles_of
from trkx.runtime.cuda.tensorrt.provider import provider_options
from trkx.runtime.engines import open_engine
from trkx.runtime.pipeline import CHUNK, Pipeline
from trkx.spec import ChainFilterSpec, ChainSpec

CPU = torch.device("cpu")
NEEDS_PLUGIN = ("TopK", "NonZero", "Loop", "Scan", "If", "ScatterND")


class OrtExecutor:
    """ONNX Runtime on the CPU in the place of a TensorRT engine: refuses shapes outside of the profile, as that would."""

    def __init__(self, data: bytes, shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> None:
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.shapes, self.calls = shapes, []

    def __call__(self, inputs: Mapping[str, torch.Tensor], output: torch.Tensor) -> None:
        assert set(inputs) == set(self.shapes)
        for name, value in inputs.items():
            smallest, _, largest = self.shapes[name]
            assert value.is_contiguous()
            assert all(low <= size <= high for low, size, high in zip(smallest, value.shape, largest, strict=True)), name
        self.calls.append({name: tuple(value.shape) for name, value in inputs.items()})
        found = self.session.run(["output"], {name: value.numpy() for name, value in inputs.items()})[0]
        assert found.dtype == np.float32
        assert found.shape == tuple(output.shape)
        output.copy_(torch.from_numpy(found))


@pytest.fixture(scope="module")
def folder(tiny_export: TinyExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tensorrt") / "bundle"
    export_models(tiny_export.source, place, tiny_export.event, targets=["tensorrt"], precisions=["gnn=fp16"])
    return place


def engine_of(bundle: Bundle, profiles: Profiles | None = None) -> tuple[TensorRTEngine, dict[str, OrtExecutor]]:
    own = profiles or profiles_of(bundle)
    executors = {stage: OrtExecutor(model_file(bundle, stage, "fp32"), own.of(stage).shapes(bundle.spec))
                 for stage in bundle.spec.stages}
    return TensorRTEngine(bundle.spec, own, executors, CPU), executors


def event_of(rng: np.random.Generator, hits: int, edges: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.tensor(rng.uniform(0.05, 1.0, (hits, 3)), dtype=torch.float32)
    return x, torch.tensor(rng.integers(0, hits, (2, edges)))


def test_the_files_pass_lint_and_use_no_plugin(folder: Path) -> None:
    linted = [one for one in lint(folder, "tensorrt") if not one.skipped]
    assert {Path(one.file).name for one in linted} == {"embedding.onnx", "filter.onnx", "gnn.onnx", "gnn.fp16.onnx"}
    assert not [finding for one in linted for finding in one.findings if finding.severity != "note"]
    for path in (folder / "tensorrt").glob("*.onnx"):
        model = onnx.load_model(path)
        assert not [node.op_type for node in model.graph.node if node.op_type in NEEDS_PLUGIN or node.domain]
        scatters = [node for node in model.graph.node if node.op_type == "ScatterElements"]
        assert all(not node.attribute or {item.name for item in node.attribute} <= {"axis"} for node in scatters)  # permutations
        assert bool(scatters) == path.name.startswith("gnn")


def test_profiles_come_from_the_event(folder: Path, tiny_export: TinyExport) -> None:
    bundle = Bundle.open(folder)
    bundle.verify()
    assert bundle.strangers() == []
    profiles = profiles_of(bundle)
    tracks = Pipeline.open(folder).run(tiny_export.event)
    counts = {stage.name: stage.count_out for stage in tracks.stages}
    [event] = profiles.measured
    assert (event.hits, event.candidates, event.edges) == (len(tiny_export.event), counts["graph"], counts["filter"])
    assert profiles.headroom == HEADROOM
    assert profiles.of("filter").edges == Extent(SMALLEST, min(max(counts["graph"], SMALLEST), CHUNK), CHUNK)
    gnn = profiles.of("gnn").edges
    assert gnn is not None
    assert gnn.max % STEP == 0
    assert gnn.max >= HEADROOM * counts["filter"]
    assert profiles.of("embedding").edges is None
    assert Profiles.from_json(profiles.to_json()) == profiles


def test_profiles_hold_all_events_and_more(tiny_export: TinyExport, folder: Path) -> None:
    spec = tiny_export.source.spec
    events = [Measured("a", 3000, 40_000, 5000), Measured("b", 50, 0, 0), Measured("c", 9000, 300_000, 30_000)]
    profiles = profiles_from(spec, events, 1.25)
    assert profiles.of("embedding").hits == Extent(16, 3000, 11_264)
    assert profiles.of("gnn").edges == Extent(16, 5000, 37_888)
    assert profiles.of("filter").edges == Extent(16, 40_000, CHUNK)  # pieces, however many candidates
    together = replace(spec, filter=ChainFilterSpec(ChainSpec((8, 1), "tanh", "plain", "event")))
    own = profiles_from(together, events, 1.25)
    assert own.of("filter") == StageProfile("filter", Extent(1, 3000, 11_264), Extent(1, 40_000, 375_808))
    TensorRTEngine(together, own, {}, CPU)
    with pytest.raises(BundleError, match="the filter looks at all rows of an event, so its profile must begin at 1"):
        TensorRTEngine(together, profiles, {}, CPU)
    for wrong in (-1.0, 0.999, 101.0, 1e300, float("nan"), float("inf")):
        with pytest.raises(ExportError, match="headroom must be at least 1"):
            profiles_from(spec, events, wrong)
    with pytest.raises(ExportError, match="at least one event"):
        profiles_from(spec, [], 1.5)
    assert measured(folder, [tiny_export.event] * 2)[0].hits == len(tiny_export.event)


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{", b"[" * 100_000, b"\xff", b'{"schema": 2}',
     b'{"schema": 1, "headroom": 1.5, "measured": [], "stages": [], "more": 1}',
     b'{"schema": 1, "headroom": 1.5, "measured": [], "stages": [{"stage": "gnn", "hits": {"min": 5, "opt": 4, "max": 9}}]}'],
)
def test_profiles_that_make_no_sense_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match="no profiles that this trkx reads"):
        Profiles.from_json(data)


@pytest.mark.parametrize(("hits", "edges"), [(1, 1), (2, 1), (5, 15), (16, 3), (15, 16), (16, 16), (17, 40), (300, 900)])
def test_padding_changes_no_logit(folder: Path, hits: int, edges: int, rng: np.random.Generator) -> None:
    bundle = Bundle.open(folder)
    engine, executors = engine_of(bundle)
    plain = open_engine("onnxruntime", bundle, 1)
    x, edge_index = event_of(rng, hits, edges)
    np.testing.assert_allclose(engine.embed(x).numpy(), plain.embed(x.numpy()), atol=1e-5)
    np.testing.assert_allclose(engine.edge_filter(x)(edge_index).numpy(), plain.filter(x.numpy(), edge_index.numpy()), atol=1e-5)
    found = engine.gnn(x, edge_index)
    assert found.shape == (edges,)
    np.testing.assert_allclose(found.numpy(), plain.gnn(x.numpy(), edge_index.numpy()), atol=2e-5)
    [call] = executors["gnn"].calls
    assert call["edge_index"] == (2, max(edges, SMALLEST))
    assert call["x"][0] == max(hits + 2 * (edges < SMALLEST), SMALLEST)
    if (call["x"][0], call["edge_index"][1]) == (hits, edges):
        unpadded = executors["gnn"].session.run(None, {"x": x.numpy(), "edge_index": edge_index.numpy()})[0]
        assert found.numpy().tobytes() == unpadded[:, 0].tobytes()


def test_padding_that_joins_real_hits_would_be_seen(folder: Path, rng: np.random.Generator) -> None:
    engine, executors = engine_of(Bundle.open(folder))
    x, edge_index = event_of(rng, 20, 3)
    joined = torch.cat([edge_index, edge_index[:, :1].expand(2, 13)], dim=1)
    output = torch.empty((16, 1))
    executors["gnn"]({"x": x, "edge_index": joined.contiguous()}, output)
    assert (output[:3, 0] - engine.gnn(x, edge_index)).abs().max() > 1e-3  # a hundred times what the test above allows


def test_padding_edges_join_padding_hits_only(rng: np.random.Generator) -> None:
    profile = StageProfile("gnn", Extent(16, 32, 64), Extent(16, 32, 64))
    x, edge_index = event_of(rng, 20, 3)
    fit = fitted(profile, x, edge_index, torch.ones((3, 2)))
    assert fit.rows == 3
    assert (fit.inputs["edge_index"][:, 3:].min(), fit.inputs["edge_index"].max()) == (20, 21)
    assert fit.inputs["x"].shape == (22, 3)
    assert torch.equal(fit.inputs["x"][20:], x[[0, -1]])  # in range: features far out could overflow
    assert fit.inputs["edge_attr"].shape == (16, 2)
    whole = fitted(profile, x, torch.cat([edge_index] * 6, dim=1))
    assert torch.equal(whole.inputs["x"], x)
    assert torch.equal(whole.inputs["edge_index"], torch.cat([edge_index] * 6, dim=1))


def test_an_event_beyond_the_profile_is_refused(folder: Path, rng: np.random.Generator) -> None:
    bundle = Bundle.open(folder)
    small = Profiles(
        tuple(StageProfile(name, Extent(16, 20, 40), None if name == "embedding" else Extent(16, 30, 60))
              for name in bundle.spec.stages), 1.0, ())
    engine, executors = engine_of(bundle, small)
    x, edge_index = event_of(rng, 41, 50)
    for call in (lambda: engine.embed(x), lambda: engine.edge_filter(x)(edge_index), lambda: engine.gnn(x, edge_index)):
        with pytest.raises(InputError, match=r"41 hits, the TensorRT profile holds 40 .*refused.*--profile-events"):
            call()
    x, edge_index = event_of(rng, 40, 61)
    with pytest.raises(InputError, match=r"stage gnn: the event has 61 edges, the TensorRT profile holds 60"):
        engine.gnn(x, edge_index)
    pieces = engine.edge_filter(x)(edge_index)  # sees one edge at a time: in pieces of nearly equal length, none of them padded
    assert [call["edge_index"][1] for call in executors["filter"].calls] == [31, 30]
    plain = open_engine("onnxruntime", bundle, 1).filter(x.numpy(), edge_index.numpy())
    np.testing.assert_allclose(pieces.numpy(), plain, atol=1e-5)
    with pytest.raises(InputError, match="two of them for padding"):
        engine.gnn(x, edge_index[:, :5])
    assert engine.gnn(x, edge_index[:, :60]).shape == (60,)


@pytest.mark.gpu
def test_tensorrt_itself_gives_the_same(folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("tensorrt", reason="not checked: the package tensorrt is not installed")
    pytest.importorskip("polygraphy", reason="not checked: the package polygraphy is not installed")
    if not torch.cuda.is_available():
        pytest.skip("not checked: no GPU that torch can use")
    bundle, device = Bundle.open(folder), torch.device("cuda", 0)
    plain = open_engine("onnxruntime", bundle, 1)
    for _ in range(2):  # built, then from the cache
        engine = open_tensorrt(bundle, device, "fp32", tmp_path)
        assert len(list(tmp_path.glob("*.engine"))) == len(list(tmp_path.glob("*.json"))) == len(bundle.spec.stages)
        for hits, edges in ((1, 1), (15, 40), (300, 900)):
            x, edge_index = event_of(rng, hits, edges)
            found = engine.gnn(x.to(device), edge_index.to(device))
            assert torch.equal(found, engine.gnn(x.to(device), edge_index.to(device)))
            np.testing.assert_allclose(found.cpu().numpy(), plain.gnn(x.numpy(), edge_index.numpy()), atol=1e-4)
            np.testing.assert_allclose(engine.embed(x.to(device)).cpu().numpy(), plain.embed(x.numpy()), atol=1e-4)


def test_nothing_runs_for_no_edges(folder: Path) -> None:
    engine, executors = engine_of(Bundle.open(folder))
    x = torch.zeros((5, 3))
    assert engine.gnn(x, torch.empty((2, 0), dtype=torch.int64)).shape == (0,)
    assert engine.edge_filter(x)(torch.empty((2, 0), dtype=torch.int64)).shape == (0,)
    assert engine.embed(x[:0]).shape == (0, 4)
    assert not [call for executor in executors.values() for call in executor.calls]


def test_files_of_a_precision_are_found_or_asked_for(folder: Path, tiny_bundle: Path) -> None:
    bundle = Bundle.open(folder)
    assert model_file(bundle, "gnn", "fp16") == (folder / "tensorrt" / "gnn.fp16.onnx").read_bytes()
    assert model_file(bundle, "gnn", "tf32") == model_file(bundle, "gnn", "fp32")
    with pytest.raises(BundleError, match="--target tensorrt --precision bf16"):
        model_file(bundle, "gnn", "bf16")
    with pytest.raises(BundleError, match=f"has no {FILE}"):
        profiles_of(Bundle.open(tiny_bundle))
    with pytest.raises(BundleError, match="no profile of stage gnn, only of none"):
        Profiles((), 1.0, ()).of("gnn")


def test_onnx_runtimes_provider_gets_the_same_profile(folder: Path) -> None:
    bundle = Bundle.open(folder)
    profile = StageProfile("gnn", Extent(16, 1000, 2048), Extent(16, 5000, 8192))
    options = provider_options(profile, bundle.spec, "engines", device_id=1, stream=12)
    assert options["trt_profile_min_shapes"] == "x:16x3,edge_index:2x16"
    assert options["trt_profile_opt_shapes"] == "x:1000x3,edge_index:2x5000"
    assert options["trt_profile_max_shapes"] == "x:2048x3,edge_index:2x8192"
    folders = {provider_options(one, bundle.spec, "engines", model=data)["trt_engine_cache_path"]
               for one in (profile, replace(profile, hits=Extent(16, 1000, 4096))) for data in (b"one", b"two")}
    assert len(folders) == 4  # another file or profile finds no engine of this one
    kinds = {provider_options(profile, bundle.spec, "engines", computes=word)["trt_engine_cache_path"]
             for word in ("fp32", "tf32")}
    assert len(kinds) == 2  # nor does another precision
    assert {Path(folder).parent for folder in folders} == {Path("engines")}
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("False", "False")
    assert (options["user_compute_stream"], options["device_id"]) == ("12", "1")
    assert {name for name, value in options.items() if value in ("True", "False")} == {
        "trt_engine_cache_enable", "trt_timing_cache_enable", "trt_fp16_enable", "trt_int8_enable"}
    assert all(isinstance(value, str) for value in options.values())
    assert "user_compute_stream" not in provider_options(profile, bundle.spec, "engines")


def test_plugins_only_on_request(tiny_export: TinyExport, tmp_path: Path) -> None:
    export_models(tiny_export.source, tmp_path / "b", tiny_export.event, targets=["tensorrt"],
                  lowerings=["tensorrt=scatter"])
    linted = [one for one in lint(tmp_path / "b", "tensorrt") if one.file.endswith("tensorrt/gnn.onnx")]
    assert {(finding.rule.id, finding.severity) for one in linted for finding in one.findings} == {("TRKX030", "warning")}
    bundle = Bundle.open(tmp_path / "b")
    assert (tmp_path / "b" / "gnn.onnx").read_bytes() == (tiny_export.folder / "gnn.onnx").read_bytes()  # asked of TensorRT alone
    assert bundle.manifest.provenance["options"]["lowerings"] == {"tensorrt": "scatter"}


def _gnn(values: dict[str, Any]) -> dict[str, Any]:
    return next(stage for stage in values["stages"] if stage["stage"] == "gnn")


def _first(values: dict[str, Any]) -> dict[str, Any]:
    return dict(values["stages"][0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda values: _gnn(values)["hits"].update(max=2**24 + 1), "holds at most 16,777,216 hits, found up to 16,777,217"),
        (lambda values: _gnn(values)["edges"].update(max=30 * 32**4 + 1), "holds at most 31,457,280 edges"),
        (lambda values: values["stages"][1]["edges"].update(max=2**31), "an axis in TensorRT is at most 2147483647 long"),
        (lambda values: _gnn(values).update(edges=None), "the profile of stage gnn has none: expected an extent of edges"),
        (lambda values: values["stages"][0].update(edges={"min": 1, "opt": 2, "max": 3}), "embedding has one: it reads no edges"),
        (lambda values: _gnn(values).update(stage="gmn"), "unknown stage 'gmn'. Did you mean 'gnn'"),
        (lambda values: values["stages"].append(_first(values)), "stage embedding has several profiles"),
        (lambda values: values.update(headroom=0.999), "headroom must be at least 1 and at most 100, found 0.999"),
        (lambda values: values.update(headroom=100.5), "headroom must be at least 1 and at most 100"),
        (lambda values: values["measured"][0].update(candidates=-5), "counts must be at least 0"),
    ],
)
def test_edited_profiles_that_make_no_sense_are_refused(
    folder: Path, spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    values = json.loads(profiles_of(Bundle.open(folder)).to_json())
    assert [stage["stage"] for stage in values["stages"]][:2] == ["embedding", "filter"]
    spoil(values)
    with pytest.raises(BundleError, match=re.escape(message)):
        Profiles.from_json(json.dumps(values).encode())


def test_the_largest_profile_is_taken_and_nothing_beyond(tiny_export: TinyExport) -> None:
    spec = tiny_export.source.spec
    most = profiles_from(spec, [Measured("a", LARGEST_HITS, 2**30, LARGEST_EDGES)], 1.0)
    assert Profiles.from_json(most.to_json()) == most
    assert (most.of("gnn").hits.max, most.of("gnn").edges) == (LARGEST_HITS, Extent(16, LARGEST_EDGES, LARGEST_EDGES))
    with pytest.raises(SpecError, match="found up to 16,778,240; take smaller events or less --profile-headroom"):
        profiles_from(spec, [Measured("a", LARGEST_HITS + 1, 5, 5)], 1.0)
    with pytest.raises(SpecError, match="stage gnn: its file for TensorRT holds at most 31,457,280 edges"):
        profiles_from(spec, [Measured("a", 5, 5, LARGEST_EDGES)], 1.01)


@pytest.mark.parametrize("option", [["--profile-events", "events"], ["--profile-headroom", "2"]])
def test_options_of_profiles_need_the_target(option: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", "--reference", "--out", str(tmp_path / "bundle"), *option])
    assert result.exit_code == 1
    assert "add --target tensorrt" in str(result.exception) + result.output
    assert not (tmp_path / "bundle").exists()


def test_a_wrong_extent_is_refused() -> None:
    for numbers in ((0, 1, 2), (2, 1, 2), (1, 3, 2)):
        with pytest.raises(SpecError, match="1 <= min <= opt <= max"):
            Extent(*numbers)
