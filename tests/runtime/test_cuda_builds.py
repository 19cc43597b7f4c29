import json
import subprocess
import sys

import pytest
from support.kernels import run

pytest.importorskip("triton", reason="not checked: Triton is not installed")

BUILD_ALL = """
import dataclasses, json
from trkx.runtime.cuda.builds import build, cases
kinds = [(cases((1, 8, 32)), 90), (cases((8,)), 80)]
print(json.dumps([dataclasses.asdict(build(case, architecture)) for found, architecture in kinds for case in found]))
"""
ARITHMETIC = """
import dataclasses, json
from trkx.runtime.cuda.builds import assembly, cases, compiled_case
found = {}
for case in cases((8,)):
    if "pair_kernel" in case.name and "nearest" not in case.name:
        for fused in (False, True):
            changed = dataclasses.replace(case, options={**case.options, "enable_fp_fusion": fused})
            code = assembly(compiled_case(changed, 90).asm["cubin"])
            found[f"{case.name}, {fused}"] = [code.count(word) for word in ("DFMA", "DMUL", "FFMA")]
print(json.dumps(found))
"""
REPORT = """
from trkx.errors import ExportError
from trkx.runtime.cuda.builds import resources
try:
    resources(b"not machine code", "a kernel")
except ExportError as error:
    assert "a kernel: expected REG and STACK" in str(error), error
else:
    raise AssertionError("no error")
"""


def printed(code: str) -> str:
    done: subprocess.CompletedProcess[str] = run([sys.executable, "-W", "error", "-c", code], interpret=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_every_kernel_builds_without_a_gpu(record_property):
    builds = json.loads(printed(BUILD_ALL))
    assert {build["architecture"] for build in builds} == {80, 90}
    for build in builds:
        record_property(f"{build['name']} sm_{build['architecture']}", json.dumps(build))
        assert 0 < build["registers"] <= 255
        assert build["shared"] <= 48 << 10  # what every program gets without asking
        if "axes, pairs" in build["name"]:
            assert build["stack"] == 0, build  # the kernel that all events run spills nothing


def test_float64_is_not_fused():
    """What makes pairs equal to the CPU's to the last bit; and the option of the compiler is what does it."""
    for name, (fused, products, single) in json.loads(printed(ARITHMETIC)).items():
        assert single > 0, name
        if name.endswith("False"):
            assert fused == 0 < products, name
        else:
            assert fused > 0, name


def test_a_report_that_cannot_be_read_is_an_error():
    printed(REPORT)
