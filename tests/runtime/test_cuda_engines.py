"""Engines on a device, here on the CPU: the numbers of the engines on the host, and what they refuse."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="not checked: needs torch")
ort = pytest.importorskip("onnxruntime", reason="not checked: needs onnxruntime")

from torch._dynamo.testing import CompileCounter  # noqa: E402

from trkx import backends  # noqa: E402
from trkx.bundle import Bundle  # noqa: E402
from trkx.errors import BundleError, InputError, MissingExtraError, SpecError  # noqa: E402
from trkx.runtime.cuda.engines import ort as ort_engine  # noqa: E402
from trkx.runtime.cuda.engines import ort_placement, torch_modules  # noqa: E402
from trkx.runtime.cuda.engines.ort_placement import CPU as CPU_PROVIDER  # noqa: E402
from trkx.runtime.cuda.engines.ort_placement import misplaced, opened_session, probe_inputs, require_placement  # noqa: E402
from trkx.runtime.cuda.engines.rounding import multiplying  # noqa: E402
from trkx.runtime.cuda.engines.table import (  # noqa: E402
    DEVICE_ENGINES,
    DEVICE_PRECISIONS,
    device_of,
    open_device_engine,
    require_precision,
)
from trkx.runtime.cuda.engines.tensorrt import TensorRTEngine  # noqa: E402
from trkx.runtime.cuda.tensorrt.profiles import Extent, Profiles, StageProfile  # noqa: E402
from trkx.runtime.engines import open_engine  # noqa: E402
from trkx.runtime.pipeline import Pipeline  # noqa: E402
from trkx.runtime.precision import EXACT, PRECISIONS  # noqa: E402

CPU = torch.device("cpu")
CUDA = "CUDAExecutionProvider"


def inputs(rng, edges, hits=50):
    x = rng.uniform(-1, 1, (hits, 3)).astype(np.float32)
    x[:, 0] = np.abs(x[:, 0])
    return x, rng.integers(0, hits, (2, edges))


def answers(engine, x, edges):
    """What an engine on a device says of a graph, as arrays."""
    x, edges = torch.from_numpy(x), torch.from_numpy(edges)
    found = engine.embed(x), engine.edge_filter(x)(edges), engine.gnn(x, edges)
    for tensor in found:
        assert tensor.dtype == torch.float32
        assert tensor.device == CPU
    return [tensor.numpy() for tensor in found]


def of_host(engine, x, edges):
    return [engine.embed(x), engine.filter(x, edges), engine.gnn(x, edges)]


@pytest.mark.parametrize("hits, edges", [(1, 1), (2, 1), (50, 2), (50, 301)])
@pytest.mark.parametrize("name, host", [("torch-cuda", "eager"), ("onnxruntime-cuda", "onnxruntime")])
def test_answers_are_those_of_the_host(name, host, hits, edges, tiny_bundle, rng):
    opened = Bundle.open(tiny_bundle)
    x, edge_index = inputs(rng, edges, hits)
    found = answers(open_device_engine(name, opened, CPU), x, edge_index)
    for one, expected in zip(found, of_host(open_engine(host, opened, threads=1), x, edge_index), strict=True):
        assert one.shape == expected.shape
        np.testing.assert_allclose(one, expected, atol=2e-6, rtol=0)


def test_tables_agree():
    assert set(DEVICE_ENGINES) == set(DEVICE_PRECISIONS)
    rows = {name: row for name, row in backends.backends("engine").items() if row.gpu}
    assert set(rows) == set(DEVICE_ENGINES)
    assert set(backends.GPU_PROVIDERS) <= set(rows)


@pytest.mark.parametrize("name", ["torch-cuda", "onnxruntime-cuda"])
def test_filter_chunks_do_not_matter(name, tiny_bundle, rng):
    engine = open_device_engine(name, Bundle.open(tiny_bundle), CPU)
    x, edges = (torch.from_numpy(one) for one in inputs(rng, 1000))
    whole = engine.edge_filter(x)(edges)
    for chunk in (1, 130, 1000):
        engine._chunk = chunk
        np.testing.assert_allclose(engine.edge_filter(x)(edges).numpy(), whole.numpy(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["torch-cuda", "onnxruntime-cuda"])
def test_tensors_need_not_be_contiguous_and_stay_as_they_are(name, tiny_bundle, rng):
    engine = open_device_engine(name, Bundle.open(tiny_bundle), CPU)
    x, edges = inputs(rng, 40)
    given = torch.from_numpy(np.asfortranarray(x)), torch.from_numpy(np.ascontiguousarray(edges.T)).t()
    assert not any(tensor.is_contiguous() for tensor in given)
    kept = [tensor.clone() for tensor in given]
    found = engine.gnn(*given)
    np.testing.assert_array_equal(found.numpy(), answers(engine, x, edges)[2])
    assert all(torch.equal(one, other) for one, other in zip(given, kept, strict=True))


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16", "mixed", "gnn=bf16"])
def test_reduced_precisions_of_torch(precision, tiny_bundle, rng):
    opened = Bundle.open(tiny_bundle)
    x, edges = inputs(rng, 500)
    exact = answers(open_device_engine("torch-cuda", opened, CPU), x, edges)
    found = answers(open_device_engine("torch-cuda", opened, CPU, precision), x, edges)
    wanted = require_precision("torch-cuda", precision)
    for stage, one, expected in zip(("embedding", "filter", "gnn"), found, exact, strict=True):
        unit = {"fp32": 0.0, "tf32": 2.0**-11, "bf16": 2.0**-8, "fp16": 2.0**-11}[wanted[stage]]
        difference = np.abs(one - expected).max()
        assert difference <= 60 * unit
        assert (difference > 0) == (wanted[stage] in ("bf16", "fp16"))  # this CPU has no TF32


class TestTF32:
    """What torch does with float32 is as before after a call, and off in between unless asked for."""

    @pytest.fixture(autouse=True)
    def put_back(self):
        before = torch.get_float32_matmul_precision()
        yield
        torch.set_float32_matmul_precision(before)

    @pytest.mark.parametrize("before", ["highest", "high"])
    @pytest.mark.parametrize("precision, inside", [("fp32", "highest"), ("tf32", "high"), ("bf16", "highest")])
    def test_is_set_and_put_back(self, before, precision, inside):
        torch.set_float32_matmul_precision(before)
        with pytest.raises(KeyError), multiplying(precision, CPU):
            assert torch.get_float32_matmul_precision() == inside
            assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
            raise KeyError
        assert torch.get_float32_matmul_precision() == before

    def test_a_callers_autocast_ends_at_the_engine(self, tiny_bundle, rng):
        x, edges = inputs(rng, 30)
        engine = open_device_engine("torch-cuda", Bundle.open(tiny_bundle), CPU)
        expected = answers(engine, x, edges)
        with torch.autocast("cpu", torch.bfloat16):
            found = answers(engine, x, edges)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_piece_of_code_for_all_sizes(tiny_bundle, rng):
    """torch.compile is asked once a stage: not for 0 or 1, not for as many hits as edges, not for each size."""
    counter, opened = CompileCounter(), Bundle.open(tiny_bundle)
    torch._dynamo.reset()
    engine = torch_modules.open_compiled(opened, CPU, EXACT, backend=counter)
    plain = open_device_engine("torch-cuda", opened, CPU)
    for hits, edges in ((50, 300), (51, 300), (60, 7), (7, 60), (2, 2), (1, 1), (2, 1), (1, 5), (64, 64), (900, 11)):
        x, edge_index = inputs(rng, edges, hits)
        for one, other in zip(answers(engine, x, edge_index), answers(plain, x, edge_index), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6, rtol=0)
    assert counter.frame_count <= 2 * 3  # at most once more, for as many hits as edges
    torch._dynamo.reset()


class TestRefusals:
    def test_unknown_engine(self, tiny_bundle):
        with pytest.raises(SpecError, match=r"unknown engine 'tritn'\. Did you mean 'triton'\?"):
            open_device_engine("tritn", Bundle.open(tiny_bundle), CPU)
        with pytest.raises(SpecError, match=r"unknown engine 'tritn'\. Did you mean 'triton'\?.*tiled"):
            Pipeline.open(tiny_bundle, "tritn")

    @pytest.mark.parametrize("precision, message", [
        ("fp8", "unknown precision 'fp8'"), ("gnm=bf16", "unknown stage 'gnm'"), ("gnn=bf16,gnn=fp16", "stands there twice"),
    ])
    @pytest.mark.parametrize("name", DEVICE_ENGINES)
    def test_unknown_precision(self, name, precision, message, tiny_bundle):
        with pytest.raises(SpecError, match=message):
            open_device_engine(name, Bundle.open(tiny_bundle), CPU, precision)

    def test_a_precision_that_an_engine_has_not(self, monkeypatch):
        monkeypatch.setattr("trkx.runtime.cuda.engines.table.DEVICE_PRECISIONS", {"one": (EXACT,), "other": PRECISIONS})
        with pytest.raises(SpecError, match=r"engine 'one' runs in fp32, not in bf16; that is for: other\."):
            require_precision("one", "mixed")

    def test_a_stage_that_the_bundle_has_not(self):
        with pytest.raises(SpecError, match="no filter"):
            require_precision("triton", "filter=bf16", ("embedding", "gnn"))

    @pytest.mark.parametrize("name", ["neighbours", "labelling"])
    def test_triton_beside_an_engine_on_the_host(self, name, tiny_bundle):
        with pytest.raises(SpecError, match=rf"{name} 'triton' run on a GPU beside an engine there .*not with engine 'tiled'"):
            Pipeline.open(tiny_bundle, **{name: "triton"})

    def test_a_device_for_an_engine_on_the_host(self, tiny_bundle):
        with pytest.raises(SpecError, match=r"engine 'tiled' runs on the CPU; .* choose an engine on a GPU: triton"):
            Pipeline.open(tiny_bundle, device="cuda")
        assert Pipeline.open(tiny_bundle, device="cpu", threads=1).neighbours == "grid"

    def test_devices(self):
        assert device_of("cpu") == CPU
        with pytest.raises(SpecError, match="device 'gpu': expected cuda"):
            device_of("gpu")
        with pytest.raises(SpecError, match="device 'meta': engines run on NVIDIA GPUs"):
            device_of("meta")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="not checked: there is a GPU here")
    @pytest.mark.parametrize("name", DEVICE_ENGINES)
    def test_without_a_gpu(self, name, tiny_bundle):
        for opened in (lambda: Pipeline.open(tiny_bundle, name), lambda: open_engine(name, Bundle.open(tiny_bundle), 1)):
            with pytest.raises(MissingExtraError, match=r"device 'cuda': torch .* sees no NVIDIA GPU .*nvidia-smi"):
                opened()

    @pytest.mark.skipif(torch.cuda.is_available(), reason="not checked: there is a GPU here")
    def test_a_command_without_a_gpu_writes_nothing(self, tiny_bundle, tmp_path):
        events = "tests/data/pileup50"
        for words in (["run", str(tiny_bundle), events, "--out", str(tmp_path / "out")], ["evaluate", str(tiny_bundle), events]):
            command = [sys.executable, "-m", "trkx", *words, "--engine", "triton"]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 1
            assert "sees no NVIDIA GPU" in done.stderr
            assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_device_pipeline_is_opened(tiny_bundle):
    """With the defaults of a GPU; on a CPU the kernels need the interpreter, so that nothing is run here."""
    pipeline = Pipeline.open(tiny_bundle, "torch-cuda", device="cpu", threads=1)
    assert type(pipeline).__name__ == "DevicePipeline"
    assert (pipeline.neighbours, pipeline.labelling) == ("triton", "triton")
    assert Pipeline.open(tiny_bundle, "torch-cuda", "grid", "scipy", device="cpu", threads=1).labelling == "scipy"


def test_names_are_known_without_torch(tmp_path):
    script = """
