"""The targets at 10^5 hits, each with what was measured; "not measured" where a part was left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Found = dict[str, Any]
HITS = 100_000
HALF = "bf16"


def _stage_row(found: Found, wide: bool, precision: str, hits: int = HITS) -> Found | None:
    rows = [row for row in found.get("stages", []) if row["wide"] == wide and row["precision"] == precision
            and "error" not in row]
    near = [row for row in rows if abs(row["hits"] - hits) <= hits // 100]
    return near[0] if near else None


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
    def judge(found: Found) -> tuple[float, float] | None:
        rows = [row for row in found.get("alone", []) if row["what"] == what and abs(row["hits"] - HITS) <= HITS // 100]
        return (1e3 * rows[0]["seconds"], limit) if rows else None

    return judge


def _filter_rate(wide: bool) -> Callable[[Found], tuple[float, float] | None]:
    def judge(found: Found) -> tuple[float, float] | None:
        row = _stage_row(found, wide, HALF)
        return None if row is None or "filter" not in row else (-100.0 * row["filter"]["of_matrix_rate"], -50.0)

    return judge


def _spread(found: Found) -> tuple[float, float] | None:
    """Return the slowest over the fastest time per candidate of sizes from 10^5 on."""
    times = [row["ns_per_candidate"] for row in found.get("stages", [])
             if row.get("ns_per_candidate") and not row["wide"] and row["precision"] == "mixed" and row["hits"] >= 0.99 * HITS]
    return (max(times) / min(times), 1.15) if len(times) > 1 else None


def _ratio(peer: str, factor: float) -> Callable[[Found], tuple[float, float] | None]:
    """Return the judge of how much faster our GNN is than a peer's in the same precision, on the first bundle."""
    def judge(found: Found) -> tuple[float, float] | None:
        rows = [row for row in found.get("networks", []) if row["stage"] == "gnn" and abs(row["hits"] - HITS) <= HITS // 100]
        first = rows[0]["folder"] if rows else ""
        taken = {row["way"]: row["seconds"] for row in rows if row["folder"] == first}
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
    """Return every target with what was measured of it, met or not; None where nothing was."""
    rows = []
    for name, unit, judge in TARGETS:
        seen = judge(found)
        row: Found = {"target": name, "unit": unit, "measured": None, "limit": None, "met": None}
        if seen is not None:
            row |= {"measured": abs(seen[0]), "limit": abs(seen[1]), "at_least": seen[1] < 0.0, "met": seen[0] <= seen[1]}
        rows.append(row)
    return rows


def table(rows: list[Found]) -> str:
    """Return the targets as lines."""
    lines = []
    for row in rows:
        if row["measured"] is None:
            lines.append(f"  not measured  {row['target']}")
            continue
        sign = "at least" if row["at_least"] else "at most"
        lines.append(f"  {'met' if row['met'] else 'MISSED':12}  {row['target']}: {row['measured']:.3g} {row['unit']}, "
                     f"{sign} {row['limit']:g} wanted")
    return "\n".join(["targets at 10^5 hits", *lines])
