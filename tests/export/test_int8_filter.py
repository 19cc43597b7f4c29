"""benchmarks/int8_filter.py: the experiment quantises what it says, and sees what that does."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from support.tiny import TinyExport

from trkx.bundle import Bundle
from trkx.errors import ExportError
from trkx.runtime.engines import open_engine
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.pipeline import Pipeline

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "int8_filter.py"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("int8_filter", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules["int8_filter"] = importlib.util.module_from_spec(spec)  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    yield module
    del sys.modules["int8_filter"]


def test_products_are_in_int8_and_no_others(script: ModuleType, tiny_export: TinyExport) -> None:
    data = Bundle.open(tiny_export.folder).read("filter", "onnx")
    products = sum(node.op_type in ("Gemm", "MatMul") for node in onnx.load_model_from_string(data).graph.node)
    counts = {}
    for variant in script.VARIANTS:
        nodes = onnx.load_model_from_string(script.quantised(data, variant)).graph.node
        counts[variant.name] = sum(node.op_type == "MatMulInteger" for node in nodes)
    assert set(counts.values()) == {products, counts["int8, hidden products, by tensor"]}
    assert 0 < counts["int8, hidden products, by channel"] < products == counts["int8, all products, by channel"]


def test_a_quantiser_that_leaves_products_as_they_are_is_noticed(
    script: ModuleType, tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "quantize_dynamic", lambda source, target, **_: target.write_bytes(source.read_bytes()))
    with pytest.raises(ExportError, match="products in int8, found 0"):
        script.quantised(Bundle.open(tiny_export.folder).read("filter", "onnx"), script.VARIANTS[0])


def test_what_a_logit_owes_to_the_edges_beside_it_is_seen(
    script: ModuleType, tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "FEW", 20)
    bundle = Bundle.open(tiny_export.folder)
    engine, data = open_engine("onnxruntime", bundle, 1), bundle.read("filter", "onnx")
    files = {script.EXACT: data, "int8": script.quantised(data, script.VARIANTS[0])}
    engines = {name: script.WithFilter(engine, file, 1) for name, file in files.items()}
    event = tiny_export.event
    pipeline = Pipeline(bundle.spec, engine, threads=1)
    found = script.on_candidates(pipeline, engines, event, 1, Selection())
    exact, int8 = found[script.EXACT], found["int8"]
    assert exact["candidates"] == int8["candidates"] > 40 and exact["seconds"] > 0.0
    assert exact["beside others"] < 1e-5 < 1e-3 < int8["beside others"]
    x = np.abs(np.random.default_rng(0).normal(size=(30, 3))).astype(np.float32)
    assert script.judged(engines["int8"], x, np.empty((2, 0), np.int64))[0].shape == (0,)
