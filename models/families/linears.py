"""Linear layers that stand under names of their own instead of in a Sequential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, takewhile

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.reading import Absent, Mismatch


@dataclass(frozen=True)
class Linears:
    """Linear layers in the order of the forward.

    inputs: columns that the first takes; weights: key in our chain to key of the file.
    """

    inputs: int
    widths: tuple[int, ...]
    weights: dict[str, str]


def numbered(checkpoint: Checkpoint, prefix: str) -> list[str]:
    """Return `prefix.0`, `prefix.1`, … as far as the file has their weights."""
    return list(takewhile(lambda name: f"{name}.weight" in checkpoint.shapes, (f"{prefix}.{place}" for place in count())))


def linears_of(checkpoint: Checkpoint, names: Sequence[str]) -> Linears:
    """Return Linear layers with biases, each taking what the one before gives.

    Raises:
        Mismatch: a tensor is absent or of another shape.
    """
    widths: list[int] = []
    weights: dict[str, str] = {}
    inputs = 0
    for place, name in enumerate(names):
        weight, bias = (checkpoint.shapes.get(f"{name}.{end}") for end in ("weight", "bias"))
        if weight is None or bias is None:
            raise Absent(f"no Linear '{name}'")
        taken = widths[-1] if widths else weight[-1] if weight else 0
        if len(weight) != 2 or weight[1] != taken or bias != (weight[0],):
            raise Mismatch(f"'{name}' has shapes {list(weight)} and {list(bias)}, expected [width, {taken}] and [width]")
        inputs = inputs or taken
        widths.append(weight[0])
        weights |= {f"linears.{place}.{end}": f"{name}.{end}" for end in ("weight", "bias")}
    return Linears(inputs, tuple(widths), weights)
