"""The benchmarks as rows: the word of `trkx bench`, and the function that measures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from trkx.errors import SpecError, unknown_name
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row, table
from trkx.runtime.bench.roofline import Rates

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Benchmark:
    """One row. module, function: (Options) to list[Row]. rooflined: whether its rows count operations.

    A module with a function `tables` ((rows, title) to rich tables) is printed by it instead of by the common table.
    """

    name: str
    module: str
    function: str
    rooflined: bool

    def rows(self, options: Options) -> list[Row]:
        """Measure."""
        return cast(Callable[[Options], list[Row]], getattr(importlib.import_module(self.module), self.function))(options)

    def tables(self, rows: Sequence[Row], title: str, rates: Rates | None) -> list[Table]:
        """Return what is printed."""
        own = getattr(importlib.import_module(self.module), "tables", None)
        return [table(rows, title, rates)] if own is None else cast("list[Table]", own(rows, title))


BENCHMARKS: Mapping[str, Benchmark] = {
    row.name: row
    for row in (
        Benchmark("neighbours", "trkx.runtime.bench.neighbours", "rows", False),
        Benchmark("filter", "trkx.runtime.bench.networks", "filter_rows", True),
        Benchmark("gnn", "trkx.runtime.bench.networks", "gnn_rows", True),
        Benchmark("components", "trkx.runtime.bench.components", "rows", False),
        Benchmark("pipeline", "trkx.runtime.bench.whole", "rows", False),
        Benchmark("ladder", "trkx.runtime.bench.ladder", "rows", False),
    )
}


def benchmark(name: str) -> Benchmark:
    """Return a row; SpecError for an unknown name."""
    if name not in BENCHMARKS:
        raise SpecError(unknown_name("benchmark", name, BENCHMARKS))
    return BENCHMARKS[name]