import sys
sys.modules["torch"] = None
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.pipeline import Pipeline
assert "triton" in DEVICE_ENGINES
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path)


class TestOnnxRuntime:
    @pytest.fixture
    def opened(self, tiny_bundle):
        return Bundle.open(tiny_bundle)

    def test_outputs_are_bound_to_memory_of_torch(self, opened, rng, monkeypatch):
        """Sessions are run through bindings only: a plain run would copy."""
        engine = open_device_engine("onnxruntime-cuda", opened, CPU)
        bound = engine._sessions["gnn"]
        x, edges = (torch.from_numpy(one) for one in inputs(rng, 30))
        output = torch.full((30, 1), torch.nan)
        monkeypatch.setattr(type(bound.session), "run", None)
        place = output.data_ptr()
        bound({"x": x, "edge_index": edges}, output)
        assert output.data_ptr() == place
        assert output.isfinite().all()

    def test_wrong_doors_are_refused(self, opened):
        bound = open_device_engine("onnxruntime-cuda", opened, CPU)._sessions["gnn"]
        x, edges = torch.zeros(4, 3), torch.zeros(2, 5, dtype=torch.int64)
        with pytest.raises(BundleError, match=r"gnn\.onnx: expected the inputs x, found x, edge_index"):
            bound({"x": x}, torch.empty(5, 1))
        with pytest.raises(BundleError, match=r"gnn\.onnx: expected an output of \[rows, 4\]"):
            bound({"x": x, "edge_index": edges}, torch.empty(5, 4))

    @pytest.mark.parametrize("precision, missing, command", [
        ("fp32", "embedding in float32, filter in float32, gnn in float32", r"--target ort-cuda\."),
        ("tf32", "embedding in float32, filter in float32, gnn in float32", r"--target ort-cuda\."),
        ("filter=fp16,gnn=tf32", "embedding in float32, filter in float16, gnn in float32",
         "--target ort-cuda --precision filter=fp16"),
    ])
    def test_missing_files_are_named_with_the_command(self, precision, missing, command, opened):
        others = tuple(file for file in opened.manifest.files if file.target != "ort-cuda")
        opened = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, files=others))
        with pytest.raises(BundleError, match=f"{CUDA} needs ONNX files of target ort-cuda .* lacks: {missing}.*{command}"):
            ort_engine._files(opened, require_precision("onnxruntime-cuda", precision), CUDA)

    def test_half_files_of_a_cpu_that_are_missing(self, opened):
        with pytest.raises(BundleError, match=r"lacks: gnn in float16\. Export it again: export-models … --precision gnn=fp16\."):
            open_device_engine("onnxruntime-cuda", opened, CPU, "gnn=fp16")

    def test_a_provider_that_is_not_there(self):
        with pytest.raises(MissingExtraError, match=r"has no NoProvider, only .*CPUExecutionProvider.*trkx\[gpu\]"):
            ort_engine._require_provider("NoProvider")

    def test_an_edited_file_is_refused(self, opened, monkeypatch):
        monkeypatch.setattr(Bundle, "read", lambda *_: b"not a model")
        with pytest.raises(BundleError, match=r"embedding\.onnx: can't be loaded by CPUExecutionProvider"):
            open_device_engine("onnxruntime-cuda", opened, CPU)

    def test_tensorrt_and_tf32(self, opened):
        with pytest.raises(SpecError, match=r"TF32, unless NVIDIA_TF32_OVERRIDE=0 .*; embedding shall run in fp32"):
            ort_engine.require_no_tf32({"embedding": "fp32", "gnn": "bf16"}, None)
        ort_engine.require_no_tf32({"embedding": "fp32", "gnn": "bf16"}, "0")
        with pytest.raises(SpecError, match="gnn shall run in bf16, whose products in float32"):
            ort_engine.require_no_tf32({"embedding": "tf32", "gnn": "bf16"}, None)
        ort_engine.require_no_tf32({"embedding": "tf32", "gnn": "tf32"}, None)
        with pytest.raises(SpecError, match="runs on a GPU only"):
            open_device_engine("onnxruntime-tensorrt", opened, CPU)

    @pytest.mark.parametrize("edges", [1, 40, 300])
    def test_sessions_run_within_profiles(self, edges, opened, rng):
        """As the TensorRT provider gets events: padded to its smallest, refused beyond its largest."""
        sessions = open_device_engine("onnxruntime-cuda", opened, CPU)._sessions
        hits, counts = Extent(60, 60, 100), Extent(64, 64, 300)
        stages = (StageProfile("embedding", hits), StageProfile("filter", hits, counts), StageProfile("gnn", hits, counts))
        engine = TensorRTEngine(opened.spec, Profiles(stages, 1.0, ()), sessions, CPU)
        x, edge_index = inputs(rng, edges)
        expected = answers(open_device_engine("torch-cuda", opened, CPU), x, edge_index)
        for one, other in zip(answers(engine, x, edge_index), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-6, rtol=0)
        with pytest.raises(InputError, match="the event has 301 edges, the TensorRT profile holds 300"):
            engine.gnn(*(torch.from_numpy(given) for given in inputs(rng, 301)))

    def test_cuda_options(self):
        stream = type("Stream", (), {"cuda_stream": 77})()
        found = ort_engine.cuda_options(torch.device("cuda:1"), stream, False)
        assert (found["device_id"], found["user_compute_stream"], found["use_tf32"]) == ("1", "77", "0")
        assert ort_engine.cuda_options(torch.device("cuda:1"), stream, True)["use_tf32"] == "1"
        assert all(isinstance(value, str) for value in found.values())

    def test_profiles_are_not_left_behind(self, opened, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        open_device_engine("onnxruntime-cuda", opened, CPU)
        assert not list(tmp_path.iterdir())


    def test_nothing_is_computed_of_nothing(self, opened):
        engine = open_device_engine("onnxruntime-cuda", opened, CPU)
        none = torch.empty((2, 0), dtype=torch.int64)
        assert engine.embed(torch.empty(0, 3)).shape == (0, 4)
        assert len(engine.gnn(torch.rand(5, 3), none)) == 0
        assert len(engine.edge_filter(torch.rand(5, 3))(none)) == 0

    def test_an_edge_without_its_hit_is_our_error(self, opened):
        engine = open_device_engine("onnxruntime-cuda", opened, CPU)
        with pytest.raises(BundleError, match=r"gave up.*edges name hits"):
            engine.gnn(torch.rand(5, 3), torch.tensor([[0, 1], [2, 9]]))

    def test_strides_are_refused_where_an_address_is_bound(self, opened):
        session = open_device_engine("onnxruntime-cuda", opened, CPU)._sessions["embedding"]
        with pytest.raises(BundleError, match="'x' is not contiguous"):
            session({"x": torch.rand(40, 6)[:, ::2]}, torch.empty(40, 4))
        hits = Extent(1, 60, 100)
        counts = {"filter": Extent(1, 64, 300), "gnn": Extent(1, 64, 300)}
        stages = tuple(StageProfile(stage, hits, counts.get(stage)) for stage in opened.spec.stages)
        sessions = open_device_engine("onnxruntime-cuda", opened, CPU)._sessions
        engine, x = TensorRTEngine(opened.spec, Profiles(stages, 1.0, ()), sessions, CPU), torch.rand(40, 6)[:, ::2]
        assert torch.equal(engine.embed(x), engine.embed(x.contiguous()))

    @pytest.mark.parametrize(("key", "value"), [("pkg.trkx.precision", "float16"), ("pkg.trkx.target", "tensorrt")])
    def test_a_file_that_says_another_precision_or_target_is_refused(self, key, value, opened, monkeypatch):
        import onnx

        model = onnx.load_model_from_string(opened.read("gnn", "onnx"))
        held = {one.key: one.value for one in model.metadata_props} | {key: value}
        onnx.helper.set_model_props(model, held)
        read = type(opened).read

        def reading(self, stage, *rest):
            return model.SerializeToString() if (stage, rest[0]) == ("gnn", "onnx") else read(self, stage, *rest)

        monkeypatch.setattr(type(opened), "read", reading)
        for name in ("onnxruntime", "onnxruntime-cuda"):
            with pytest.raises(BundleError, match=f"found {value} in its metadata"):
                open_device_engine(name, opened, CPU) if name != "onnxruntime" else open_engine(name, opened, 1)


class TestPlacement:
    ROWS = (211, 307)

    def profile(self, tiny_bundle, stage="gnn"):
        """What ONNX Runtime really writes of a stage, on the CPU."""
        seen = []
        opened = Bundle.open(tiny_bundle)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ort_placement, "require_placement", lambda profile, *_: seen.append(profile))
            probe = probe_inputs(opened.spec, stage, *self.ROWS, CPU)
            opened_session(opened.read(stage, "onnx"), "gnn.onnx", [CPU_PROVIDER], CPU, None, (CPU_PROVIDER,), probe)
        return seen[0]

    @pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
    def test_all_on_the_provider(self, stage, tiny_bundle):
        profile = self.profile(tiny_bundle, stage)
        assert not misplaced(profile, (CPU_PROVIDER,), self.ROWS)
        require_placement(profile, "gnn.onnx", (CPU_PROVIDER,), self.ROWS)

    def test_one_operator_elsewhere_is_found(self, tiny_bundle):
        """A profile of a GPU, but for one operator that computes and one that handles shapes."""
        profile = self.profile(tiny_bundle)
        nodes = [event for event in profile if event.get("cat") == "Node" and "op_name" in event.get("args", {})]
        for event in nodes:
            event["args"]["provider"] = CUDA
        require_placement(profile, "gnn.onnx", (CUDA, CPU_PROVIDER), self.ROWS)
        products = [event for event in nodes if event["args"]["op_name"] in ("Gemm", "MatMul", "FusedMatMul")]
        products[0]["args"]["provider"] = CPU_PROVIDER
        for name, read in (("Shape", {"float": [211, 3]}), ("Concat", {"int64": [1]})):
            nodes.append({"cat": "Node", "name": name, "args": {
                "op_name": name, "provider": CPU_PROVIDER, "input_type_shape": [read], "output_type_shape": [{"int64": [2]}]}})
        operator = products[0]["args"]["op_name"]
        assert misplaced(nodes, (CUDA,), self.ROWS) == {f"{operator} on {CPU_PROVIDER}": 1}
        with pytest.raises(BundleError, match=rf"gnn\.onnx: 1 operators would copy .*1 {operator} on CPUExecutionProvider"):
            require_placement(nodes, "gnn.onnx", (CUDA,), self.ROWS)

    def test_a_silent_fall_back_is_found(self, tiny_bundle):
        with pytest.raises(BundleError, match="not one operator ran on CUDAExecutionProvider"):
            require_placement(self.profile(tiny_bundle), "gnn.onnx", (CUDA,), self.ROWS)

    @pytest.mark.parametrize("profile", [[], [{"cat": "Session", "name": "x"}], json.loads('[{"cat": "Node", "args": {}}]')])
    def test_a_profile_that_says_nothing(self, profile):
        with pytest.raises(BundleError, match="names no operator"):
            require_placement(profile, "gnn.onnx", (CUDA,), self.ROWS)


