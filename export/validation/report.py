"""What a validation says: rows that passed, failed or were not checked, and the numbers behind its plots."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "not checked"]
GROUPS = {
    "lint": "Lint",
    "graphs": "Against the float64 network, on graphs made to find faults",
    "invariance": "Without any reference: permuted edges, edges listed twice, relabelled hits",
    "repeatability": "The same bits on every run and thread count",
    "decisions": "Edges that change sides of the cut",
    "acts": "As ACTS's plugin runs it, emulated",
    "tracks": "Tracks of events",
    "placement": "Where each operator ran",
    "memory": "Peak memory",
    "optimisers": "Before and after every optimiser",
    "weights": "Weights and features",
}
"""Groups of rows, in the order of the report, with the heading that a reader sees."""


@dataclass(frozen=True)
class Row:
    """One check.

    Attributes:
        group: a key of GROUPS.
        stage: "embedding", "filter", "gnn", "pipeline" for whole events, "all" for weights.
        file: relative path in the bundle, or "" if it is about no single file.
        engine: e.g. "ONNX Runtime CPU, 2 threads", "TorchScript", "TensorRT".
        case: graph, event or what was varied.
        status: "not checked" for what could not be run here; `detail` then says why.
        difference, tolerance: of the output farthest beyond (or nearest to) its tolerance; None where nothing is compared.
        detail: one sentence; for a failure what was found, what was expected, what to do.
    """

    group: str
    stage: str
    file: str
    engine: str
    case: str
    status: Status
    difference: float | None = None
    tolerance: float | None = None
    detail: str = ""

NO_RUNTIME = ("emulated ", "float64", "onnx reference evaluator")
"""How engines are called that stand in for those that users run."""


def overwrote(names: Collection[str]) -> str:
    """Return what a row says of scatters without reduction, where nothing but the file itself was there to compare with."""
    listed = ", ".join(f"'{name}'" for name in sorted(names)[:5]) + (", …" if len(names) > 5 else "")
    who = f"{listed} overwrites" if len(names) == 1 else f"{len(names)} scatters overwrite ({listed})"
    return f"{who}, and two updates met: right for a mask or an assignment, wrong for a sum or a count"


@dataclass(frozen=True)
class EdgeScores:
    """Scores of the edges of one event by one file, beside the float64 network's: what the plots of decisions show.

    Arrays are plain lists of at most some ten thousand numbers (drawn at random, always with every flip among them).
    exact, found: logits. band: half width in logit, around the cut, within which float32 may flip an edge.
    """

    stage: str
    file: str
    engine: str
    event: str
    cut: float
    edges: int
    flips: int
    flips_outside: int
    exact: Sequence[float]
    found: Sequence[float]
    band: float


@dataclass(frozen=True)
class Efficiency:
    """Efficiency in bins of a variable, for the float64 pipeline and for the files, with 68 % intervals.

    series: name of the pipeline ("float64 network", "onnxruntime", …) to {"value": [...], "low": [...], "high": [...]}.
    edges: bin edges, one more than values.
    """

    variable: str
    unit: str
    edges: Sequence[float]
    series: Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Report:
    """A whole validation. `passed` is False if a single row failed; rows that were not checked are counted, never as passed."""

    title: str
    subject: str
    rows: Sequence[Row]
    scores: Sequence[EdgeScores] = ()
    efficiencies: Sequence[Efficiency] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    """Versions, machine, event files, seeds, time: name to value, for the head of the report."""

    @property
    def passed(self) -> bool:
        """Whether no row failed and at least one passed."""
        return not any(row.status == "failed" for row in self.rows) and any(row.status == "passed" for row in self.rows)

    def counts(self) -> dict[str, int]:
        """Return the number of rows with each status."""
        return {status: sum(row.status == status for row in self.rows) for status in ("passed", "failed", "not checked")}

    @property
    def not_run(self) -> tuple[str, ...]:
        """Files that no engine here could load, whatever else of them was checked: bfloat16 on a CPU, for one."""
        tried = [row for row in self.rows if row.group == "graphs" and row.engine and not row.engine.startswith(NO_RUNTIME)]
        ran = {row.file for row in tried if row.status != "not checked" or row.difference is not None}
        return tuple(dict.fromkeys(row.file for row in tried if row.file and row.file not in ran))

    def verdict(self) -> str:
        """Return the counts in words, with the files that were run by no engine here."""
        counted = ", ".join(f"{number} {status}" for status, number in self.counts().items())
        return f"{counted}; run by no engine here: {', '.join(self.not_run)}" if self.not_run else counted

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers for JSON (NaN and infinity become None)."""
        plain: dict[str, Any] = _finite({
            **asdict(self), "passed": self.passed, "counts": self.counts(), "not_run": list(self.not_run),
        })
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value
