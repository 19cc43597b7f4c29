"""Writing LLVM code in few words: vectors of float32, loops, loads and stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.rounding import rounded

VOID, FLOAT, INT32, INT64, POINTER = ir.VoidType(), ir.FloatType(), ir.IntType(32), ir.IntType(64), ir.PointerType()
INT16 = ir.IntType(16)
Value = Any  # llvmlite has no types


class _BFloat(ir.Type):  # type: ignore[misc]
    """bfloat16, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


class Module:
    """Functions in the making. `key` names a function by what it does and its shapes, so that each is written once."""

    def __init__(self, target: Host) -> None:
        self.target = target
        self.lanes = target.lanes
        self.vector = ir.VectorType(FLOAT, target.lanes)
        self.ints = ir.VectorType(INT32, target.lanes)
        self._module = ir.Module()
        self._functions: dict[str, Any] = {}

    def __str__(self) -> str:
        return str(self._module)

    def function(
        self, key: str, arguments: Sequence[Any], body: Callable[[Code, Sequence[Value]], None], public: bool = False
    ) -> Any:
        """Return the function `key`; `body` writes it if it is not there yet. Pointers in `arguments` do not overlap."""
        if key not in self._functions:
            made = ir.Function(self._module, ir.FunctionType(VOID, arguments), key)
            if not public:
                made.linkage = "internal"
                made.attributes.add("noinline")
            for argument in made.args:
                if argument.type == POINTER and not public:
                    argument.add_attribute("noalias")
            self._functions[key] = made
            code = Code(self, ir.IRBuilder(made.append_basic_block()))
            body(code, made.args)
            code.b.ret_void()
        return self._functions[key]

    def intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        """Return an LLVM intrinsic by its full name."""
        if name not in self._functions:
            self._functions[name] = ir.Function(self._module, ir.FunctionType(result, arguments), name)
        return self._functions[name]


