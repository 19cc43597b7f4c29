"""The table of backends: rows that say what is missing and how to get it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trkx.backends import BACKENDS, Backend, Need, backends, probe, require
from trkx.cli import app
from trkx.errors import MissingExtraError, SpecError

EXTRAS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ABSENT = Need("no_such_module_here", ("no-such-distribution",))
NUMPY = Need("numpy", ("numpy",))


def row(*needs: Need, extra: str = "cpu") -> Backend:
    return Backend("engine", "made_up", needs, extra, "nothing")


def test_a_row_that_is_there() -> None:
    found = probe(row(NUMPY))
    assert (found.available, found.why_not, found.how) == (True, "", "")
    assert found.version.startswith("numpy ")


def test_a_row_that_is_not_there_names_its_install_command() -> None:
    found = probe(row(NUMPY, ABSENT))
    assert (found.available, found.why_not) == (False, "no-such-distribution not installed")
    assert found.how == 'pip install "trkx[cpu]"'


def test_a_broken_installation_is_found_by_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_for_trkx.py").write_text("raise OSError('libfoo.so.9: cannot open\\nmore')")
    monkeypatch.syspath_prepend(tmp_path)
    broken = row(Need("broken_for_trkx", ("broken",)))
    assert probe(broken).available
    found = probe(broken, load=True)
    assert (found.available, found.why_not) == (False, "broken_for_trkx is installed but does not load: libfoo.so.9: cannot open")


def test_probing_imports_nothing() -> None:
    before = set(sys.modules)
    for backend in BACKENDS:
        probe(backend)
    assert not {"torch", "onnx", "onnxruntime", "numba"} & (set(sys.modules) - before)


def compiling(monkeypatch: pytest.MonkeyPatch, headers: Path, compiler: str | None = "/usr/bin/g++") -> Backend:
    """A row that compiles, on a machine with these headers and this compiler, and no wish for another."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("trkx.backends.sys.platform", "linux")
    monkeypatch.setattr("trkx.backends.shutil.which", lambda name: compiler if name == "g++" else None)
    monkeypatch.setattr("trkx.backends.sysconfig.get_path", lambda name: str(headers))
    return Backend("export", "made_up", (NUMPY,), "export", "nothing", compiles=True)


def test_what_compiles_needs_a_compiler_and_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = probe(compiling(monkeypatch, tmp_path))
    assert (found.available, found.why_not) == (False, "no Python.h, the headers of this Python")
    (tmp_path / "Python.h").write_text("")
    found = probe(compiling(monkeypatch, tmp_path))
    assert found.available and found.version.startswith("numpy ") and found.version.endswith(", g++")
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    found = probe(Backend("export", "made_up", (NUMPY, ABSENT), "export", "nothing", compiles=True))
    assert found.why_not == (
        "no-such-distribution not installed; no C++ compiler (CXX is 'no-such-compiler', which is not there)"
    )
    assert found.how == 'pip install "trkx[export]"; install g++, or name a compiler in CXX'
    found = probe(compiling(monkeypatch, tmp_path, None))
    assert found.why_not == "no C++ compiler (no g++ on the PATH)"


def test_aoti_is_a_row_of_exports() -> None:
    row = backends("export")["aoti"]
    assert row.compiles and [need.module for need in row.needs] == ["torch"]
    assert [other.name for other in BACKENDS if other.compiles] == ["aoti"]


def test_doctor_says_once_what_many_rows_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    from trkx.runtime.commands import doctor

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    on_gpu = [Backend("engine", name, (NUMPY,), "", "does", gpu=True) for name in ("one", "two")]
    rows = (*on_gpu, Backend("engine", "three", (ABSENT,), "cuda", "does", gpu=True), row(NUMPY))

    def printed(*shown: Backend) -> str:
        monkeypatch.setattr(doctor, "BACKENDS", shown)
        return " ".join(CliRunner().invoke(app, ["doctor"]).stdout.split())

    text = printed(*rows)
    assert text.count("which hides all") == 1 and text.endswith("no GPU: CUDA_VISIBLE_DEVICES is '', which hides all GPUs")
    assert "one no no GPU does two no no GPU does" in text
    assert 'three no no-such-distribution not installed: pip install "trkx[cuda]"; no GPU does' in text
    alone = printed(rows[0], rows[3])
    assert "one no CUDA_VISIBLE_DEVICES is '', which hides all GPUs does" in alone
    plain = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)["backends"]
    assert plain[0]["why_not"].endswith("hides all GPUs") and plain[0]["how"] == "needs an NVIDIA GPU"


def test_an_unknown_name_lists_the_known_ones() -> None:
    message = r"unknown labelling backend 'unionfind'\. Did you mean 'union_find'\? Known: scipy, triton, union_find"
    with pytest.raises(SpecError, match=message):
        require("labelling", "unionfind")


def test_a_missing_extra_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trkx.backends.BACKENDS", (row(ABSENT),))
    with pytest.raises(MissingExtraError, match=r'no-such-distribution not installed\. Install: pip install "trkx\[cpu\]"'):
        require("engine", "made_up")


def test_rows_are_unique_and_their_extras_exist() -> None:
    assert len({(r.kind, r.name) for r in BACKENDS}) == len(BACKENDS)
    assert {part for r in BACKENDS for part in r.extra.split(",")} - {""} <= set(EXTRAS)
    assert list(backends("neighbours")) == ["grid", "kdtree", "brute", "triton"]


def test_rows_are_what_the_runtime_has() -> None:
    from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
    from trkx.runtime.engines import ENGINES
    from trkx.runtime.labelling import BACKENDS as LABELLING
    from trkx.runtime.neighbours.table import BACKENDS as NEIGHBOURS
    from trkx.runtime.pipeline import ON_DEVICE

    assert set(backends("engine")) == {*ENGINES, *DEVICE_ENGINES}
    assert set(backends("neighbours")) == {*NEIGHBOURS, ON_DEVICE}
    assert set(backends("labelling")) == {*LABELLING, ON_DEVICE}
    for row in BACKENDS:
        assert row.kind == "peer" or row.gpu == (row.name == ON_DEVICE or row.name in DEVICE_ENGINES)