class TestRows:
    """Rows of backends that need a GPU, and how `trkx doctor` sees one."""

    ROW = backends.Backend("engine", "made up", (backends.Need("numpy", ("numpy",)),), "", "nothing", gpu=True)

    def test_none_here(self, monkeypatch):
        monkeypatch.setattr(backends, "GPU_PLACES", ("/no/such/place/nvidia[0-9]*",))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        found = backends.probe(self.ROW)
        assert (found.available, found.how) == (False, "needs an NVIDIA GPU")
        assert found.why_not == "no NVIDIA driver was found here"
        assert backends.probe(self.ROW, gpu=False).available

    def test_one_here(self, monkeypatch, tmp_path):
        (tmp_path / "nvidia0").write_text("")
        monkeypatch.setattr(backends, "GPU_PLACES", ("/no/such/place", f"{tmp_path}/nvidia[0-9]*"))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert backends.probe(self.ROW).available
        for hidden in ("", "-1"):
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
            assert "which hides all" in backends.probe(self.ROW).why_not
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        assert backends.probe(self.ROW).available

    @pytest.mark.parametrize("load", [False, True])
    def test_a_torch_for_cpus_is_said_beside_the_driver(self, load, monkeypatch):
        monkeypatch.setattr(backends, "GPU_PLACES", ("/no/such/place",))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(backends, "_version", lambda need: f"{need.module} 2.13.0+cpu")
        found = backends.probe(backends.backend("engine", "torch-cuda"), load=load)
        assert found.why_not == "no NVIDIA driver was found here; torch 2.13.0+cpu is for CPUs"
        with pytest.raises(MissingExtraError, match=r"'torch-cuda' needs an NVIDIA GPU: no .* for CPUs\. Install: pip"):
            backends.require("engine", "torch-cuda")

    @pytest.mark.skipif(torch.cuda.is_available(), reason="not checked: there is a GPU here")
    def test_loading_asks_torch(self, monkeypatch, tmp_path):
        monkeypatch.setattr(backends, "GPU_PLACES", (str(tmp_path),))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert "torch can use" in backends.probe(self.ROW, load=True).why_not

    @pytest.mark.parametrize(("name", "versions", "why", "how"), [
        ("triton", {"torch": "2.13.0+cpu"}, "torch 2.13.0+cpu is for CPUs", "install it for CUDA"),
        ("triton", {"torch": "2.13.0+cu130"}, "", ""),
        ("onnxruntime-cuda", {"torch": "2.13.0", "onnxruntime": "1.31.0"}, "onnxruntime 1.31.0 is for CPUs", "trkx[gpu]"),
        ("onnxruntime-cuda", {"torch": "2.13.0", "onnxruntime-gpu": "1.31.0"}, "", ""),
    ])
    def test_builds_for_cpus_are_seen_without_loading(self, name, versions, why, how, monkeypatch, tmp_path):
        monkeypatch.setattr(backends, "GPU_PLACES", (str(tmp_path),))
        monkeypatch.setattr(backends, "_is_there", lambda module: True)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

        def version(distribution):
            if distribution not in versions:
                raise backends.importlib.metadata.PackageNotFoundError(distribution)
            return versions[distribution]

        monkeypatch.setattr(backends.importlib.metadata, "version", version)
        found = backends.probe(backends.backend("engine", name))
        assert (found.why_not, found.available) == (why, not why)
        assert how in found.how

    def test_loading_asks_onnxruntime(self, monkeypatch, tmp_path):
        monkeypatch.setattr(backends, "GPU_PLACES", (str(tmp_path),))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(backends, "_version", lambda need: f"{need.module} 1.0")
        monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
        row = backends.backend("engine", "onnxruntime-cuda")
        assert "onnxruntime has no CUDAExecutionProvider" in backends.probe(row, load=True).why_not
        monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA])
        assert backends.probe(row, load=True).available

    def test_the_message_does_not_advise_to_install_a_gpu(self, monkeypatch):
        monkeypatch.setattr(backends, "GPU_PLACES", ())
        monkeypatch.setattr(backends, "BACKENDS", (self.ROW,))
        with pytest.raises(MissingExtraError, match=r"^engine 'made up' needs an NVIDIA GPU: no NVIDIA driver was found here\.$"):
            backends.require("engine", "made up")
        assert backends.require("engine", "made up", gpu=False) is self.ROW
