"""The C++ tests themselves, with and without sanitizers, and a project that uses the installed library."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cpp import said, write_csv_event
from support.small_events import small_events

CONSUMER = Path(__file__).with_name("consumer")


def ctest(build: Path, bundle: Path, more: dict[str, str]) -> str:
    found = said(["ctest", "--test-dir", build, "--output-on-failure"], {"TRKX_TEST_BUNDLE": str(bundle), **more})
    assert "100% tests passed" in found
    return found


def test_tests_in_cpp_with_onnxruntime(cpp_onnx: Path, tiny_bundle: Path, half_bundle: Path) -> None:
    found = ctest(cpp_onnx, tiny_bundle, {"TRKX_TEST_HALF_BUNDLE": str(half_bundle)})
    assert "test_engine_onnx" in found
    assert "Skipped" not in found


def test_the_engine_of_torchscript(cpp_torch: Path, tiny_bundle: Path) -> None:
    said([cpp_torch / "tests" / "test_engine_torch"], {"TRKX_TEST_BUNDLE": str(tiny_bundle)})


def test_tests_in_cpp_with_sanitizers(cpp_sanitized: Path, tiny_bundle: Path) -> None:
    assert "Skipped" not in ctest(cpp_sanitized, tiny_bundle, {})


@pytest.mark.parametrize("component", ["onnx", "torch"])
def test_a_project_that_uses_the_installed_library(
    component: str, request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path: Path
) -> None:
    build: Path = request.getfixturevalue(f"cpp_{component}")
    if component == "onnx":
        root = [f"-DONNXRUNTIME_ROOT={request.getfixturevalue('ort_root')}"]
        prefix = str(tmp_path / "installed")
    else:
        import torch

        root, prefix = [], f"{tmp_path / 'installed'};{torch.utils.cmake_prefix_path}"
    said(["cmake", "--install", build, "--prefix", tmp_path / "installed"])
    said(["cmake", "-S", CONSUMER, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCOMPONENT={component}", *root])
    said(["cmake", "--build", tmp_path / "build"])
    event = write_csv_event(tmp_path, small_events(1)[0])
    assert "tracks of 200 hits" in said([tmp_path / "build" / "consumer", tiny_bundle, event])
