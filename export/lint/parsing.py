"""An ONNX file parsed, with the checks without which no rule can look at it: whole, readable text, no cycle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import onnx
from google.protobuf.message import DecodeError

from trkx.errors import ExportError
from trkx.export.inference import plausible
from trkx.export.lint.protobuf import check_fields, check_graph_size
from trkx.shown import shown

LARGEST_ONNX = 2**31 - 1
MOST_MESSAGES = 3_000_000


def read_onnx(file: IO[bytes], size: int, where: str) -> onnx.ModelProto:
    """Return the model of an ONNX file; weights outside of it are not loaded.

    Args:
        file: opened for reading.
        size: of the file, bytes.
        where: file, for messages.

    Raises:
        ExportError: too large, truncated, damaged, nested too deeply, without a graph, or with a cycle in one.
    """
    if size > LARGEST_ONNX:
        raise ExportError(f"{where}: {size} bytes; protobuf, and so one ONNX file, ends at 2 GiB. Save it with external data "
                          "(`onnx.save(…, save_as_external_data=True)`), or check that the download is the model.")
    check_fields(file, size, where)
    file.seek(0)
    data = file.read(LARGEST_ONNX)
    check_graph_size(data, where)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        _check_messages(model, where)
    except (DecodeError, RecursionError, UnicodeDecodeError) as error:
        reason = shown(str(error))
        raise ExportError(f"{where}: not an ONNX model, damaged, or nested too deeply ({reason}); copy it again.") from None
    if not model.graph.node and not model.graph.output:
        raise ExportError(f"{where}: an ONNX file without a graph, so no model; export it again.")
    for graph in (model.graph, *_bodies(model.graph.node)):
        name = _in_cycle(graph)
        if name is not None:
            raise ExportError(f"{where}: the graph has a cycle through node '{shown(name)}': no engine can run it, and no "
                              "exporter writes it; export the model again.")
    if not plausible(model):
        raise ExportError(f"{where}: ranks, constants or values of shapes that grow beyond any plausible size: damaged or made "
                          "to harm; export the model again.")
    return model


def _check_messages(model: onnx.ModelProto, where: str) -> None:
    """Check every text in the model: protobuf hands out bytes where they are not UTF-8, and rules would stumble over them."""
    stack: list[Any] = [model]
    count = 0
    while stack:
        for field, value in stack.pop().ListFields():
            if field.type not in (field.TYPE_MESSAGE, field.TYPE_STRING):
                continue
            items = value if hasattr(value, "__len__") and not isinstance(value, str | bytes) else (value,)
            count += len(items)
            if count > MOST_MESSAGES:
                raise ExportError(f"{where}: a model of more than {MOST_MESSAGES} parts is not plausible; it was not read.")
            if field.type == field.TYPE_MESSAGE:
                stack.extend(items)
            elif any(isinstance(text, bytes) for text in items):
                raise ExportError(f"{where}: a damaged ONNX model: a name in it is not UTF-8; copy or export it again.")


def _bodies(nodes: Any) -> Iterator[onnx.GraphProto]:
    stack = list(nodes)
    while stack:
        for item in stack.pop().attribute:
            for body in (*([item.g] if item.HasField("g") else []), *item.graphs):
                yield body
                stack.extend(body.node)


def _read_by(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node reads, those that its bodies take from outside included."""
    names = set(node.input)
    for body in _bodies([node]):
        made = {name for inner in body.node for name in inner.output}
        names |= {name for inner in body.node for name in inner.input if name not in made}
    return names


def _in_cycle(graph: onnx.GraphProto) -> str | None:
    """Return the name of a node that waits for itself, None if there is none; the order in the file does not matter."""
    maker = {name: at for at, node in enumerate(graph.node) for name in node.output if name}
    waits: list[int] = []
    readers: dict[int, list[int]] = {}
    for at, node in enumerate(graph.node):
        makers = {maker[name] for name in _read_by(node) if name in maker}
        waits.append(len(makers))
        for other in makers:
            readers.setdefault(other, []).append(at)
    ready = [at for at, count in enumerate(waits) if not count]
    done = 0
    while ready:
        done += 1
        for reader in readers.get(ready.pop(), ()):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    if done == len(waits):
        return None
    node = graph.node[next(at for at, count in enumerate(waits) if count)]
    return str(node.name or node.op_type)
