"""What lint says: a rule, a finding, a subject."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import onnx

    from trkx.export.lint.archive import Archive
    from trkx.export.onnx_graph import Graph
    from trkx.export.targets import Target

Severity = Literal["error", "warning", "note"]
Kind = Literal["onnx", "torchscript", "aoti"]


@dataclass(frozen=True)
class Subject:
    """A file that was opened, read only.

    Attributes:
        path: the file; messages show it as it was given.
        kind: what it is, by its content, not by its name.
        target: what it is linted for.
        max_edges: largest number of edges that is expected of an event (for sizes of tensors).
        stage: "embedding", "filter" or "gnn" if known (from its metadata or its bundle), else "".
        expected: metadata that the file must carry, from its bundle; None for a file on its own.
        model, graph: of an ONNX file. `graph` is the main graph, with local functions replaced by their nodes where that can be
            done (`graph.model` has none then); `graph.all()` yields the bodies as well.
        archive: of a TorchScript or AOTInductor file.
    """

    path: Path
    kind: Kind
    target: Target
    max_edges: int
    stage: str = ""
    expected: dict[str, str] | None = None
    model: onnx.ModelProto | None = None
    graph: Graph | None = None
    archive: Archive | None = None


@dataclass(frozen=True)
class Remark:
    """What a rule's check yields. where: node, tensor or line. severity, fix: instead of the rule's own, if given."""

    message: str
    where: str = ""
    severity: Severity | None = None
    fix: str = ""


Check = Callable[[Subject], Iterable[Remark]]


@dataclass(frozen=True)
class Rule:
    """One fault that a file can have.

    Attributes:
        id: "TRKX" and three digits; never reused for something else.
        name: kebab-case, what SARIF and `--ignore` show.
        title: the fault in one line.
        severity: of its findings, unless a remark says otherwise. An error makes the exit code 1.
        kinds: the kinds of file that it reads.
        reason: why it matters, with what was seen.
        affected: versions of exporters and engines.
        fix: what the user does about it.
        link: where to read more.
        check: yields a remark for each place; yields nothing for a file (or target) that is fine.
    """

    id: str
    name: str
    title: str
    severity: Severity
    kinds: tuple[Kind, ...]
    reason: str
    affected: str
    fix: str
    link: str
    check: Check


@dataclass(frozen=True)
class Finding:
    """One remark about one file. `unreadable` files give a finding of rule TRKX000."""

    rule: Rule
    file: str
    message: str
    where: str
    severity: Severity
    fix: str
    extra: dict[str, str] = field(default_factory=dict)
