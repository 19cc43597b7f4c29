"""Scatter and Erf for onnx's reference evaluator: by the standard, as array operations, in the precision of their input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun
from scipy.special import erf

Array = NDArray[Any]

AT: Mapping[str, Callable[[Array, Any, Array], None]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}
"""Reductions, one element after the other in the order of the file."""


def _scattered(data: Array, places: tuple[Array, ...], updates: Array, reduction: str | None) -> Array:
    result = data.copy()
    if reduction in (None, "none"):
        result[places] = updates  # an element that is written twice keeps the last one, as engines on a CPU do
    else:
        AT[str(reduction)](result, places, updates)
    return result


def _along(indices: Array, axis: int) -> tuple[Array, ...]:
    places = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
    places[axis] = indices
    return tuple(places)


class ScatterElements(OpRun):
    """ScatterElements; onnx's own goes through the elements one by one in Python."""

    def _run(
        self, data: Array, indices: Array, updates: Array, axis: int | None = None, reduction: str | None = None
    ) -> tuple[Array]:
        return (_scattered(data, _along(indices, (axis or 0) % data.ndim), updates, reduction),)


class Scatter(ScatterElements):
    """The name that ScatterElements had before opset 11."""


class ScatterND(OpRun):
    """ScatterND; see ScatterElements."""

    def _run(self, data: Array, indices: Array, updates: Array, reduction: str | None = None) -> tuple[Array]:
        return (_scattered(data, tuple(np.moveaxis(indices, -1, 0)), updates, reduction),)


class Erf(OpRun):
    """The error function; onnx's own rounds it to float32."""

    def _run(self, x: Array) -> tuple[Array]:
        return (np.asarray(erf(x)).astype(x.dtype),)


REFERENCE_OPS = [ScatterElements, Scatter, ScatterND, Erf]


def recording(operators: Sequence[type[OpRun]], met: set[str] | None) -> list[type[OpRun]]:
    """Return operators of which the scatters note their output in `met` when they overwrite in zeros, and two updates meet.

    A second look at what lint proves of indices: of a mask that is right, of a sum or a count it is not.
    """
    return [_recording(one, met) if met is not None and "Scatter" in one.__name__ else one for one in operators]


def _recording(operator: type[OpRun], met: set[str]) -> type[OpRun]:
    def run(self: Any, data: Array, indices: Array, updates: Array, **attributes: Any) -> Any:
        name = str(self.onnx_node.output[0])
        if name not in met and attributes.get("reduction") in (None, "none") and np.any(updates) and not np.any(data):
            by_rows = operator.__name__ == "ScatterND"
            axis = int(attributes.get("axis") or 0)
            visits = np.zeros(data.shape, np.int64)
            np.add.at(visits, tuple(np.moveaxis(indices, -1, 0)) if by_rows else _along(indices, axis), 1)
            if visits.max(initial=0) > 1:
                met.add(name)
        plain: Any = operator._run
        return plain(self, data, indices, updates, **attributes)

    return type(operator.__name__, (operator,), {"_run": run, "op_domain": operator.op_domain})
