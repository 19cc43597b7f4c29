"""What the rules for TorchScript and .pt2 files share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trkx.errors import ExportError
from trkx.export.lint.archive import Archive
from trkx.export.lint.finding import Remark, Subject

ACCUMULATING = frozenset(("index_add", "scatter_add", "index_reduce", "scatter_reduce", "segment_reduce"))
"""Operators that sum, or otherwise reduce, rows that share an index."""
ACTS = "https://github.com/acts-project/acts/tree/main/Plugins/Gnn"


def archive_of(subject: Subject) -> Archive:
    """Return the archive of a TorchScript or .pt2 file; ExportError for another kind of file."""
    if subject.archive is None:
        raise ExportError(f"{subject.path}: expected a TorchScript or AOTInductor file, found {subject.kind}.")
    return subject.archive


def scores_edges(subject: Subject) -> bool:
    """Return whether the model is a filter or GNN: by its stage, else by its reading an edge_index."""
    if subject.stage:
        return subject.stage != "embedding"
    forward = archive_of(subject).flow.forward
    return forward is not None and sum("Tensor" in kind for _, kind, _ in forward.arguments) > 1


def distinct(remarks: Iterable[Remark]) -> Iterator[Remark]:
    """Yield each remark once: code in loops and in shared modules is followed several times."""
    seen = set()
    for remark in remarks:
        if remark not in seen:
            seen.add(remark)
            yield remark
