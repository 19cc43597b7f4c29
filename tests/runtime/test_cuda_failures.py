"""What fails on a GPU, by doubles: errors that say what to do, memory that is let go, pipelines that go on."""

import contextlib
import gc
import subprocess
import types
import weakref
from dataclasses import replace

import numpy as np
import pytest
from support.small_events import small_events
from support.tiny import tiny_spec

torch = pytest.importorskip("torch", reason="not checked: needs torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")

from trkx.bundle import Bundle  # noqa: E402
from trkx.errors import BundleError, InputError, MissingExtraError, SpecError, TrkxError  # noqa: E402
from trkx.runtime.cuda import failures  # noqa: E402
from trkx.runtime.cuda.engines import table  # noqa: E402
from trkx.runtime.cuda.failures import FAILURES, OUT_OF_MEMORY, explained, kind_of  # noqa: E402
from trkx.runtime.cuda.on_host import OnHost, tensor_on  # noqa: E402
from trkx.runtime.cuda.path import DevicePipeline  # noqa: E402
from trkx.spec import CutSpec, GraphSpec  # noqa: E402

CPU = torch.device("cpu")
SPEC = tiny_spec(graph=GraphSpec(radius=0.05), cuts=CutSpec(filter=0.3, gnn=0.6))
NO_MEMORY = "CUDA out of memory. Tried to allocate 4.00 GiB. GPU 0 has a total capacity of 79.2 GiB"


class Failing:
    """An engine that fails in a stage while `error` is set, with a tensor of the event in its hands."""

    device = CPU

    def __init__(self, stage, error):
        self.stage, self.error, self.held = stage, error, []

    def _maybe(self, stage, x):
        activations = x.repeat(3, 1)
        self.held.append(weakref.ref(activations))
        if stage == self.stage and self.error is not None:
            raise self.error
        return activations[: len(x)]

    def embed(self, x):
        return self._maybe("embedding", x)

    def edge_filter(self, x):
        return lambda edge_index: self._logits("filter", x, edge_index)

    def gnn(self, x, edge_index, edge_attr=None):
        return self._logits("gnn", x, edge_index)

    def _logits(self, stage, x, edge_index):
        self._maybe(stage, x)
        return 4.0 - 40.0 * (x[edge_index[0]] - x[edge_index[1]]).norm(dim=1)


def pipeline(engine, **changes):
    return DevicePipeline(replace(SPEC, **changes), engine, "grid", "union_find", threads=1)


@pytest.fixture(scope="module")
def event():
    return small_events(1)[0]


@pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
def test_a_lack_of_memory_names_event_and_stage_and_others_can_follow(stage, event):
    engine = Failing(stage, torch.cuda.OutOfMemoryError(NO_MEMORY + "\nand a page of advice"))
    made = pipeline(engine)
    message = rf"^event 1 \(slices/1\) of 200 hits, stage {stage}: out of memory \(cpu; CUDA out of .*nvidia-smi .*'triton'"
    with pytest.raises(TrkxError, match=message) as caught:
        made.run(event)
    assert "page of advice" not in str(caught.value)
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)  # for trkx --debug
    gc.collect()
    assert engine.held and not [one for one in engine.held if one() is not None]  # while the error is still in somebody's hands
    engine.error = None
    expected = pipeline(Failing("", None)).run(event)
    np.testing.assert_array_equal(made.run(event).label, expected.label)
    assert len(expected.stages) == 6


def test_nothing_of_an_event_is_held_after_it(event):
    """Not even until Python looks for cycles: memory on a GPU would be full before."""
    engine = Failing("", None)
    made = pipeline(engine)
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            made.run(event, keep_graphs=True)
        assert engine.held and not [one for one in engine.held if one() is not None]
    finally:
        gc.enable()


def test_memory_goes_back_to_the_device(event, monkeypatch):
    given_back = []
    monkeypatch.setattr(failures, "give_back", given_back.append)
    for error in (torch.cuda.OutOfMemoryError(NO_MEMORY), RuntimeError("CUDA error: unspecified launch failure")):
        with pytest.raises(TrkxError):
            pipeline(Failing("gnn", error)).run(event)
    assert given_back == [CPU]


def test_giving_back_survives_a_lost_device(monkeypatch):
    calls = []

    def lost():
        calls.append(1)
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "empty_cache", lost)
    failures.give_back(CPU)
    assert not calls
    failures.give_back(torch.device("cuda:0"))
    assert calls


