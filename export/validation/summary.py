"""Rows in short: one line for each file and engine, with the check that came nearest to its tolerance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trkx.export.validation.report import Row, Status

SHORT = {
    "lint": "Lint", "graphs": "Graphs", "invariance": "Invariance", "repeatability": "Repeatability", "decisions": "Decisions",
    "acts": "ACTS, emulated",
    "tracks": "Tracks", "placement": "Placement", "memory": "Memory", "optimisers": "Optimisers", "weights": "Weights, features",
}
"""Names of groups where space is short."""
ORDER = {"failed": 0, "passed": 1, "not checked": 2}


@dataclass(frozen=True)
class Line:
    """Checks of one file by one engine: how many passed, failed, were not checked, and the one nearest to its tolerance."""

    file: str
    engine: str
    passed: int
    failed: int
    not_checked: int
    worst: Row | None

    @property
    def status(self) -> Status:
        """Return "failed" if any failed, "passed" if any passed, else "not checked"."""
        return "failed" if self.failed else "passed" if self.passed else "not checked"


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return rows with the failed first, then those passed, then those not checked; otherwise in the order given."""
    return sorted(rows, key=lambda row: ORDER[row.status])


def used(row: Row) -> float:
    """Return how much of its tolerance a row used, 1 is all; NaN where nothing was compared, infinity for NaN differences."""
    if row.difference is None or row.tolerance is None:
        return math.nan
    if not math.isfinite(row.difference):
        return math.inf
    if row.tolerance > 0.0:
        return row.difference / row.tolerance
    return 0.0 if row.difference == 0.0 else math.inf


def worst(rows: Sequence[Row]) -> Row | None:
    """Return the failed row, or else the row, that used most of its tolerance; None where none has numbers or failed."""
    failed = [row for row in rows if row.status == "failed"]
    with_numbers = [row for row in failed or rows if not math.isnan(used(row))]
    return max(with_numbers, key=used, default=failed[0] if failed else None)


def once(lines: Iterable[str], files: Iterable[str]) -> list[str]:
    """Return lines that differ in the name of a file alone as one line, with all the names."""
    longest = sorted(files, key=len, reverse=True)  # "tensorrt/gnn.onnx" holds "gnn.onnx"
    found: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        name = next((name for name in longest if f"{name}: " in line), "")
        before, _, after = line.partition(f"{name}: ") if name else (line, "", "")
        names = found.setdefault((before, after), [])
        if name not in names:
            names.append(name)
    return [before + (f"{', '.join(names)}: {after}" if names[0] else "") for (before, after), names in found.items()]


def share(row: Row | None) -> str:
    """Return how much of its tolerance a row used, in words for a table: "31 %", "12 times", "bitwise", "" for nothing."""
    part = math.nan if row is None else used(row)
    if math.isnan(part):
        return ""
    if row is not None and row.tolerance == 0.0 and part == 0.0:
        return "bitwise"
    if math.isinf(part):
        return "beyond"
    return f"{part:.0%}" if part < 10.0 else f"{part:.3g} times"


def summary(rows: Sequence[Row]) -> list[Line]:
    """Return one line for each (file or stage, engine), those that failed first; without any result last.

    A line without result stands for all files that an engine did not check.
    """
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.file or row.stage, row.engine), []).append(row)
    lines = [_line(file, engine, own) for (file, engine), own in found.items()]
    missing: dict[str, list[Line]] = {}
    for line in lines:
        if line.status == "not checked":
            missing.setdefault(line.engine, []).append(line)
    done = sorted((line for line in lines if line.status != "not checked"), key=lambda line: ORDER[line.status])
    return done + [
        Line(", ".join(one.file for one in own), engine, 0, 0, sum(one.not_checked for one in own), None)
        for engine, own in missing.items()
    ]


def _line(file: str, engine: str, rows: Sequence[Row]) -> Line:
    count = Counter(row.status for row in rows)
    return Line(file, engine, count["passed"], count["failed"], count["not checked"], worst(rows))
