"""By how much rounding may move each output of a network: every operator is moved by its own a-priori bound, at random.

A float64 run is repeated a few times while a dispatch mode moves the result of every operator, element by element, by the
bound on what float32 can do there, with a random sign: (n - 1) u sum|terms| for a sum over the n edges of a hit, added one by
one (u = 2^-24, the unit roundoff); fewer units for other operators, see `trkx.export.validation.roundings`. Moves travel
through the rest of the network as rounding does. So a tolerance grows with degrees, depth, cancellation and the conditioning
of each output, and nothing in it is measured on the file that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trkx.export.validation.roundings import UNIT, Call, move_of

Float64 = NDArray[np.float64]

SAMPLES = 4
"""Runs with moved operators."""
TYPICAL = {SAMPLES: 0.9, 1: 0.999}
"""Samples to the quantile of a graph's moves that every output is granted.

A few samples leave the largest move of a single output small by chance, once in a thousand outputs and more often with fewer
samples; what is granted must cover that.
"""
FACTOR = 3.0
"""Tolerance over the largest move seen, of an output or of what its graph grants.

Random signs add up like a random walk, and so does real rounding, but with steps far below its bounds. Measured on the
reference networks and on tiny ones (torch 2.13, ONNX Runtime 1.32, TorchScript; 30 graphs, two lowerings), a right file uses
at most 0.2 of the tolerance. The rest is for engines that add in other orders.
"""
SUSPICIOUS = 1e-3
"""Moves above this fraction of the largest output (or 1) may come from copies of a graph that see each other."""
FLOOR = 4.0
"""Least tolerance, in units of float32's epsilon (2 u) times the largest output, or 1."""


class Arithmetic(TorchDispatchMode):
    """Runs operators in float64, also where a trace has float32 baked in, and moves their results if there is a generator."""

    def __init__(self, generator: torch.Generator | None = None, unit: float = UNIT[torch.float32]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = generator
        self.unit = unit

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run one operator."""
        named = dict(kwargs or {})
        if named.get("dtype") == torch.float32:
            named["dtype"] = torch.float64
        if self.generator is None:
            return func(*args, **named)
        mutates = func._schema.is_mutable
        before = [item.clone() if mutates and isinstance(item, Tensor) else item for item in args]
        result = func(*args, **named)
        first = result[0] if isinstance(result, tuple | list) and result else result
        if not isinstance(first, Tensor) or not first.is_floating_point() or not first.numel():
            return result
        move = move_of(Call(func, before, named, first, self._signs))
        if move is None:
            return result
        unit = self.unit if first.dtype in (torch.float32, torch.float64) else max(self.unit, UNIT[first.dtype])
        if mutates:
            first.add_(unit * move)
            return result
        moved = first + unit * move
        return type(result)([moved, *result[1:]]) if isinstance(result, tuple | list) else moved

    def _signs(self, shape: Sequence[int]) -> Tensor:
        drawn = torch.randint(0, 2, tuple(shape), generator=self.generator, dtype=torch.int8)
        return drawn.mul_(2).sub_(1)


def exact_and_moves(
    run: Callable[[int], Tensor], samples: int = SAMPLES, unit: float = UNIT[torch.float32], seed: int = 0
) -> tuple[Float64, Float64]:
    """Return what a float64 network gives, and by how much each output moved at most, both float64 in the output's shape.

    All samples are one run on so many copies of the graph, which know nothing of each other. A network for which that is not
    so (it looks at all hits at once, or takes one size only) runs once a sample.

    Args:
        run: runs the network in float64 on so many copies of the graph, hits and edges of one after those of the other.
        samples: number of copies whose operators are moved.
        unit: unit roundoff of the arithmetic that is allowed for.
        seed: of the signs.
    """
    generator = torch.Generator().manual_seed(seed)

    def moved(copies: int) -> Float64:
        with torch.no_grad(), Arithmetic(generator, unit):
            return np.asarray(run(copies).double().numpy())

    with torch.no_grad(), Arithmetic():
        exact = run(1).double().numpy()
    return exact, largest_move(exact, moved, samples)


def largest_move(exact: Float64, moved: Callable[[int], Float64], samples: int) -> Float64:
    """Return by how much each output moves at most in so many samples; `moved`: outputs of so many copies, moved."""
    if not exact.size:
        return np.zeros_like(exact)
    try:
        together = np.abs(moved(samples).reshape(samples, *exact.shape) - exact).max(axis=0)
    except Exception:  # a size that is fixed in the network; each engine has its own error for it
        together = np.full(exact.shape, np.inf)
    if np.median(together) <= SUSPICIOUS * max(1.0, float(np.abs(exact).max())):
        return np.asarray(together)
    return np.asarray(np.max([np.abs(moved(1) - exact) for _ in range(samples)], axis=0))


def tolerance_from(exact: Float64, moves: Float64, samples: int = SAMPLES, unit: float = UNIT[torch.float32]) -> Float64:
    """Return the tolerance of each output: FACTOR times its own largest move or what TYPICAL grants, at least FLOOR.

    exact, moves: from `exact_and_moves`. An output that rounding can turn into NaN has an infinite tolerance: it proves nothing.
    """
    if not exact.size:
        return np.zeros_like(exact)
    size = max(1.0, float(np.abs(exact).max()))
    moves = np.where(np.isnan(moves), np.inf, moves)
    granted = np.quantile(moves, TYPICAL[max(key for key in TYPICAL if key <= samples)], method="higher")
    return np.maximum(FACTOR * np.maximum(moves, granted), FLOOR * 2.0 * unit * size)
