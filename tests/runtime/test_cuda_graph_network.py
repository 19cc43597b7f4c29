import json
import sys

import pytest
from support.kernels import MODES, run, run_kernels

pytest.importorskip("triton", reason="not checked: Triton is not installed")

BUILD = """
import dataclasses, json
from trkx.runtime.cuda.builds import build
from trkx.runtime.cuda.networks.graph_builds import cases
print(json.dumps([dataclasses.asdict(build(case, architecture)) for case in cases() for architecture in (80, 90)]))
"""
NO_GPU = """
import torch
from trkx.errors import InputError
from trkx.runtime.cuda.engines.fused import FusedEngine
from trkx.spec import CutSpec, FeatureSpec, FilterSpec, PipelineSpec
features = tuple(FeatureSpec(name, 1.0) for name in ("r", "phi", "z"))
try:
    FusedEngine(PipelineSpec("made", features, filter=FilterSpec(8, 2), cuts=CutSpec(filter=0.5)), {}, torch.device("cpu"))
except InputError as error:
    assert "engine 'triton': expected a tensor on a CUDA device" in str(error), error
else:
    raise AssertionError("no error")
"""


@pytest.mark.parametrize("mode", MODES)
def test_graph_networks(mode, tiny_bundle):
    assert " passed" in run_kernels("interpreted_graph.py", mode, tiny_bundle)


def test_every_kernel_builds_without_a_gpu(record_property):
    done = run([sys.executable, "-W", "error", "-c", BUILD], interpret=False)
    assert done.returncode == 0, done.stderr[-4000:]
    builds = json.loads(done.stdout)
    assert {build["architecture"] for build in builds} == {80, 90}
    for build in builds:
        record_property(f"{build['name']} sm_{build['architecture']}", json.dumps(build))
        assert build["stack"] <= 8, build  # at most one value, once a program: what Triton 3.6 and 3.7 do where 3.9 needs none
        assert build["registers"] <= 128, build  # four programs of four warps to a multiprocessor, at least


def test_a_cpu_without_the_interpreter_is_refused():
    done = run([sys.executable, "-W", "error", "-c", NO_GPU], interpret=False)
    assert done.returncode == 0, done.stderr[-4000:]
