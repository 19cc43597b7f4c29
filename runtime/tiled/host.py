"""The processor that code is made for: width of its vectors, number of its registers, and the compiler for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from trkx.runtime.precision import EXACT

_LOCK = threading.Lock()  # LLVM's compiler is not for two threads at once


@dataclass(frozen=True)
class Host:
    """What kernels need to know of a processor.

    lanes: float32 numbers in a vector register. registers: vector registers. name, features: as LLVM calls them. precision:
    what hidden layers read of states and weights is rounded to it (trkx.runtime.precision); they sum in float32. has_dots:
    there are instructions for dot products of bfloat16; other roundings are computed in float32, no faster than that.
    """

    lanes: int
    registers: int
    name: str
    features: str
    precision: str = EXACT
    has_dots: bool = False

    @property
    def rounds(self) -> bool:
        """Whether hidden layers read anything but float32."""
        return self.precision != EXACT

    @property
    def pairs(self) -> bool:
        """Whether they read pairs of bfloat16 numbers."""
        return self.precision == "bf16" and self.has_dots


@cache
def host(precision: str = EXACT) -> Host:
    """Return this machine's processor."""
    there = {name for name, has in llvm.get_host_cpu_features().items() if has}
    name, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    if "avx512f" in there:
        return Host(16, 32, name, features, precision, "avx512bf16" in there)
    if "avx" in there:
        return Host(8, 16, name, features, precision)
    return Host(4, 32 if "neon" in there else 16, name, features, precision)


class MachineCode:
    """Compiled functions; they live as long as this object."""

    def __init__(self, text: str, target: Host) -> None:
        with _LOCK:
            llvm.initialize_native_target()
            llvm.initialize_native_asmprinter()
            module = llvm.parse_assembly(text)
            module.verify()
            triple = llvm.Target.from_default_triple()
            machine = triple.create_target_machine(cpu=target.name, features=target.features, opt=3)
            builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
            builder.getModulePassManager().run(module, builder)
            self._engine: Any = llvm.create_mcjit_compiler(module, machine)
            self._engine.finalize_object()

    def address(self, name: str) -> int:
        """Return where a function begins."""
        return int(self._engine.get_function_address(name))
