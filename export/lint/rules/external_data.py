"""TRKX018: weights that are not in the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import listed


def tensors_of(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield (name, tensor) of every tensor that a model holds: initialisers and attributes, in bodies and functions too."""
    nodes = [node for item in model.functions for node in item.node]
    graphs = [model.graph]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            yield from ((item.name, item) for item in graph.initializer)
            for sparse in graph.sparse_initializer:
                yield from ((sparse.values.name, item) for item in (sparse.values, sparse.indices))
            continue
        node = nodes.pop()
        name = node.name or ", ".join(node.output)
        for item in node.attribute:
            graphs += [*([item.g] if item.HasField("g") else []), *item.graphs]
            yield from ((name, tensor) for tensor in (*([item.t] if item.HasField("t") else []), *item.tensors))
            for sparse in (*([item.sparse_tensor] if item.HasField("sparse_tensor") else []), *item.sparse_tensors):
                yield from ((name, tensor) for tensor in (sparse.values, sparse.indices))


def outside(tensor: onnx.TensorProto) -> bool:
    """Return whether the values of a tensor lie in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None:
        return
    found: dict[str, list[str]] = {}
    for name, tensor in tensors_of(subject.model):
        if outside(tensor):
            location = next((item.value for item in tensor.external_data if item.key == "location"), "")
            found.setdefault(location, []).append(name)
    for location, names in found.items():
        windows = PureWindowsPath(location)
        leaves = PurePosixPath(location).is_absolute() or windows.drive or windows.root or ".." in windows.parts
        away = ", which leaves the folder of the model" if leaves else ""
        yield Remark(f"{len(names)} tensor(s) lie in another file, '{location}'{away}: {listed(names)}", names[0])


RULE = Rule(
    id="TRKX018",
    name="external-data",
    title="weights lie outside of the file",
    severity="error",
    kinds=("onnx",),
    reason=(
        "The file alone is not the model: a hash of it says nothing of its weights, engines that load it from memory refuse it, "
        "and a location may point anywhere on the reader's disk. Lint does not open the other file, so weights go unchecked."
    ),
    affected="torch's exporter with external_data=True (its default); models of 2 GB and more",
    fix="Export with external_data=False, or read it and save it again: onnx.save(onnx.load(FILE), OUT).",
    link="https://github.com/onnx/onnx/blob/main/docs/ExternalData.md",
    check=_check,
)
