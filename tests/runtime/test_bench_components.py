"""`trkx bench components`: graphs, cases, and labels that are compared."""

from dataclasses import replace

import numpy as np
import pytest

from trkx.errors import SpecError
from trkx.runtime.bench import components
from trkx.runtime.bench.adapters import table
from trkx.runtime.bench.components import CONTRACTION, MADE_UP, UNION_FIND, Given
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import panels_of
from trkx.runtime.events import write_event_parquet
from trkx.runtime.labelling import connected_components


@pytest.mark.parametrize(("name", "count"), [
    ("tracks of 8 hits", 13), ("one long path, in any order", 1), ("a star", 1), ("random, 10 edges a hit: one component", 1),
])
def test_made_up_graphs_are_what_they_are_called(name, count, rng):
    edges = MADE_UP[name](100, rng)
    assert edges.dtype == np.int64
    assert connected_components(edges, 100).max() + 1 == count


def test_rows_without_a_bundle():
    rows = components.rows(Options(sizes=(60, 90), rounds=2, peers=(UNION_FIND, "scipy", CONTRACTION)))
    assert len(rows) == 2 * len(MADE_UP) * 2
    assert {row.timing.name for row in rows} == {UNION_FIND, "scipy"}
    assert all(row.facts["same labels"] is True for row in rows if row.timing.name == "scipy")
    assert all(row.ours == (row.timing.name == UNION_FIND) for row in rows)
    assert {row.sizes["hits"] for row in rows} == {60, 90}
    assert {row.series for row in rows} == {f"made up: {name}" for name in MADE_UP}
    for panel in panels_of(rows):  # lines go from a star to a larger star, never to a path
        assert all([row.sizes["hits"] for row in points] == [60, 90] for points in panel.cases.values())


def test_other_labels_are_noticed(monkeypatch):
    monkeypatch.setattr(table.Peer, "opened", lambda peer: lambda edges, hits: np.zeros(hits, np.int32))
    given = Given("g", np.array([[0], [1]]), 3)
    rows = components.measured(given, (UNION_FIND, "scipy"), Options(rounds=1))
    assert [row.facts["labels"] for row in rows] == [2, 1]
    assert rows[1].facts["same labels"] is False


def test_a_missing_library_is_a_row(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: False)
    rows = components.measured(Given("g", np.array([[0], [1]]), 3), (UNION_FIND, "scikit-network"), Options(rounds=1))
    assert rows[0].timing.available
    assert "trkx[peers]" in rows[1].timing.note
    assert dict(rows[1].facts) == {}


def test_edge_contraction_runs_where_there_are_weights():
    given = Given("g", np.array([[0, 1], [1, 2]]), 4, np.array([1.0, -1.0]))
    rows = components.measured(given, components.known_cases(), Options(rounds=1))
    assert [(row.timing.name, row.facts["labels"], row.ours) for row in rows] == [(CONTRACTION, 3, True)]


def test_graphs_of_an_event(tiny_export, tmp_path):
    write_event_parquet(tmp_path, replace(tiny_export.event, cells={}))
    rows = components.rows(Options(tiny_export.folder, (tmp_path,), (100,), rounds=1, peers=(UNION_FIND, CONTRACTION)))
    graphs = [row.graph for row in rows]
    assert "after the GNN" in graphs[0] and "after the filter" in graphs[1] and "logits" in graphs[2]
    assert rows[0].sizes["edges"] <= rows[1].sizes["edges"] == rows[2].sizes["edges"] > 0
    assert rows[2].facts["labels"] >= rows[0].facts["labels"]  # contraction splits, and never joins


def test_unknown_case():
    with pytest.raises(SpecError, match="unknown case 'sci'"):
        components.rows(Options(peers=("sci",)))
