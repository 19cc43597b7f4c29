import json
import sys

import pytest
from support.kernels import MODES, run, run_kernels

pytest.importorskip("triton", reason="not checked: Triton is not installed")

BUILD_ALL = """
import dataclasses, json, re
from trkx.runtime.cuda.builds import Build, compiled_case, resources
from trkx.runtime.cuda.contraction_builds import cases
found = []
for architecture in (80, 90):
    for case in cases():
        made = compiled_case(case, architecture)
        used = resources(made.asm["cubin"], case.name)
        build = Build(case.name, architecture, used["REG"], used["STACK"], made.metadata.shared, len(made.asm["cubin"]))
        steps = re.findall(r"\\b(ld\\.global|st\\.global|bar(?:rier)?\\.(?:cta\\.)?(?:warp\\.)?sync)", made.asm["ptx"])
        found.append(dataclasses.asdict(build) | {"steps": steps if "rows" in case.name else []})
print(json.dumps(found))
"""


@pytest.mark.parametrize("mode", MODES)
def test_contraction(mode):
    assert " passed" in run_kernels("interpreted_contraction.py", mode)


@pytest.fixture(scope="module")
def builds():
    done = run([sys.executable, "-W", "error", "-c", BUILD_ALL], interpret=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_every_kernel_builds_without_a_gpu_and_spills_nothing(builds, record_property):
    assert {build["architecture"] for build in builds} == {80, 90}
    assert len({build["name"] for build in builds}) == 16
    for build in builds:
        record_property(f"{build['name']} sm_{build['architecture']}", json.dumps(build))
        assert 0 < build["registers"] <= 255 and build["stack"] == 0, build
        assert build["shared"] <= 48 << 10


def waits(steps):
    """Whether a barrier comes between all reads and writes of memory, and between writes and reads."""
    before, writes = "", 0
    for step in steps[: len(steps) - steps[::-1].index("ld.global")]:  # what is written after the last are the labels
        if before and not step.startswith("bar") and step != before:
            return False
        before = "" if step.startswith("bar") else step
        writes += step == "st.global"
    return writes > 0


def test_rows_in_memory_are_read_after_a_barrier(builds):
    """What the interpreter, which runs all lanes at once, can't see. Of several warps, reductions wait in the same places."""
    found = [build["steps"] for build in builds if build["steps"]]
    assert len(found) == 12
    for steps in found:
        assert waits(steps), steps
    read, write, barrier = "ld.global", "st.global", next(step for step in found[0] if step.startswith("bar"))
    assert waits([read, read, barrier, write, write, barrier, read, barrier, read, write])
    assert not waits([read, write, barrier, read, write])
    assert not waits([read, barrier, write, read, barrier, read, write])
    assert not waits([read, read, write])
