"""Instructions that the fused kernels take for a row, counted in machine code for a GPU that need not be there.

    python benchmarks/gpu_instructions.py --precisions bf16 fp16 tf32 fp32 --out FILE.json

Kernels are compiled for sm_90 and disassembled. What is counted is what a multiprocessor has to issue: it starts 4 instructions
of a warp in a cycle, and takes 2 cycles for a special function of a warp (16 lanes). With the multiprocessors and the clock of
an H200 that is the least time of a row: arithmetic, not a measurement. Loops are counted once: with them it is more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import triton

from trkx.runtime.cuda.builds import Case, assembly, compiled_case, instructions, resources
from trkx.runtime.cuda.network_builds import chain_cases

HOPPER = 90
MULTIPROCESSORS, CLOCK = 132, 1.755e9  # of an H200
ISSUED, SPECIAL = 4, 0.5  # instructions of a warp in a cycle


def counted(case: Case) -> dict[str, Any]:
    """Return what a row of a launch takes: instructions of a warp, by kind, and nanoseconds at least on a whole H200."""
    made = compiled_case(case, HOPPER)
    code = made.asm["cubin"]
    found, used = instructions(code), resources(code, case.name)
    a_row = case.options["num_warps"] / case.constants["TILE"]
    every = sum(found.values()) * a_row
    special = sum(count for name, count in found.items() if name.startswith("MUFU")) * a_row
    rate = MULTIPROCESSORS * CLOCK
    return {
        "kernel": case.name, "rows": case.constants["TILE"], "warps": case.options["num_warps"], "registers": used["REG"],
        "stack": used["STACK"], "shared": made.metadata.shared, "loops": _loops(assembly(code)), "instructions": every,
        "special": special, "issue_ns": 1e9 * every / ISSUED / rate, "special_ns": 1e9 * special / SPECIAL / rate,
    }  # fmt: skip


def _loops(text: str) -> int:
    """Return how many jumps go back; the jump to itself behind the end is none."""
    count = 0
    for line in text.splitlines():
        words = line.split()
        if "BRA" in line and words and words[0].startswith("/*"):
            here = int(words[0].strip("/*"), 16)
            targets = [int(word.strip(";`()"), 16) for word in words[1:] if word.startswith("0x")]
            count += any(target < here for target in targets[:1])
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs="+", default=["bf16"])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [counted(case) for case in chain_cases(HOPPER, options.precisions)]
    print(f"{'kernel':30} {'rows':>4} {'warps':>5} {'registers':>9} {'instructions':>12} {'special':>7}  ns a row at least")
    for row in rows:
        loops = " and more: loops" if row["loops"] else ""
        print(f"{row['kernel']:30} {row['rows']:4} {row['warps']:5} {row['registers']:9} {row['instructions']:12.1f} "
              f"{row['special']:7.1f}  {max(row['issue_ns'], row['special_ns']):.3f}{loops}")
    if options.out:
        options.out.write_text(json.dumps({"architecture": HOPPER, "triton": triton.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
