"""Builds of the C++ consumer, each made once for all tests that ask for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.cpp import built, onnxruntime_root, require_compiler


@pytest.fixture(scope="session")
def cpp_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of all builds, the same for all processes of a run; TRKX_CPP_BUILDS names one that is kept from run to run."""
    require_compiler()
    if kept := os.environ.get("TRKX_CPP_BUILDS"):
        return Path(kept)
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cpp"


@pytest.fixture(scope="session")
def ort_root(cpp_base: Path) -> Path:
    """Folder with include/ and lib/ of ONNX Runtime."""
    return onnxruntime_root(cpp_base)


@pytest.fixture(scope="session")
def cpp_onnx(cpp_base: Path, ort_root: Path) -> Path:
    """Build folder with ONNX Runtime and without libtorch: trkx-run, and tests/NAME for each tool and test."""
    return built(cpp_base, "onnx", ["-DTRKX_ONNXRUNTIME=ON", "-DTRKX_TORCH=OFF", f"-DONNXRUNTIME_ROOT={ort_root}"])


@pytest.fixture(scope="session")
def cpp_tools(request: pytest.FixtureRequest, cpp_base: Path) -> Path:
    """Folder with the tools and tests of the library's core, which need neither ONNX Runtime nor libtorch."""
    try:
        return Path(request.getfixturevalue("cpp_onnx")) / "tests"
    except pytest.skip.Exception:
        return built(cpp_base, "core", ["-DTRKX_ONNXRUNTIME=OFF", "-DTRKX_TORCH=OFF", "-DTRKX_PROGRAM=OFF"]) / "tests"


@pytest.fixture(scope="session")
def cpp_torch(cpp_base: Path) -> Path:
    """Build folder with libtorch (that of the torch wheel) and without ONNX Runtime: trkx-run, and the tests of its engines."""
    torch = pytest.importorskip("torch", reason="not checked: torch is not installed")
    prefix = torch.utils.cmake_prefix_path
    options = ["-DTRKX_ONNXRUNTIME=OFF", "-DTRKX_TORCH=ON", f"-DCMAKE_PREFIX_PATH={prefix}"]
    return built(cpp_base, "torch", options, ("trkx-run", "test_engine_torch", "test_engine_aoti"))


@pytest.fixture(scope="session", params=["address,undefined", "thread"])
def cpp_sanitized(request: pytest.FixtureRequest, cpp_base: Path, ort_root: Path) -> Path:
    """Build folder with ONNX Runtime and a sanitizer: the tests and trkx-run."""
    name = "sanitized-" + request.param.replace(",", "-")
    options = [f"-DTRKX_SANITIZE={request.param}", "-DTRKX_TORCH=OFF", "-DTRKX_ONNXRUNTIME=ON", f"-DONNXRUNTIME_ROOT={ort_root}",
               "-DCMAKE_BUILD_TYPE=Debug"]
    return built(cpp_base, name, options, ("trkx_tests", "trkx-run"))
