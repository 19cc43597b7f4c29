"""Building, caching and running engines, with a recorded stand-in for the package tensorrt."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from trkx.errors import BundleError, MissingExtraError, SpecError
from trkx.runtime.cuda.engines import tensorrt as engine_module
from trkx.runtime.cuda.tensorrt import build as building
from trkx.runtime.cuda.tensorrt.cache import cached_engine, default_cache, load, store
from trkx.runtime.cuda.tensorrt.executor import TensorRTExecutor
from trkx.runtime.cuda.tensorrt.sidecar import Identity, Sidecar, identity_of, sidecar_of

SHAPES = {"x": ((16, 3), (100, 3), (1024, 3)), "edge_index": ((2, 16), (2, 300), (2, 4096))}
KNOWN_CALLS: dict[str, Callable[..., Any]] = {}


def identity(**changes: Any) -> Identity:
    return replace(identity_of("gnn", b"onnx", "fp32", SHAPES, "10.13.0", "NVIDIA H200", "9.0"), **changes)


def test_a_sidecar_reads_back() -> None:
    sidecar = sidecar_of(identity(), b"engine", "0.53.6", "0.1")
    assert Sidecar.from_json(sidecar.to_json(), "here") == sidecar
    values = json.loads(sidecar.to_json())
    assert values["identity"]["compute_capability"] == "9.0"
    assert values["identity"]["profile"][1] == {"name": "edge_index", "min": [2, 16], "opt": [2, 300], "max": [2, 4096]}
    for wrong in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000,
                  sidecar.to_json().replace(b'"engine"', b'"motor"'), sidecar.to_json()[:-5],
                  sidecar.to_json().replace(b'"schema": 1', b'"schema": 2')):
        with pytest.raises(BundleError, match="here: no sidecar of an engine"):
            Sidecar.from_json(wrong, "here")


CHANGES: list[dict[str, Any]] = [
    {"stage": "filter"}, {"onnx": "0" * 64}, {"precision": "tf32"}, {"tensorrt": "10.14.0"}, {"gpu": "NVIDIA H100"},
    {"compute_capability": "8.0"}, {"profile": identity_of("gnn", b"", "fp32", {"x": ((1, 3),) * 3}, "", "", "").profile},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_another_identity_is_another_engine(change: dict[str, Any], tmp_path: Path) -> None:
    built = [sidecar_of(identity(), b"one", "", ""), sidecar_of(identity(**change), b"two", "", "")]
    assert built[0].identity.key != built[1].identity.key
    for sidecar, data in zip(built, (b"one", b"two"), strict=True):
        assert cached_engine(tmp_path, sidecar.identity, lambda data=data, sidecar=sidecar: (data, sidecar)) == data
    assert [load(tmp_path, sidecar.identity) for sidecar in built] == [b"one", b"two"]
    # even under the same name: what the sidecar says decides
    for suffix in (".engine", ".json"):
        source = (tmp_path / f"{built[1].identity.key}.engine").with_suffix(suffix)
        source.replace((tmp_path / f"{built[0].identity.key}.engine").with_suffix(suffix))
    assert load(tmp_path, built[0].identity) is None


def _brackets(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _edit(path: Path) -> None:
    path.write_bytes(b"X" + path.read_bytes()[1:])


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("spoil", [_truncate, _edit, _brackets, Path.unlink], ids=["truncated", "edited", "brackets", "gone"])
def test_a_spoiled_entry_is_built_again(suffix: str, spoil: Callable[[Path], None], tmp_path: Path) -> None:
    sidecar = sidecar_of(identity(), b"engine", "", "")
    builds = []

    def build() -> tuple[bytes, Sidecar]:
        builds.append(1)
        return b"engine", sidecar

    assert cached_engine(tmp_path / "new", sidecar.identity, build) == b"engine"
    assert cached_engine(tmp_path / "new", sidecar.identity, build) == b"engine"
    assert len(builds) == 1
    spoil((tmp_path / "new" / f"{sidecar.identity.key}.engine").with_suffix(suffix))
    assert load(tmp_path / "new", sidecar.identity) is None
    assert cached_engine(tmp_path / "new", sidecar.identity, build) == b"engine"
    assert len(builds) == 2
    assert len(list((tmp_path / "new").iterdir())) == 2  # no temporary file is left


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="engines can't be kept there"):
        store(tmp_path / "file", b"engine", sidecar_of(identity(), b"engine", "", ""))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "trkx" / "tensorrt"


class Recorded:
    """Polygraphy's loaders as far as they are used; what they are called with is kept. Nothing of TensorRT is behind them."""

    def __init__(self) -> None:
        self.profile: dict[str, Any] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.problem = ""

    def loaders(self) -> SimpleNamespace:
        recorded = self

        class Profile:
            def add(self, name: str, min: Any, opt: Any, max: Any) -> Profile:
                recorded.profile[name] = (min, opt, max)
                return self

        def loader(name: str) -> Callable[..., Callable[[], Any]]:
            def make(*args: Any, **named: Any) -> Callable[[], Any]:
                recorded.calls.append((name, {**dict(enumerate(args)), **named}))

                def run() -> Any:
                    if recorded.problem:
                        raise RuntimeError(recorded.problem)
                    return bytearray(b"engine") if name == "EngineBytesFromNetwork" else "loaded"

                return run

            return make

        names = ("NetworkFromOnnxBytes", "CreateConfig", "EngineBytesFromNetwork", "EngineFromBytes")
        return SimpleNamespace(Profile=Profile, **{name: loader(name) for name in names})


