"""`trkx bench --device`: rungs and rows with kernels interpreted, on a GPU where there is one; refusals without."""

import pytest
from support.kernels import MODES, run_kernels
from typer.testing import CliRunner

from trkx.cli import app
from trkx.errors import SpecError
from trkx.runtime.bench import table

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")


@pytest.mark.slow  # a minute in the interpreter
@pytest.mark.parametrize("mode", MODES)
def test_benchmarks_on_a_device(mode, tiny_bundle):
    assert " passed" in run_kernels("interpreted_bench_device.py", mode, tiny_bundle)


@pytest.mark.parametrize("what", ["ladder", "neighbours", "components"])
def test_without_a_gpu_the_error_says_what_was_looked_for(what, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("not checked: there is a GPU")
    done = CliRunner().invoke(app, ["bench", what, str(tmp_path), "--device", "cuda"])
    assert done.exit_code == 1
    assert "torch.cuda.is_available() is False" in " ".join(done.output.split())


def test_not_every_benchmark_has_a_form_for_a_gpu():
    with pytest.raises(SpecError, match="gnn has no form for a GPU; with --device there are: neighbours, components, ladder"):
        table.benchmark("gnn").place("cuda")
    assert table.benchmark("gnn").place("cpu") == "trkx.runtime.bench.networks"
    assert table.benchmark("ladder").place("cuda") == "trkx.runtime.bench.device_ladder"


def test_words_that_are_no_gpu(tmp_path):
    for word in ("gpu", "mps"):
        done = CliRunner().invoke(app, ["bench", "ladder", str(tmp_path), "--device", word])
        assert done.exit_code == 1
        assert f"device '{word}'" in done.output