@pytest.mark.parametrize("error, kind, message", [
    (torch.cuda.OutOfMemoryError(NO_MEMORY), TrkxError, "out of memory"),
    (RuntimeError("CUDA error: out of memory"), TrkxError, "out of memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), TrkxError, "out of memory"),
    (RuntimeError("Triton Error [CUDA]: out of memory"), TrkxError, "out of memory"),
    (MemoryError("Unable to allocate 93.1 GiB for an array"), TrkxError, "this machine, not the GPU, has no memory"),
    (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."), TrkxError, "renew the driver"),
    (RuntimeError("CUDA error: no kernel image is available for execution on the device"), TrkxError, "do not fit together"),
    (RuntimeError("Triton Error [CUDA]: the provided PTX was compiled with an unsupported toolchain."), TrkxError, "renew the"),
    (RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"), TrkxError, "the GPU is taken"),
    (RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use"), TrkxError, "'spawn'"),
    (RuntimeError("Failed to find C compiler. Please specify via CC environment variable"), MissingExtraError, "Install gcc"),
    (RuntimeError("InvalidCxxCompiler: No working C++ compiler found in torch._inductor"), MissingExtraError, r"g\+\+"),
    (RuntimeError("CUDA error: " + 5000 * "x"), TrkxError, "xxx…"),
    (AssertionError("libcuda.so cannot found!\n"), MissingExtraError, "--gpus all"),
    (subprocess.CalledProcessError(1, ["gcc", "main.c"]), MissingExtraError, "python3-dev"),
    (RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors"), TrkxError, "can use it no more"),
    (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), TrkxError, "start again .*Xid"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), TrkxError, "can use it no more"),
])
def test_what_is_said_of_failures(error, kind, message):
    with pytest.raises(TrkxError, match=rf"^engine 'triton': .*{message}") as caught, explained(CPU, lambda: "engine 'triton'"):
        raise error
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 900


def test_errors_of_triton_and_torch_by_their_classes():
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources, PTXASError

    for error in (OutOfResources(180000, 101376, "shared memory"), PTXASError("ptxas fatal"), CompilationError("x", None, "no")):
        assert "torch-cuda" in kind_of(error).advice
    if hasattr(torch, "AcceleratorError"):
        assert kind_of(torch.AcceleratorError("device-side assert triggered")) is FAILURES[-1]


def test_the_first_cause_counts():
    """Recording a CUDA graph ends with an error of its own when memory is short inside."""
    try:
        try:
            raise torch.cuda.OutOfMemoryError(NO_MEMORY)
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
    except RuntimeError as error:
        assert kind_of(error) is OUT_OF_MEMORY


@pytest.mark.parametrize("error", [
    ValueError("x must be float32"), RuntimeError("The size of tensor a (3) must match"), InputError("x"), KeyError("gnn"),
    BundleError("the engine ran out of memory"), KeyboardInterrupt(),
])
def test_other_errors_pass_as_they_are(error, event):
    with pytest.raises(type(error)) as caught:
        pipeline(Failing("filter", error)).run(event)
    assert caught.value is error


def test_networks_one_by_one_too():
    x, edges = np.zeros((4, 3), np.float32), np.zeros((2, 5), np.int64)
    calls = {"embedding": lambda e: e.embed(x), "filter": lambda e: e.filter(x, edges), "gnn": lambda e: e.gnn(x, edges)}
    for stage, call in calls.items():
        engine = OnHost(Failing(stage, torch.cuda.OutOfMemoryError(NO_MEMORY)))
        with pytest.raises(TrkxError, match=f"^stage {stage}: out of memory"):
            call(engine)
        assert engine.lock.acquire(blocking=False)  # nobody is kept waiting
        engine.lock.release()


def test_an_engine_that_does_not_fit(tiny_bundle, monkeypatch):
    def opener(bundle, device, precision):
        raise torch.cuda.OutOfMemoryError(NO_MEMORY)

    monkeypatch.setattr("trkx.runtime.cuda.engines.torch_modules.open_engine", opener)
    with pytest.raises(TrkxError, match=r"^engine 'torch-cuda': out of memory"):
        table.open_device_engine("torch-cuda", Bundle.open(tiny_bundle), CPU)


class TestDevices:
    """A torch for GPUs, by doubles of what it says of them."""

    @pytest.fixture(autouse=True)
    def torch_for_gpus(self, monkeypatch):
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def test_the_current_one_and_others(self):
        assert table.device_of("cuda") == torch.device("cuda", 1)
        assert table.device_of("cuda:0") == torch.device("cuda", 0)
        assert table.numbered(torch.device("cuda")) == torch.device("cuda", 1)
        assert table.numbered(CPU) is CPU

    def test_one_that_is_not_there(self, monkeypatch):
        with pytest.raises(SpecError, match=r"device 'cuda:2': torch sees 2 GPU\(s\), counted from cuda:0\.$"):
            table.device_of("cuda:2")
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
        with pytest.raises(SpecError, match=r"cuda:0 of those that CUDA_VISIBLE_DEVICES leaves \('3,4'\)"):
            table.device_of("cuda:2")

    def test_a_driver_that_is_too_old(self, monkeypatch):
        def available():
            import warnings

            warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).", stacklevel=1)
            return False

        monkeypatch.setattr(torch.cuda, "is_available", available)
        with pytest.raises(MissingExtraError, match=r"driver on your system is too old \(found version 11040\)\. nvidia-smi"):
            table.device_of("cuda")

    def test_none_is_left(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with pytest.raises(MissingExtraError, match=r"none of those that CUDA_VISIBLE_DEVICES leaves \(''\), or its driver"):
            table.device_of("cuda")

    def test_one_that_is_taken(self, monkeypatch):
        def busy():
            raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")

        monkeypatch.setattr(torch.cuda, "current_device", busy)
        with pytest.raises(TrkxError, match=r"^device 'cuda': the GPU is taken"):
            table.device_of("cuda")

    def test_a_radeon(self, monkeypatch):
        monkeypatch.setattr(torch.version, "cuda", None)
        with pytest.raises(SpecError, match="engines run on NVIDIA GPUs"):
            table.device_of("cuda")


@pytest.mark.filterwarnings("error")
def test_arrays_that_may_only_be_read(event):
    array = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    for made in (array, array[::-1], array[:, ::2], np.asfortranarray(array), array.astype(">f4").astype(np.float32)):
        made.flags.writeable = False
        np.testing.assert_array_equal(tensor_on(CPU, made).numpy(), made)
    position = event.position.copy()
    position.flags.writeable = False
    expected = pipeline(Failing("", None)).run(event)
    np.testing.assert_array_equal(pipeline(Failing("", None)).run(replace(event, position=position)).label, expected.label)


class Session:
    """ONNX Runtime's, as far as `BoundSession` asks it; raises the errors it was given, one a call."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def get_inputs(self):
        return [types.SimpleNamespace(name="x", shape=["num_hits", 3])]

    def get_outputs(self):
        return [types.SimpleNamespace(name="output", shape=["num_hits", 2])]

    def io_binding(self):
        return types.SimpleNamespace(bind_input=lambda *_: None, bind_output=lambda *_: None)

    def run_with_iobinding(self, binding, options):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


class TestOnnxRuntime:
    no_memory = RuntimeError("Non-zero status code: Failed to allocate memory for requested buffer of size 4294967296")

    @pytest.fixture(autouse=True)
    def imports(self):
        pytest.importorskip("onnxruntime", reason="not checked: needs onnxruntime")

    def bound(self, session, stream=None):
        from trkx.runtime.cuda.engines.ort_session import BoundSession

        made = BoundSession(session, CPU, None, "gnn.onnx")
        made._stream = stream
        return lambda: made({"x": torch.zeros(4, 3)}, torch.empty(4, 2))

    def test_memory_that_torch_keeps_is_given_back_and_it_is_tried_again(self, monkeypatch):
        given_back = []
        monkeypatch.setattr("trkx.runtime.cuda.engines.ort_session.give_back", given_back.append)
        session = Session(self.no_memory)
        self.bound(session)()
        assert (session.calls, given_back) == (2, [CPU])
        session = Session(self.no_memory, self.no_memory)
        with pytest.raises(TrkxError, match=r"^gnn\.onnx: out of memory .*nvidia-smi"):
            self.bound(session)()
        assert session.calls == 2

    def test_other_errors_are_not_tried_again(self):
        session = Session(RuntimeError("indices element out of data bounds\nmore"))
        with pytest.raises(BundleError, match=r"^gnn\.onnx: ONNX Runtime gave up \(indices element out of data bounds\)"):
            self.bound(session)()
        assert session.calls == 1
        with pytest.raises(TrkxError, match="can use it no more"):
            self.bound(Session(RuntimeError("CUDA error: unspecified launch failure")))()

    @pytest.mark.parametrize("errors", [(), (ValueError("x"),)])
    def test_the_streams_wait_for_each_other_also_after_an_error(self, errors, monkeypatch):
        order = []
        now, own = (types.SimpleNamespace(wait_stream=lambda other, name=name: order.append(name)) for name in ("torch", "own"))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: now)
        with pytest.raises(BundleError) if errors else contextlib.nullcontext():
            self.bound(Session(*errors), own)()
        assert order == ["own", "torch"]

    def test_a_provider_whose_libraries_are_missing(self, monkeypatch, tiny_bundle):
        """ONNX Runtime goes on without it and says so in no error."""
        from trkx.runtime.cuda.engines import ort_placement

        session = types.SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
        monkeypatch.setattr(ort_placement.ort, "InferenceSession", lambda *_, **__: session)
        cuda = "CUDAExecutionProvider"
        with pytest.raises(MissingExtraError, match=rf"gnn\.onnx: ONNX Runtime could not load its {cuda}, .* only CPUExecution"):
            ort_placement.opened_session(b"", "gnn.onnx", [cuda], CPU, None, (cuda,), {"x": torch.zeros(2, 3)})


def test_an_engine_is_opened_with_its_device_the_current_one(tiny_bundle, monkeypatch):
    """And it is as before afterwards: libraries leave theirs behind."""
    inside = []

    @contextlib.contextmanager
    def current(device):
        inside.append(str(device))
        yield
        inside.append("left")

    def opener(bundle, device, precision):
        assert inside == ["cuda:1"]
        return device

    monkeypatch.setattr("trkx.runtime.cuda.on_host.current", current)
    monkeypatch.setattr("trkx.runtime.cuda.engines.torch_modules.open_engine", opener)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert table.open_device_engine("torch-cuda", Bundle.open(tiny_bundle), torch.device("cuda")) == torch.device("cuda", 1)
    assert inside == ["cuda:1", "left"]
