"""What repair says: a change that was made, a change that can't be proven, and what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx

from trkx.export.lint.doors import Doors, doors_of
from trkx.export.lint.finding import Subject
from trkx.export.onnx_graph import Graph
from trkx.export.targets import Target


@dataclass(frozen=True)
class Change:
    """One rewrite in one place.

    Attributes:
        rewrite: name of the row in `trkx.export.repair.table.REWRITES`.
        rule: id of the lint rule that it answers.
        where: node or tensor, as messages call it.
        what: what was changed.
        why: the proof that this is what was meant.
    """

    rewrite: str
    rule: str
    where: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.rule}; {self.why})"

    def to_dict(self) -> dict[str, str]:
        """Return plain values, as `pkg.trkx.repaired` holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Refusal:
    """A fault that was seen and not mended. why: what could not be proven. todo: what the user does instead."""

    rewrite: str
    rule: str
    where: str
    why: str
    todo: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why} ({self.rule}). {self.todo}"


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        target: where the file shall run.
        path: of the file, for messages.
        sums: scatter nodes (by name or first output) that the user declares to be sums: for those no proof is asked.
        keep_names: leave the names of inputs, outputs and axes as they are.
        stage: "embedding", "filter" or "gnn" if known, else "".
    """

    target: Target
    path: Path = Path("model.onnx")
    sums: frozenset[str] = frozenset()
    keep_names: bool = False
    stage: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a rewrite did to a model. meant: of the original's scatters, by output, "sum" or "mean" instead of what it says."""

    model: onnx.ModelProto
    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    meant: tuple[tuple[str, str], ...] = ()


Apply = Callable[[onnx.ModelProto, Request], Outcome]


@dataclass(frozen=True)
class Rewrite:
    """One row of the table.

    Attributes:
        name: what messages and metadata call it.
        rules: ids of the lint rules whose findings it mends.
        title: what it does, in one line.
        proof: what must hold in the graph before it is applied, in words.
        apply: takes a model, which it may change, and returns the outcome.
    """

    name: str
    rules: tuple[str, ...]
    title: str
    proof: str
    apply: Apply


def doors_in(model: onnx.ModelProto, request: Request, graph: Graph | None = None) -> Doors:
    """Return which input of a model is which of the contract's, for the request's stage."""
    graph = graph or Graph(model, infer=False)
    doors = doors_of(Subject(request.path, "onnx", request.target, 0, stage=request.stage, model=model, graph=graph))
    assert doors is not None  # only a subject without a model has none
    return doors
