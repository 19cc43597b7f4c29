"""Scatter and Erf for onnx's reference evaluator: by the standard, as array operations, in the precision of their input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


class ScatterElements(OpRun):
    """ScatterElements; onnx's own goes through the elements one by one in Python."""

    def _run(
        self, data: Array, indices: Array, updates: Array, axis: int | None = None, reduction: str | None = None
    ) -> tuple[Array]:
        along = (axis or 0) % data.ndim
        places = list(np.ogrid[tuple(slice(size) for size in indices.shape)])
        places[along] = indices
        return (_scattered(data, tuple(places), updates, reduction),)


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
