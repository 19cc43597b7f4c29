"""`trkx bench`: options, files, errors; nothing of torch for its help."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trkx.bundle import Bundle
from trkx.cli import app
from trkx.errors import SpecError
from trkx.export.zoo import helix_event
from trkx.runtime.bench import roofline, table
from trkx.runtime.commands.bench import parsed_sizes
from trkx.runtime.events import write_event_parquet


@pytest.fixture
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = roofline.Rates(1e11, 1e10, "numpy", {}, {"torch": "it is not there"})
    monkeypatch.setattr(roofline, "measured_rates", lambda threads: rates)


def test_sizes() -> None:
    assert parsed_sizes("") == ()
    assert parsed_sizes("10000, 200_000") == (10_000, 200_000)
    for text in ("0", "-5", "many", "1.5"):
        with pytest.raises(SpecError, match="expected numbers of hits"):
            parsed_sizes(text)


def test_every_benchmark_can_be_found() -> None:
    for row in table.BENCHMARKS.values():
        module = pytest.importorskip(row.module)
        assert callable(getattr(module, row.function))
    with pytest.raises(SpecError, match="unknown benchmark 'gn'"):
        table.benchmark("gn")


def test_measures_and_writes(tiny_bundle: Path, tmp_path: Path, quick_rates: None) -> None:
    write_event_parquet(tmp_path / "events", replace(helix_event(Bundle.open(tiny_bundle).spec, tracks=60), cells={}))
    given = ["bench", "filter", str(tiny_bundle), "--events", str(tmp_path / "events"), "--sizes", "200,500", "--rounds", "2"]
    given += ["--case", "trkx onnxruntime", "--no-memory", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    held = json.loads((tmp_path / "out" / "filter.json").read_text())
    assert [row["sizes"]["hits"] for row in held["rows"]] == [200, 500]
    assert held["machine"]["threads"] >= 1 and held["rates"]["gemm"] == 1e11
    assert str(tmp_path) not in json.dumps(held["machine"])
    assert "trkx onnxruntime (ours)" in done.output and "GFLOP/s" in done.output
    assert "products of torch were not measured: it is not there" in done.output
    assert max(map(len, done.output.split("written")[0].splitlines())) <= 80
    if (tmp_path / "out" / "filter.png").exists():
        assert "filter.png" in done.output.replace("\n", "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nonsense"], "unknown benchmark 'nonsense'"),
        (["gnn"], "give the folder of a bundle"),
        (["pipeline", "BUNDLE"], "give --events"),
        (["gnn", "BUNDLE"], "give --events with files or a folder (trkx simulate makes some), or --synthetic"),
        (["gnn", "BUNDLE", "--synthetic", "--case", "tensorflow"], "unknown case 'tensorflow'. Known: \"trkx "),
        (["filter", "BUNDLE", "--synthetic", "--case", "trkx tilde"], 'Did you mean "trkx tiled"?'),
        (["components", "--case", "tensorflow"], "unknown case 'tensorflow'"),
        (["pipeline", "BUNDLE", "--device", "cuda"], "there are: neighbours, components, ladder. Networks and the pipeline on a "
         "GPU: benchmarks/gpu.py, or the table of stages of trkx run"),
        (["gnn", "BUNDLE", "--sizes", "x"], "expected numbers of hits"),
    ],
)
def test_errors_are_one_message(
    given: list[str], message: str, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "measured_rates", lambda threads: pytest.fail("the machine was measured first"))
    words = [str(tiny_bundle) if word == "BUNDLE" else word for word in given]
    done = CliRunner().invoke(app, ["bench", *words, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("case", "said"), [("trkx onnxruntime", False), ("trkx torchscript", True)])
def test_a_busy_machine_is_said(
    case: str, said: bool, tiny_bundle: Path, tmp_path: Path, quick_rates: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trkx.runtime.commands.bench._load", lambda: 3.0)
    given = ["bench", "gnn", str(tiny_bundle), "--synthetic", "--case", case, "--rounds", "1", "--no-memory"]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path)])
    told = " ".join(done.output.split())
    assert done.exit_code == 0, done.output
    assert "busy before this began (load 3.0)" in told and "compare the best rounds" in told
    assert ("torch suffers most" in told) == said


def test_help_and_tables_need_no_torch() -> None:
    code = (
        "import sys\nfrom trkx.cli import load\nload('bench')\nimport trkx.runtime.bench.networks, trkx.runtime.bench.whole\n"
        "import trkx.runtime.bench.table\nassert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