def fake(monkeypatch: pytest.MonkeyPatch, version: str = "11.4.0") -> Recorded:
    recorded = Recorded()
    for name, module in {
        "tensorrt": SimpleNamespace(__version__=version), "polygraphy": SimpleNamespace(__version__="0.53.6"),
        "polygraphy.backend": ModuleType("polygraphy.backend"), "polygraphy.backend.trt": recorded.loaders(),
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    return recorded


@pytest.mark.parametrize("tf32", [False, True])
def test_an_engine_is_built_strongly_typed_with_one_profile(tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = fake(monkeypatch)
    found = building.tools()
    assert found.versions == ("11.4.0", "0.53.6")
    assert building.built(found, b"onnx", SHAPES, tf32, "here") == b"engine"
    calls = dict(recorded.calls)
    assert recorded.profile == SHAPES
    assert calls["NetworkFromOnnxBytes"] == {0: b"onnx", "strongly_typed": True}
    assert calls["CreateConfig"]["tf32"] is tf32
    assert set(calls["CreateConfig"]) == {"tf32", "profiles"}  # no fp16, no bf16: TensorRT 11 has no such flags
    assert building.loaded(found, b"engine", "here") == "loaded"
    recorded.problem = "In node 3 (importTopK): UNSUPPORTED_NODE\nand more"
    with pytest.raises(BundleError, match=r"here: can't be built into a TensorRT engine \(In node 3 .*UNSUPPORTED_NODE\)"):
        building.built(found, b"onnx", SHAPES, tf32, "here")


def test_what_is_called_is_what_polygraphy_has() -> None:
    trt = pytest.importorskip("polygraphy.backend.trt", reason="not checked: polygraphy is not installed")
    inspect.signature(trt.NetworkFromOnnxBytes.__init__).bind(None, b"", strongly_typed=True)
    inspect.signature(trt.CreateConfig.__init__).bind(None, tf32=True, profiles=[])
    inspect.signature(trt.EngineBytesFromNetwork.__init__).bind(None, None, config=None)
    inspect.signature(trt.EngineFromBytes.__init__).bind(None, b"")
    profile = trt.Profile().add("x", min=(1, 3), opt=(2, 3), max=(3, 3))
    assert tuple(profile["x"]) == ((1, 3), (2, 3), (3, 3))


def test_missing_and_old_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "9.3.0")
    with pytest.raises(MissingExtraError, match=r"TensorRT 9\.3\.0 is too old"):
        building.tools()
    for name in ("polygraphy", "tensorrt"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=rf"needs the package {name} .*trkx\[tensorrt\]"):
            building.tools()


class Context:
    """A tensorrt.IExecutionContext that keeps what it is told."""

    def __init__(self) -> None:
        self.shapes: dict[str, Any] = {}
        self.addresses: dict[str, int] = {}
        self.stream, self.refuses = 0, ""

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return self.refuses != "shape"

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return self.refuses != "address"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.shapes["edge_index"][1], 1) if self.refuses != "output" else (1, 1)

    def execute_async_v3(self, stream: int) -> bool:
        self.stream = stream
        return self.refuses != "event"


