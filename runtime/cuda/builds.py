"""Every kernel, compiled for a GPU that need not be there, and what the machine code of each takes of it.

A program that imports this must not have TRITON_INTERPRET set: what the interpreter runs is not compiled.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from trkx.errors import ExportError
from trkx.runtime.cuda import components, near, neighbours, order, pair_kernels

WARP = 32
EXACT = {"enable_fp_fusion": False}  # as all kernels here are launched
INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", re.MULTILINE)
RESOURCE = re.compile(r"\b([A-Z]+):(\d+)")


@dataclass(frozen=True)
class Case:
    """A kernel as it is launched.

    name: of the kernel and its form. kernel: the Triton function. types: of its arguments, as Triton writes them, such as "*fp32"
    or "i32"; a tuple of those for a tuple. constants: its compile-time arguments, and those that are None in this form. options:
    of the compiler, which fuses products with sums unless told otherwise. aligned: pointers that are multiples of 16 bytes, as
    Triton sees in a launch; of a tuple, all are.
    """

    name: str
    kernel: Any
    types: Mapping[str, Any]
    constants: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    aligned: tuple[str, ...] = ()


@dataclass(frozen=True)
class Build:
    """What a kernel takes of a multiprocessor.

    architecture: 90 is sm_90. registers: of one thread. stack: bytes of memory that a thread uses for lack of registers, 0 where
    nothing spills. shared: bytes of a program. size: bytes of machine code.
    """

    name: str
    architecture: int
    registers: int
    stack: int
    shared: int
    size: int


def build(case: Case, architecture: int) -> Build:
    """Return what a kernel takes when it is compiled for an NVIDIA architecture, 80 for A100, 90 for H100 and H200.

    Raises:
        ExportError: the report on the machine code can't be read. Where a kernel does not compile, Triton's own errors.
    """
    made = compiled_case(case, architecture)
    used = resources(made.asm["cubin"], case.name)
    return Build(case.name, architecture, used["REG"], used["STACK"], made.metadata.shared, len(made.asm["cubin"]))


def compiled_case(case: Case, architecture: int) -> Any:
    """Return what Triton makes of a kernel: `asm` by language, `metadata`."""
    signature = {name: "constexpr" if name in case.constants else case.types[name] for name in case.kernel.arg_names}
    places = [(case.kernel.arg_names.index(name), case.types[name]) for name in case.aligned if name not in case.constants]
    paths = [path for n, kind in places for path in ([(n,)] if isinstance(kind, str) else [(n, i) for i in range(len(kind))])]
    attributes = {path: [["tt.divisibility", 16]] for path in paths}
    source = ASTSource(case.kernel, signature, constexprs=dict(case.constants), attrs=attributes)
    return triton.compile(source, target=GPUTarget("cuda", architecture, WARP), options=dict(case.options))


def resources(code: bytes, name: str) -> dict[str, int]:
    """Return what machine code takes, in the words of NVIDIA's cuobjdump, which comes with Triton.

    REG: registers and STACK: bytes, of a thread. name: of the kernel, for the ExportError where the report can't be read.
    """
    report = cuobjdump(code, "--dump-resource-usage")
    found = {word: int(number) for word, number in RESOURCE.findall(report)}
    if not {"REG", "STACK"} <= set(found):
        raise ExportError(
            f"{name}: expected REG and STACK in the report of {triton.knobs.nvidia.cuobjdump.path}, found {report[:300]!r}; "
            "install another version of Triton, or name its tool in TRITON_CUOBJDUMP_PATH."
        )
    return found


def assembly(code: bytes) -> str:
    """Return machine code as text, one instruction a line."""
    return cuobjdump(code, "--dump-sass")


def instructions(code: bytes) -> Counter[str]:
    """Return how often each instruction stands in machine code, by its whole name, such as "MUFU.EX2"; loops count once."""
    return Counter(INSTRUCTION.findall(assembly(code)))


def cuobjdump(code: bytes, option: str) -> str:
    """Return what NVIDIA's cuobjdump, which comes with Triton, prints of machine code, its complaints included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(code)
        done = subprocess.run([triton.knobs.nvidia.cuobjdump.path, option, str(path)], capture_output=True, text=True)
    return done.stdout + done.stderr


def cases(dims: tuple[int, ...] = (1, 8, 32)) -> list[Case]:
    """Return every kernel of neighbours and components in every form, for each number of axes."""
    found = [case for dim in dims for case in (*_near(dim), *_pairs(dim))]
    tile = {"TILE": neighbours.ROW_TILE}
    found.append(Case("sort_kernel", pair_kernels.sort_kernel,
                      {"starts": "*i64", "unsorted": "*i32", "lower": "*i64", "higher": "*i64"}, tile, {"num_warps": 1} | EXACT))
    found.append(Case("reach_kernel", pair_kernels.reach_kernel,
                      {"rows": "*i64", "starts": "*i64", "counts": "*i64", "ids": "*i32", "squares": "*fp64", "k_max": "i32",
                       "reach": "*fp64", "last": "*i32"}, tile, {"num_warps": 2} | EXACT))
    block, warps = {"BLOCK": components.BLOCK}, {"num_warps": components.WARPS} | EXACT
    ends = {"source": "*i64", "target": "*i64", "units": "*i64", "parent": "*i32", "edges": "i32"}
    found.append(Case("join_kernel", components.join_kernel, ends, block | {"units": None}, warps))
    found.append(Case("join_kernel, weighed", components.join_kernel, ends, block, warps))
    found.append(Case("root_kernel", components.root_kernel, {"parent": "*i32", "root": "*i32", "count": "i32"}, block, warps))
    return found


def _near(dim: int) -> list[Case]:
    types = {"low": "*fp32", "high": "*fp32", "first": "*i64", "near": "*i32", "count": "i32", "above": "fp32"}
    return [
        Case(f"near_kernel {dim} axes, {'fill' if fill else 'count'}", near.near_kernel,
             types if fill else types | {"near": "*i64"}, {"DIM": dim, "TILE": near.TILE, "FILL": fill},
             {"num_warps": near.WARPS} | EXACT)
        for fill in (False, True)
    ]


def _pairs(dim: int) -> list[Case]:
    types = {
        "coordinates": "*fp32", "ids": "*i32", "first": "*i64", "near": "*i32", "limit": "*fp64", "below": "fp32",
        "above": "fp32", "wanted": "*u8", "reach": "*fp64", "last": "*i32", "counts": "*i64", "starts": "*i64",
        "found_ids": "*i32", "found_squares": "*fp64",
    }  # fmt: skip
    found = []
    for both, nearest in ((False, False), (False, True), (True, False)):
        for fill in (False, True):
            absent = ["starts", "found_ids"] if not fill else ["counts"]
            absent += ["wanted"] if not both else []
            absent += ["found_squares"] if not (both and fill) else []
            absent += ["reach", "last"] if not nearest else []
            form = {"DIM": dim, "LANES": order.LANES, "BOTH": both, "NEAREST": nearest, "FILL": fill}
            kind = "neighbours" if both else "nearest pairs" if nearest else "pairs"
            found.append(Case(f"pair_kernel {dim} axes, {kind}, {'fill' if fill else 'count'}", pair_kernels.pair_kernel, types,
                              form | dict.fromkeys(absent), {"num_warps": 1} | EXACT))
    return found
