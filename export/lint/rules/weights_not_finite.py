"""TRKX028: NaN or infinity among the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.rules.external_data import outside, tensors_of
from trkx.export.lint.walking import FLOATS
from trkx.export.onnx_graph import LARGEST_CONSTANT


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None:
        return
    for name, tensor in tensors_of(subject.model):
        if tensor.data_type not in FLOATS or outside(tensor):
            continue
        if np.prod(tensor.dims, dtype=float) > LARGEST_CONSTANT:
            yield Remark(f"'{name}' has {np.prod(tensor.dims, dtype=float):.2g} elements and was not looked into", name, "note")
            continue
        values = _values(tensor)
        if values is not None:
            yield from _tensor(name, values)


def _values(tensor: onnx.TensorProto) -> NDArray[Any] | None:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except Exception:  # bytes that do not fit the dims: the checker's business
        return None


def _tensor(name: str, values: NDArray[Any]) -> Iterator[Remark]:
    with np.errstate(all="ignore"):
        wide = values.astype(np.float32) if values.dtype.itemsize < 4 else values
    bad = np.isnan(wide)
    if bad.any():
        yield Remark(f"'{name}' holds {int(bad.sum())} NaN among {values.size} values", name)
        return
    infinite = np.isinf(wide)
    finite = wide[~infinite]
    if infinite.any() and finite.any():  # alone or beside zeros, infinity is a mask or the start of a maximum
        yield Remark(f"'{name}' holds {int(infinite.sum())} infinities among {values.size} values", name)


RULE = Rule(
    id="TRKX028",
    name="weights-not-finite",
    title="NaN or infinity among the weights",
    severity="error",
    kinds=("onnx",),
    reason="One NaN in a weight makes every score NaN, and NaN is above no cut: every event ends without tracks.",
    affected="trainings that diverged; weights above 65504 converted to float16",
    fix="Take an earlier checkpoint, or keep this layer in float32 (or bfloat16) when converting.",
    link="https://github.com/onnx/onnx/blob/main/docs/IR.md",
    check=_check,
)
