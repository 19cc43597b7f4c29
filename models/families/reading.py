"""What a family of networks is, and what it makes of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.spec import AnyEmbedding, AnyFilter, AnyGNN


class Mismatch(Exception):  # noqa: N818 - no fault, a network is just another one
    """A checkpoint is not of this family; the message says why."""


class Absent(Mismatch):
    """A checkpoint has no networks of this family's names: not worth telling where others come nearer."""


class Missing(Mismatch):
    """A checkpoint may be of this family, but a hyper-parameter that decides is missing; the message says which."""


@dataclass(frozen=True)
class Facts:
    """What a checkpoint says of its pipeline beside the network; None where it says nothing.

    Attributes:
        features: names of the columns of x, in order, without prefixes ("r", not "hit_r").
        scales: what each feature is divided by.
        radius: of the graph, in units of the embedding.
        k_max: neighbours that a hit keeps, itself not counted.
        cut: score that an edge must exceed.
        undirected: whether the network was trained on edges in both directions.
    """

    features: tuple[str, ...] | None = None
    scales: tuple[float, ...] | None = None
    radius: float | None = None
    k_max: int | None = None
    cut: float | None = None
    undirected: bool | None = None


@dataclass(frozen=True)
class Reading:
    """A checkpoint as a network of ours.

    Attributes:
        family: name of the row that read it.
        stage: "embedding", "filter" or "gnn".
        spec: of the stage. Its `features` are None: the pipeline decides them.
        weights: key of our module to key of the file. Several of ours may come from one (shared norms).
        inputs: columns of x.
        facts: for the pipeline.
        assumed: what was taken for granted, one sentence each.
        certain: the hyper-parameters name this class, so that look-alikes of other families are out.
    """

    family: str
    stage: str
    spec: AnyEmbedding | AnyFilter | AnyGNN
    weights: Mapping[str, str]
    inputs: int
    facts: Facts = Facts()
    assumed: tuple[str, ...] = ()
    certain: bool = False


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: the word that `--family` takes.
        stage: "embedding", "filter" or "gnn".
        title: code base and class, for people.
        forward: what it computes that its look-alikes do not, in one line.
        read: returns what it makes of a checkpoint (several if the file leaves something open), or raises Mismatch.
        page: its page in docs/families.
    """

    name: str
    stage: str
    title: str
    forward: str
    read: Callable[[Checkpoint], Sequence[Reading]]
    page: str
