"""The targets at 10^5 hits, each with what was measured; "not measured" where a part was left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Found = dict[str, Any]
HITS = 100_000
HALF = "bf16"
LARGEST = 500_000
"""Hits up to which the time per candidate must be the same."""


def _near(rows: list[Found], hits: int = HITS) -> list[Found]:
    """Return the rows of the size that is nearest to the wanted one, none beyond 1 % of it."""
    off = [abs(row["hits"] - hits) for row in rows]
    return [row for row, away in zip(rows, off, strict=True) if away == min(off) and away <= hits // 100]


def _of(found: Found, part: str, wide: bool) -> list[Found]:
    """Return the rows of a part that are of the reference bundle, or of that of the sizes of 2021."""
    return [row for row in found.get(part, []) if row.get("wide") is wide]


def _stage_row(found: Found, wide: bool, precision: str) -> Found | None:
    rows = _near([row for row in _of(found, "stages", wide) if row["precision"] == precision and "error" not in row])
    return rows[0] if rows else None


def _stage(name: str, limit: float) -> Callable[[Found], tuple[float, float] | None]:
    """Return the judge of a stage's milliseconds with the reference bundle."""
    def judge(found: Found) -> tuple[float, float] | None:
        row = _stage_row(found, False, "mixed")
        return None if row is None or name not in row["seconds"] else (1e3 * row["seconds"][name], limit)

    return judge


def _whole(wide: bool, limit: float) -> Callable[[Found], tuple[float, float] | None]:
    def judge(found: Found) -> tuple[float, float] | None:
        row = _stage_row(found, wide, "mixed")
        return None if row is None else (1e3 * row["total_seconds"], limit)

    return judge


def _memory(wide: bool) -> Callable[[Found], tuple[float, float] | None]:
    def judge(found: Found) -> tuple[float, float] | None:
        row = _stage_row(found, wide, "mixed")
        return None if row is None else (row["peak_bytes"] / 1e9, 2.0)

    return judge


def _alone(what: str, limit: float) -> Callable[[Found], tuple[float, float] | None]:
    """Return the judge of what is timed by itself with the reference bundle."""
    def judge(found: Found) -> tuple[float, float] | None:
        rows = _near([row for row in _of(found, "alone", False) if row["what"] == what])
        return (1e3 * rows[0]["seconds"], limit) if rows else None

    return judge


def _filter_rate(wide: bool) -> Callable[[Found], tuple[float, float] | None]:
    def judge(found: Found) -> tuple[float, float] | None:
        row = _stage_row(found, wide, HALF)
        return None if row is None or "filter" not in row else (-100.0 * row["filter"]["of_matrix_rate"], -50.0)

    return judge


def _spread(found: Found) -> tuple[float, float] | None:
    """Return the slowest over the fastest time per candidate of sizes from 10^5 to 5 x 10^5; infinite if one failed."""
    limit = 1.15
    rows = [row for row in _of(found, "stages", False) if row["precision"] == "mixed" and row["hits"] >= 0.99 * HITS]
    if any("error" in row for row in rows):
        return math.inf, limit
    if not _near(rows) or not any(row["hits"] >= 0.99 * LARGEST for row in rows):
        return None
    times = [float(row.get("ns_per_candidate") or 0.0) for row in rows]
    return (max(times) / min(times), limit) if all(times) else None


def _ratio(peer: str, factor: float) -> Callable[[Found], tuple[float, float] | None]:
    """Return the judge of how much faster our GNN is than a peer's in the same precision, with the reference bundle."""
    def judge(found: Found) -> tuple[float, float] | None:
        rows = _near([row for row in _of(found, "networks", False) if row["stage"] == "gnn" and "error" not in row])
        taken = {row["way"]: row["seconds"] for row in rows}
        ours = taken.get(f"trkx {HALF}")
        return None if ours is None or peer not in taken else (-taken[peer] / ours, -factor)

    return judge


TARGETS: tuple[tuple[str, str, Callable[[Found], tuple[float, float] | None]], ...] = (
    ("neighbours", "ms", _alone("neighbours, trkx", 5.0)),
    ("components", "ms", _alone("components, trkx", 1.0)),
    ("labelling of the pipeline (contraction)", "ms", _stage("labelling", 1.0)),
    ("filter, reference, of the bf16 matrix rate", "%", _filter_rate(False)),
    ("filter, sizes of 2021, of the bf16 matrix rate", "%", _filter_rate(True)),
    ("GNN, reference, mixed", "ms", _stage("gnn", 10.0)),
    ("event, reference, mixed", "ms", _whole(False, 30.0)),
    ("event, sizes of 2021, mixed", "ms", _whole(True, 100.0)),
    ("memory, reference", "GB", _memory(False)),
    ("memory, sizes of 2021", "GB", _memory(True)),
    ("time per candidate, 10^5 hits and more, slowest to fastest", "times", _spread),
    ("GNN against eager AMP", "times", _ratio("PyTorch eager AMP bf16", 3.0)),
    ("GNN against torch.compile", "times", _ratio("torch.compile bf16", 2.0)),
)
"""Name, unit, and what finds (measured, limit): at most the limit is met; both negative where more is better."""


def judged(found: Found) -> list[Found]:
    """Return every target with what was measured of it, met or not; None where nothing was. One that failed is missed."""
    rows = []
    for name, unit, judge in TARGETS:
        seen = judge(found)
        row: Found = {"target": name, "unit": unit, "measured": None, "limit": None, "met": None}
        if seen is not None:
            measured = abs(seen[0]) if math.isfinite(seen[0]) else None
            row |= {"measured": measured, "limit": abs(seen[1]), "at_least": seen[1] < 0.0, "met": seen[0] <= seen[1]}
        rows.append(row)
    return rows


def table(rows: list[Found]) -> str:
    """Return the targets as lines."""
    lines = []
    for row in rows:
        if row["measured"] is None:
            failed = row["met"] is False
            lines.append(f"  {'MISSED' if failed else 'not measured':12}  {row['target']}{': a size failed' * failed}")
            continue
        sign = "at least" if row["at_least"] else "at most"
        lines.append(f"  {'met' if row['met'] else 'MISSED':12}  {row['target']}: {row['measured']:.3g} {row['unit']}, "
                     f"{sign} {row['limit']:g} wanted")
    return "\n".join(["targets at 10^5 hits", *lines])
