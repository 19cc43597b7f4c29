"""Programs: phases that pass over the rows of an event tile by tile, compiled to machine code and run by many threads."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import Crew
from trkx.runtime.tiled.emit import FLOAT, INT64, POINTER, Code, Module, Value
from trkx.runtime.tiled.gemm import ROWS
from trkx.runtime.tiled.host import Host, MachineCode, host

LINE = 64  # bytes
CHUNKS = 8  # for each thread: the slowest is then late by an eighth at most

Arrays = Mapping[str, NDArray[Any]]


def aligned(rows: int, stride: int, kind: type[np.generic] = np.float32) -> NDArray[Any]:
    """Return an array [rows, stride], not filled, that starts at a cache line and has room for ROWS more rows behind it."""
    size = (rows + ROWS) * stride * np.dtype(kind).itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].view(kind).reshape(rows + ROWS, stride)[:rows]


class Tile:
    """The rows that a phase works on at one moment, while its code is written. Arrays go by name and are bound when it runs."""

    def __init__(self, program: Program, phase: str, code: Code, table: Value, start: Value, rows: Value, scratch: Value) -> None:
        self.program = program
        self._phase = phase
        self.module = program.module
        self.code = code
        self.rows = rows
        self._table = table
        self._start = start
        self._scratch = scratch
        self._size = program.tile
        self._used = 0

    def whole(self, name: str) -> Value:
        """Return the pointer to the first element of an array."""
        b = self.code.b
        return b.inttoptr(self.code.scalar(self._table, self.program.slot(name, self._phase), INT64), POINTER)

    def row(self, name: str, stride: int = 1, kind: Any = FLOAT) -> Value:
        """Return the pointer to the tile's first row of an array with rows of `stride` elements."""
        return self.code.at(self.whole(name), self.code.b.mul(self._start, self.code.integer(stride)), kind)

    def scratch(self, stride: int) -> Value:
        """Return memory for the tile's rows that other threads don't see; filled with what was there before."""
        return self.reserve((self._size + ROWS) * stride)

    def reserve(self, count: int) -> Value:
        """Return memory for `count` float32 numbers, as `scratch`."""
        place = self.code.at(self._scratch, self._used)
        self._used += count
        self.program.scratch = max(self.program.scratch, self._used)
        return place

    def call(self, function: Value, *values: Value) -> None:
        """Call a function of this module."""
        self.code.b.call(function, list(values))


class Program:
    """Phases under construction. tile: rows of a tile, a multiple of ROWS."""

    def __init__(self, tile: int, target: Host | None = None) -> None:
        self.target = target or host()
        self.module = Module(self.target)
        self.tile = tile
        self.scratch = 0
        self._slots: dict[str, int] = {}
        self._reads: dict[str, set[str]] = {}

    def slot(self, name: str, phase: str) -> int:
        """Return the place of an array in the table that phases read, and note that `phase` reads it."""
        self._reads[phase].add(name)
        return self._slots.setdefault(name, len(self._slots))

    def phase(self, name: str, write: Callable[[Tile], None]) -> None:
        """Add a phase; `write` writes what it does with one tile."""

        def body(code: Code, arguments: Sequence[Value]) -> None:
            table, first, last, scratch = arguments

            def tile(start: Value) -> None:
                left = code.b.sub(last, start)
                whole = code.integer(self.tile)
                rows = code.b.select(code.b.icmp_signed("<", left, whole), left, whole)
                write(Tile(self, name, code, table, start, rows, scratch))

            code.loop(first, last, self.tile, tile)

        self._reads[name] = set()
        self.module.function(name, [POINTER, INT64, INT64, POINTER], body, public=True)

    def compiled(self) -> Compiled:
        """Return the phases as machine code."""
        return Compiled(MachineCode(str(self.module), self.target), self._reads, self._slots, self.scratch, self.tile)


_PHASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)  # lets go of the GIL


class Compiled:
    """Phases that can run, from many threads at once: all that changes is in the arrays that a call brings."""

    def __init__(
        self, machine: MachineCode, reads: Mapping[str, set[str]], slots: Mapping[str, int], scratch: int, tile: int
    ) -> None:
        self._machine = machine  # owns the memory of the code
        self._phases = {name: _PHASE(machine.address(name)) for name in reads}
        self._reads = reads
        self._slots = slots
        self._scratch = scratch
        self.tile = tile

    def _table(self, phase: str, arrays: Arrays) -> NDArray[np.int64]:
        """Return the addresses of the arrays that a phase reads, by slot; they must outlive the run. KeyError if one lacks."""
        table = np.zeros(max(len(self._slots), 1), np.int64)
        for name in self._reads[phase]:
            table[self._slots[name]] = arrays[name].ctypes.data
        return table

    def memory(self) -> NDArray[Any]:
        """Return what one thread needs to work in."""
        return aligned(-(-self._scratch // LINE) + 1, LINE)

    def run(self, phase: str, arrays: Arrays, first: int, last: int, memory: NDArray[Any]) -> None:
        """Run a phase on rows [first, last) in this thread."""
        table = self._table(phase, arrays)
        self._phases[phase](table.ctypes.data, first, last, memory.ctypes.data)

    def run_all(self, phase: str, arrays: Arrays, bounds: Sequence[int], crew: Crew) -> None:
        """Run a phase on all rows, in pieces that end at `bounds` (0 first), by the crew's threads."""
        function, table = self._phases[phase], self._table(phase, arrays)
        pieces = list(itertools.pairwise(bounds))

        def piece(number: int, memory: NDArray[Any]) -> None:
            function(table.ctypes.data, *pieces[number], memory.ctypes.data)

        crew.work(len(pieces), piece, self.memory)


def even_bounds(rows: int, tile: int, threads: int) -> list[int]:
    """Return piece ends for rows that do not depend on each other: multiples of the tile, but for the last."""
    tiles = -(-rows // tile)
    each = max(1, -(-tiles // (CHUNKS * threads)))
    return [*range(0, rows, each * tile), rows] if rows else [0]
