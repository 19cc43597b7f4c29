"""The C++ tests themselves, with and without sanitizers, and a project that uses the installed library."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cpp import SOURCE, said, write_csv_event
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


def test_the_program_with_sanitizers(cpp_sanitized: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    for event in small_events(3):
        write_csv_event(tmp_path / "events", event)
    words = [tiny_bundle, tmp_path / "events", "--out", tmp_path / "out", "--threads", "2", "--times", tmp_path / "times.json"]
    assert "tracks of 3 events" in said([cpp_sanitized / "trkx-run", *words])
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_configuring_says_what_is_missing_and_builds_tests_on_demand_alone(cpp_base: Path, tmp_path: Path) -> None:
    del cpp_base  # asked for only because it skips where nothing can be compiled
    cache = tmp_path / "build" / "CMakeCache.txt"
    (tmp_path / "empty").mkdir()
    words = ["cmake", "-S", SOURCE, "-B", cache.parent, "-DTRKX_TORCH=OFF", f"-DONNXRUNTIME_ROOT={tmp_path / 'empty'}"]
    found = " ".join(said(words).split())
    assert "trkx: OnnxRuntime not found; -DONNXRUNTIME_ROOT=FOLDER names" in found and "get-onnxruntime.sh makes one" in found
    assert f"ONNXRUNTIME_ROOT is {tmp_path / 'empty'}: expected include/onnxruntime_cxx_api.h" in found
    assert "trkx-run will have no engine" in found
    assert "TRKX_TESTS:BOOL=OFF" in cache.read_text()
    cache.unlink()
    said([*words, "-DBUILD_TESTING=ON"])
    assert "TRKX_TESTS:BOOL=ON" in cache.read_text()


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
    assert "BUNDLE" in said([tmp_path / "installed" / "bin" / "trkx-run", "--help"], {"LD_LIBRARY_PATH": ""})
    said(["cmake", "-S", CONSUMER, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCOMPONENT={component}", *root])
    said(["cmake", "--build", tmp_path / "build"])
    event = write_csv_event(tmp_path, small_events(1)[0])
    assert "tracks of 200 hits" in said([tmp_path / "build" / "consumer", tiny_bundle, event])
