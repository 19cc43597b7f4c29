"""The benchmarks as rows: the word of `trkx bench`, and the function that measures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from trkx.errors import SpecError, unknown_name
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row, table
from trkx.runtime.bench.roofline import Rates
from trkx.tables import FittedTable


@dataclass(frozen=True)
class Benchmark:
    """One row. module, function: (Options) to list[Row]. rooflined: whether its rows count operations.

    device_module: of its form for a GPU, with the same function; "" if it has none. A module with a function `tables` ((rows,
    title) to tables) is printed by it instead of by the common table. alone: it has made-up graphs and needs neither bundle nor
    events. made_up: `--synthetic` takes the place of events.
    """

    name: str
    module: str
    function: str
    rooflined: bool
    device_module: str = ""
    alone: bool = False
    made_up: bool = False

    def place(self, device: str) -> str:
        """Return the module for a device; SpecError if it has no form for a GPU and the device is one."""
        if device == "cpu":
            return self.module
        if not self.device_module:
            able = ", ".join(row.name for row in BENCHMARKS.values() if row.device_module)
            raise SpecError(
                f"trkx bench {self.name} has no form for a GPU; with --device there are: {able}. Networks and the pipeline on a "
                "GPU: benchmarks/gpu.py, or the table of stages of trkx run --engine triton."
            )
        return self.device_module

    def ready(self, options: Options) -> None:
        """See that what it needs was given, before anything is measured; SpecError if not, or for an unknown case."""
        if not self.alone:
            options.needed_bundle()
            if not (self.made_up and options.synthetic):
                options.needed_events(", or --synthetic for a made-up graph" if self.made_up else "")
        known: Callable[[], tuple[str, ...]] = importlib.import_module(self.place(options.device)).known_cases
        options.wanted(known())

    def rows(self, options: Options) -> list[Row]:
        """Measure, on the device of the options; SpecError where it has no form for that."""
        module = importlib.import_module(self.place(options.device))
        return cast(Callable[[Options], list[Row]], getattr(module, self.function))(options)

    def tables(self, rows: Sequence[Row], title: str, rates: Rates | None, device: str = "cpu") -> list[FittedTable]:
        """Return what is printed."""
        own = getattr(importlib.import_module(self.place(device)), "tables", None)
        return [table(rows, title, rates)] if own is None else cast(list[FittedTable], own(rows, title))


BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark("neighbours", "trkx.runtime.bench.neighbours", "rows", False, "trkx.runtime.bench.device_neighbours"),
        Benchmark("filter", "trkx.runtime.bench.networks", "filter_rows", True, made_up=True),
        Benchmark("gnn", "trkx.runtime.bench.networks", "gnn_rows", True, made_up=True),
        Benchmark("components", "trkx.runtime.bench.components", "rows", False, "trkx.runtime.bench.device_components", True),
        Benchmark("pipeline", "trkx.runtime.bench.whole", "rows", False),
        Benchmark("ladder", "trkx.runtime.bench.ladder", "rows", False, "trkx.runtime.bench.device_ladder"),
    )
}


def benchmark(name: str) -> Benchmark:
    """Return a row; SpecError for an unknown name."""
    if name not in BENCHMARKS:
        raise SpecError(unknown_name("benchmark", name, BENCHMARKS))
    return BENCHMARKS[name]