class Engine:
    """A tensorrt.ICudaEngine with these doors."""

    def __init__(self, doors: dict[str, str], context: Context | None) -> None:
        self.doors, self.context = doors, context
        self.num_io_tensors = len(doors)

    def get_tensor_name(self, place: int) -> str:
        return list(self.doors)[place]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=self.doors[name])

    def create_execution_context(self) -> Context | None:
        return self.context


DOORS = {"x": "FLOAT", "edge_index": "INT64", "output": "FLOAT"}


def executor(monkeypatch: pytest.MonkeyPatch, context: Context | None, doors: dict[str, str] = DOORS) -> TensorRTExecutor:
    waited: list[Any] = []
    stream = SimpleNamespace(cuda_stream=77, wait_event=waited.append)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda stream: None))
    return TensorRTExecutor(Engine(doors, context), SHAPES, torch.device("cpu"), "here")


def test_an_engine_runs_on_the_tensors_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    run = executor(monkeypatch, context)
    inputs = {"x": torch.zeros((20, 3)), "edge_index": torch.zeros((2, 30), dtype=torch.int64)}
    output = torch.empty((30, 1))
    run(inputs, output)
    run(inputs, output)
    assert context.shapes == {"x": (20, 3), "edge_index": (2, 30)}
    assert context.addresses == {name: value.data_ptr() for name, value in {**inputs, "output": output}.items()}
    assert context.stream == 77
    for refuses, message in (("shape", "shape of x"), ("address", "address of x"), ("event", "event"), ("output", "writes")):
        context.refuses = refuses
        with pytest.raises(BundleError, match=message):
            run(inputs, output)
    context.refuses = ""
    for changed in ({"x": inputs["x"].to(torch.float16)}, {"edge_index": inputs["edge_index"].to(torch.int32)},
                    {"x": torch.zeros((3, 20)).T}, {"x": torch.zeros((20, 3), device="meta")}):
        with pytest.raises(BundleError, match=rf"{next(iter(changed))} must be contiguous torch\..* on cpu"):
            run({**inputs, **changed}, output)
    with pytest.raises(BundleError, match=r"output must be contiguous torch\.float32"):
        run(inputs, output.to(torch.float16))


@pytest.mark.parametrize(
    "doors",
    [{**DOORS, "output": "HALF"}, {**DOORS, "edge_index": "INT32"}, {"x": "FLOAT", "output": "FLOAT"}, {**DOORS, "y": "FLOAT"}],
)
def test_an_engine_with_other_doors_is_refused(doors: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BundleError, match="the engine has the doors"):
        executor(monkeypatch, Context(), doors)
    with pytest.raises(BundleError, match="no memory"):
        executor(monkeypatch, None)


def test_the_engine_opens_only_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch)
    bundle = SimpleNamespace(spec=SimpleNamespace(stages=("embedding", "filter", "gnn")))
    monkeypatch.setattr(engine_module, "profiles_of", lambda bundle: None)
    monkeypatch.setattr(engine_module, "model_file", lambda bundle, stage, precision: b"")
    with pytest.raises(SpecError, match="runs on a CUDA device, found 'cpu'"):
        engine_module.open_engine(bundle, torch.device("cpu"), "fp32")
