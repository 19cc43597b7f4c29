"""The floors: a module imports only from its own floor and from those below, and heavy packages only where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {"trkx": 0, "trkx.models": 1, "trkx.runtime": 2, "trkx.export": 3}
FOLDERS = {"src/trkx": "trkx", "models": "trkx.models", "runtime": "trkx.runtime", "export": "trkx.export"}
MODELS = {"torch", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "onnxsim", "triton"}
HEAVY = MODELS | {"acts", "pythia8mc", "matplotlib", "mplhep"}
ALLOWED = {  # floor 0 has no entry: the standard library, numpy, and for the command line typer and rich
    1: {"torch"},
    2: {"onnxruntime", "acts", "pythia8mc", "matplotlib", "mplhep"},
    3: MODELS,
}
# module: what it may import beyond its floor, and why
EXCEPTIONS: dict[str, set[str]] = {
    "trkx.models.reference.samples": {"pyarrow"},  # reads the events that `trkx simulate` wrote; it may not call the runtime
    "trkx.runtime.describe": {"onnx", "torch"},  # says what a file is, with the package that reads it, if it is there
    "trkx.export.validation.plots": {"matplotlib"},  # pictures of the report
    "trkx.runtime.bench.adapters.autocast": {"torch"},  # peers of benchmarks
    "trkx.runtime.bench.adapters.tree_search": {"torch"},
    "trkx.runtime.bench.torch_peers": {"torch"},
    "trkx.runtime.bench.torch_plain": {"trkx.models", "torch"},
    "trkx.runtime.cuda.engines.fused": {"trkx.models"},  # runs as torch modules what has no kernels
    "trkx.runtime.engines.eager": {"trkx.models", "torch"},  # runs the networks as torch modules
    "trkx.runtime.engines.torch_cpu": {"torch"},
    "trkx.runtime.engines.torchscript": {"torch"},
}
# on a GPU: kernels, and what calls them
ON_A_GPU = ("trkx.runtime.cuda.", "trkx.runtime.bench.device_")
# programs: no module imports them
PROGRAMS = ("trkx.models.reference.",)


def modules() -> dict[str, Path]:
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and full name of every import, those inside functions and those for type checking included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def floor(name: str) -> int:
    return max((number for package, number in FLOORS.items() if f"{name}.".startswith(f"{package}.")), default=-1)


def violations(module: str, source: str) -> list[str]:
    extra = EXCEPTIONS.get(module, set()) | ({"torch", "triton", "tensorrt"} if module.startswith(ON_A_GPU) else set())
    bad = []
    for line, name in imports(source):
        top = name.split(".")[0]
        if any(f"{name}.".startswith(f"{allowed}.") for allowed in extra):
            continue
        if name.startswith(".") or top in ("models", "runtime", "export", "src"):
            bad.append(f"{module}:{line} imports {name}: write the full name, trkx.…")
        elif any(f"{name}.".startswith(program) for program in PROGRAMS) and not module.startswith(PROGRAMS):
            bad.append(f"{module}:{line} imports {name}, a program that nothing may import")
        elif floor(name) > floor(module):
            bad.append(f"{module}:{line} on floor {floor(module)} imports {name} from floor {floor(name)}")
        elif floor(name) == 1 and floor(module) == 2:
            bad.append(f"{module}:{line} imports {name}: only the eager engine uses the networks")
        elif top in HEAVY and top not in ALLOWED.get(floor(module), set()):
            bad.append(f"{module}:{line} on floor {floor(module)} imports {top}")
    return bad


@pytest.mark.parametrize("module", MODULES)
def test_floors(module: str) -> None:
    assert violations(module, MODULES[module].read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("trkx.spec", "from trkx.runtime import tracks"),
        ("trkx.spec", "def f():\n    import torch"),
        ("trkx.models.networks", "from trkx.runtime.tracks import Tracks"),
        ("trkx.models.networks", "import onnx"),
        ("trkx.runtime.pipeline", "import torch.nn"),
        ("trkx.runtime.cuda.path", "import onnx"),
        ("trkx.runtime.cuda.path", "from trkx.models.networks import build_network"),
        ("trkx.runtime.pipeline", "from trkx import export"),
        ("trkx.runtime.pipeline", "from trkx.models.networks import build_network"),
        ("trkx.runtime.pipeline", "from runtime.tracks import Tracks"),
        ("trkx.runtime.pipeline", "from .tracks import Tracks"),
        ("trkx.export.build", "import export"),
        ("trkx.export.build", "from trkx.models.reference.train import main"),
    ],
)
def test_the_scan_finds(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


def test_exceptions_are_needed() -> None:
    for module, names in EXCEPTIONS.items():
        used = {name for _, name in imports(MODULES[module].read_text("utf-8"))}
        assert all(any(f"{u}.".startswith(f"{name}.") for u in used) for name in names), module
