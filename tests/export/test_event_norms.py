"""Batch norms with the statistics of the event: exported, never run in portions, and faults in them are still found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.tiny import TinyExport, tiny_export_into, tiny_spec

from trkx.bundle import Bundle
from trkx.export.check import seeing
from trkx.export.pipeline_folder import load_network
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.validate import LEVELS, file_rows, files_of
from trkx.export.zoo import cases
from trkx.runtime.pipeline import Pipeline
from trkx.spec import ChainEmbeddingSpec, ChainFilterSpec, ChainSpec, GraphSpec, MessagePassingSpec, PipelineSpec


def spec_of() -> PipelineSpec:
    def chain(*widths: int) -> ChainSpec:
        return ChainSpec(widths, "silu", "none", "event_affine", 6e-5)

    embedding = ChainEmbeddingSpec(ChainSpec((16, 16, 4), "tanh", "plain", "event"), True)
    gnn = MessagePassingSpec(chain(8, 8), chain(8, 8), chain(8, 8), chain(8, 8), chain(8, 1), 2, aggregations=("sum", "max"),
                             node_inputs=("node", "incoming", "outgoing"))
    return tiny_spec(embedding=embedding, filter=ChainFilterSpec(chain(16, 8, 1)), gnn=gnn, graph=GraphSpec(0.02))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyExport:
    return tiny_export_into(tmp_path_factory.mktemp("norms"), spec_of())


def test_they_are_exported_and_what_proves_nothing_is_told(made: TinyExport) -> None:
    assert all(row.passed for row in made.report.rows)
    told = [line for line in made.report.not_checked if "graph '" in line]
    assert any("ones" in line for line in told)  # hits that are all alike have no spread to divide by
    for stage in made.source.spec.stages:
        graphs = {row.graph for row in made.report.rows if row.stage == stage and row.engine}
        assert "event" in graphs and len(graphs) > 15
        assert not any("portions" in graph or "one more hit" in graph for graph in graphs)


def test_a_lost_weight_is_found(made: TinyExport) -> None:
    source, bundle = made.source, Bundle.open(made.folder)
    network = load_network(source, "filter")
    file = next(item for item in files_of(bundle, {"filter": network})[0] if (item.stage, item.format) == ("filter", "onnx"))
    assert file.together
    model = onnx.load_model_from_string(file.data)
    norm = next(item for item in model.graph.initializer if "batch_norms.0.weight" in item.name)
    norm.CopyFrom(numpy_helper.from_array(np.ones_like(numpy_helper.to_array(norm)), norm.name))
    oracle = oracle_for(file)
    zoo, _ = seeing(oracle.expectations(cases(source.spec, made.event, None)))
    right = file_rows(file, oracle, zoo, LEVELS["export"])
    wrong = file_rows(replace(file, data=model.SerializeToString()), oracle, zoo, LEVELS["export"])
    assert {row.status for row in right if row.engine.startswith("ONNX Runtime CPU")} == {"passed"}
    assert "failed" in {row.status for row in wrong if row.group == "graphs"}


def test_candidates_are_never_cut_into_chunks(made: TinyExport) -> None:
    pipeline = Pipeline.open(made.folder, "onnxruntime")
    whole = pipeline.run(made.event, keep_graphs=True)
    assert whole.graphs["graph"].shape[1] > 50
    pipeline.chunk = 10
    again = pipeline.run(made.event, keep_graphs=True)
    assert np.array_equal(again.graphs["filter"], whole.graphs["filter"])
    chain = replace(pipeline.spec.filter.chain, batch_norm="none")
    pipeline.spec = replace(pipeline.spec, filter=replace(pipeline.spec.filter, chain=chain))
    # the same files, now cut into chunks: their statistics are those of ten edges
    assert not np.array_equal(pipeline.run(made.event, keep_graphs=True).graphs["filter"], whole.graphs["filter"])


def test_a_bundle_of_them_is_validated(made: TinyExport, tmp_path: Path) -> None:
    from trkx.export.validation.validate import validate_bundle

    report = validate_bundle(made.folder, level="export")
    assert [row for row in report.rows if row.status == "failed"] == []
