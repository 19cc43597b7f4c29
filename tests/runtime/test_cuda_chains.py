import json
import sys

import pytest
from support.kernels import MODES, run, run_kernels

pytest.importorskip("triton", reason="not checked: Triton is not installed")

BUILD = """
import json
from trkx.runtime.cuda.builds import assembly, compiled_case, resources
from trkx.runtime.cuda.network_builds import few_cases
found = []
for architecture in (90, 80):
    for case in few_cases(architecture):
        made = compiled_case(case, architecture)
        code, used = assembly(made.asm["cubin"]), resources(made.asm["cubin"], case.name)
        found.append({"name": case.name, "architecture": architecture, "registers": used["REG"], "stack": used["STACK"],
                      "shared": made.metadata.shared, "matrix": code.count("HGMMA"), "half": code.count("HMMA")})
print(json.dumps(found))
"""
SHARED = {80: 163 << 10, 90: 227 << 10}
SPILLS = 16  # bytes of a thread: a number or two that the assembler puts aside, outside of loops


@pytest.mark.parametrize("mode", MODES)
def test_chains(mode):
    assert " passed" in run_kernels("interpreted_chains.py", mode)


def test_networks_build_without_a_gpu(record_property):
    done = run([sys.executable, "-W", "error", "-c", BUILD], interpret=False)
    assert done.returncode == 0, done.stderr[-4000:]
    for build in json.loads(done.stdout):
        record_property(f"{build['name']} sm_{build['architecture']}", json.dumps(build))
        assert build["stack"] <= SPILLS, build
        assert build["shared"] <= SHARED[build["architecture"]], build
        if build["name"].endswith("bf16") and "first layer" not in build["name"]:
            kind = "half" if "1024" in build["name"] else "matrix"  # those of Hopper's own matrix units take 64 rows
            assert build[kind] > 0, build
        if build["name"].endswith("fp16"):
            assert build["half"] > 0, build