class Code:
    """Appends instructions to a function. Offsets count float32 numbers unless a method says otherwise."""

    def __init__(self, module: Module, builder: Any) -> None:
        self.module = module
        self.b = builder
        self.lanes = module.lanes
        self.vector = module.vector
        self._suffix = f"v{module.lanes}f32"

    def integer(self, value: int) -> Value:
        """Return an int64 constant."""
        return ir.Constant(INT64, value)

    def number(self, value: float) -> Value:
        """Return a vector of one float32 constant."""
        return ir.Constant(self.vector, [ir.Constant(FLOAT, _float32(value))] * self.lanes)

    def ints(self, value: int) -> Value:
        """Return a vector of one int32 constant."""
        return ir.Constant(self.module.ints, [ir.Constant(INT32, value)] * self.lanes)

    def at(self, base: Value, offset: Value | int, kind: Any = FLOAT) -> Value:
        """Return the pointer `offset` elements behind `base`."""
        return self.b.gep(base, [self.integer(offset) if isinstance(offset, int) else offset], source_etype=kind)

    def load(self, base: Value, offset: Value | int = 0) -> Value:
        """Return a vector from memory, aligned or not."""
        return self.b.load(self.at(base, offset), typ=self.vector, align=4)

    def store(self, value: Value, base: Value, offset: Value | int = 0) -> None:
        """Write a vector to memory."""
        self.b.store(value, self.at(base, offset), align=4)

    def scalar(self, base: Value, offset: Value | int, kind: Any = FLOAT) -> Value:
        """Return one element from memory."""
        return self.b.load(self.at(base, offset, kind), typ=kind)

    def index(self, base: Value, offset: Value | int) -> Value:
        """Return an int32 from memory as int64."""
        return self.b.sext(self.scalar(base, offset, INT32), INT64)

    def splat(self, value: Value) -> Value:
        """Return a vector of one float32 value."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        one = self.b.insert_element(nothing, value, ir.Constant(INT32, 0))
        return self.b.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes))

    def one(self, base: Value, offset: Value | int) -> Value:
        """Return a vector of one float32 number from memory."""
        return self.splat(self.scalar(base, offset))

    def first(self, value: Value, real: int) -> Value:
        """Return the first `real` lanes, 0 in the others."""
        if real >= self.lanes:
            return value
        mask = ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), [int(lane < real) for lane in range(self.lanes)])
        return self.b.select(mask, value, self.number(0.0))

    def pairs(self, base: Value, offset: Value | int) -> Value:
        """Return a vector of pairs of bfloat16 numbers, each pair an int32; the offset counts pairs."""
        return self.b.load(self.at(base, offset, INT32), typ=self.module.ints, align=4)

    def one_pair(self, base: Value, offset: Value | int) -> Value:
        """Return a vector of one pair of bfloat16 numbers."""
        nothing = ir.Constant(self.module.ints, ir.Undefined)
        one = self.b.insert_element(nothing, self.scalar(base, offset, INT32), ir.Constant(INT32, 0))
        return self.b.shuffle_vector(one, nothing, ir.Constant(self.module.ints, [0] * self.lanes))

    def dot(self, a: Value, b: Value, c: Value) -> Value:
        """Return c + a0 * b0 + a1 * b1 in float32, lane by lane, of vectors of pairs."""
        kind = ir.VectorType(_BFloat(), 2 * self.lanes)
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * self.lanes}"
        function = self.module.intrinsic(name, self.vector, [self.vector, kind, kind])
        return self.b.call(function, [c, self.b.bitcast(a, kind), self.b.bitcast(b, kind)])

    def store_rounded(self, value: Value, base: Value, offset: Value | int) -> None:
        """Write a vector in the precision of hidden layers: as bfloat16, or as float32 numbers that are rounded to it."""
        if not self.module.target.pairs:
            self.store(rounded(self, value, self.module.target.precision), base, offset)
            return
        narrow = self.b.fptrunc(value, ir.VectorType(_BFloat(), self.lanes))
        self.b.store(narrow, self.at(base, offset, INT16), align=2)

    def call(self, name: str, *values: Value) -> Value:
        """Return the vector intrinsic llvm.`name` of vectors."""
        kinds = [value.type for value in values]
        return self.b.call(self.module.intrinsic(f"llvm.{name}.{self._suffix}", self.vector, kinds), list(values))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Return a * b + c, in one rounding where the processor can."""
        return self.call("fmuladd", a, b, c)

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        return self.b.fadd(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """Return a - b."""
        return self.b.fsub(a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """Return a * b."""
        return self.b.fmul(a, b)

    def div(self, a: Value, b: Value) -> Value:
        """Return a / b."""
        return self.b.fdiv(a, b)

    def total(self, value: Value) -> Value:
        """Return the sum of a vector's elements, a float32 scalar."""
        kind = [FLOAT, self.vector]
        function = self.module.intrinsic(f"llvm.vector.reduce.fadd.{self._suffix}", FLOAT, kind)
        return self.b.call(function, [ir.Constant(FLOAT, -0.0), value], fastmath=("reassoc",))

    def loop(self, start: Value, stop: Value, step: int, body: Callable[[Value], None]) -> None:
        """Run `body` for start, start + step … below `stop`."""

        def turn(index: Value, _: list[Value]) -> Sequence[Value]:
            body(index)
            return []

        self.reduce(start, stop, step, [], turn)

    def reduce(
        self, start: Value, stop: Value, step: int, first: Sequence[Value], body: Callable[[Value, list[Value]], Sequence[Value]]
    ) -> list[Value]:
        """Run `body` as in `loop`, handing on values from one turn to the next; return the last ones."""
        function, before = self.b.function, self.b.block
        head, inside, after = (function.append_basic_block() for _ in range(3))
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(INT64)
        index.add_incoming(start, before)
        carried = [self.b.phi(value.type) for value in first]
        for phi, value in zip(carried, first, strict=True):
            phi.add_incoming(value, before)
        self.b.cbranch(self.b.icmp_signed("<", index, stop), inside, after)
        self.b.position_at_end(inside)
        new = body(index, list(carried))
        index.add_incoming(self.b.add(index, self.integer(step)), self.b.block)
        for phi, value in zip(carried, new, strict=True):
            phi.add_incoming(value, self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)
        return carried


def _float32(value: float) -> float:
    import numpy as np

    return float(np.float32(value))
