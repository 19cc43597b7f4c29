import json
import sys

import pytest
from support.kernels import MODES, run, run_kernels

pytest.importorskip("triton", reason="not checked: Triton is not installed")

BUILD = """
import json
from trkx.runtime.cuda.builds import compiled_case, instructions, resources
from trkx.runtime.cuda.network_builds import few_cases
found = []
for architecture in (90, 89, 80):
    for case in few_cases(architecture):
        made = compiled_case(case, architecture)
        code, used = instructions(made.asm["cubin"]), resources(made.asm["cubin"], case.name)
        a_row = case.options["num_warps"] / case.constants["TILE"]
        found.append({"name": case.name, "architecture": architecture, "registers": used["REG"], "stack": used["STACK"],
                      "shared": made.metadata.shared, "instructions": sum(code.values()) * a_row,
                      "matrix": sum(count for name, count in code.items() if name.startswith("HGMMA")),
                      "half": sum(count for name, count in code.items() if name.startswith(("HMMA", "HGMMA"))),
                      "special": sum(count for name, count in code.items() if name.startswith("MUFU")) * a_row,
                      "tanh": code["MUFU.TANH"]})
print(json.dumps(found))
"""
SHARED = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}
WORK = {"filter of 96": (200, 12), "edge network of 48": (75, 2), "layer of 512": (300, 18)}
"""Of a row, in instructions of a warp: all of them, and special functions, which take eight times as long. A fifth more than was
found; tiles of 128 for a width of 96, or activations of two special functions, go beyond it."""
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
        name, precision = build["name"].split(", ")
        assert bool(build["tanh"]) == (precision == "bf16"), build  # good enough there, and nowhere else
        if precision == "bf16" and name in WORK:
            assert build["instructions"] <= WORK[name][0], build
            assert build["special"] <= WORK[name][1], build
        if build["name"].endswith("fp16"):
            assert build["half"] > 0, build
