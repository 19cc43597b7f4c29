"""Rewrite: weights that lie in other files of the same folder come into the file."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor

from trkx.export.lint.rules.external_data import outside, tensors_of
from trkx.export.lint.walking import listed
from trkx.export.repair.change import Change, Outcome, Refusal, Request

_TODO = "Export again with external_data=False."
LIMIT = 2**31 - 2**20
"""Bytes of a model that protobuf still writes as one message, less some room for the graph."""


def embedded(model: onnx.ModelProto, request: Request) -> Outcome:
    """Read external data from the folder of the file, if all of it lies there and the whole stays below 2 GiB."""
    tensors = [(name, tensor) for name, tensor in tensors_of(model) if outside(tensor)]
    if not tensors:
        return Outcome(model)
    folder = request.path.resolve().parent
    total, locations = model.ByteSize(), set[str]()
    for name, tensor in tensors:
        try:
            info = ExternalDataInfo(tensor)
        except ValueError as error:  # an offset or length that is no number, or below 0
            return _refused(model, name, f"where its values lie makes no sense: {error}", _TODO)
        locations.add(info.location)
        problem = _problem(folder, info)
        if problem:
            return _refused(model, name, problem, "Put the weights beside the file, under the name that it gives, and try again.")
        total += info.length or (folder / info.location).stat().st_size
    if total > LIMIT:
        return _refused(model, tensors[0][0], f"with its weights the file would have {total} bytes, and 2 GiB is the limit",
                        "Leave the weights outside, for an engine that reads them there.")
    for name, tensor in tensors:
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # onnx has its own error classes for paths
            return _refused(model, name, f"its values can't be read: {error}", _TODO)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    what = f"{len(tensors)} tensor(s) from {listed(sorted(locations))} are in the file now"
    return Outcome(model, (Change("embedded", "TRKX018", tensors[0][0], what, "the same bytes"),))


def _refused(model: onnx.ModelProto, where: str, why: str, todo: str) -> Outcome:
    return Outcome(model, refusals=(Refusal("embedded", "TRKX018", where, why, todo),))


def _problem(folder: Path, info: ExternalDataInfo) -> str:
    """Say what is wrong with where a tensor's values are said to lie, "" if nothing is."""
    place = folder / info.location
    if not info.location or Path(info.location).is_absolute() or not place.resolve().is_relative_to(folder):
        return f"its values are said to lie at '{info.location}', outside of the file's folder"
    if not place.is_file() or place.is_symlink():
        return f"there is no file '{info.location}' beside the model with its values"
    size, start = place.stat().st_size, info.offset or 0
    if start + (info.length or 0) > size:
        return f"'{info.location}' has {size} bytes, and values are said to lie at {start} to {start + (info.length or 0)}"
    return ""
