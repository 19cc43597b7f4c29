"""One stage as one TorchScript file: traced, no baked device, no write into its inputs, any number of hits and edges."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.jit._trace import TracerWarning

from trkx.errors import ExportError
from trkx.export.onnx_file import example_inputs

ALIGNMENT = 64


@contextmanager
def torchscript_is_meant() -> Iterator[None]:
    """Silence torch's advice (2.10 and newer) to use torch.export: ACTS and C++ users load TorchScript."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is (deprecated|not supported)", category=DeprecationWarning)
        yield


def torchscript_bytes(
    stage: str, network: nn.Module, num_features: int, num_edge_features: int = 0, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a network as a TorchScript file, parameters kept as parameters so that `.to(device)` moves them.

    Args:
        stage: "embedding", "filter" or "gnn".
        network: float32 module in eval mode.
        num_features: columns of x.
        num_edge_features: columns of edge_attr.
        metadata: what the file says of itself (`pkg.trkx.*`), kept as extra files of the archive; who does not ask for them
            does not see them.

    Raises:
        ExportError: a device or a size was baked in, an input would be written to, or tracing failed.
    """
    inputs = example_inputs(stage, num_features, num_edge_features)
    buffer = io.BytesIO()
    try:
        with torchscript_is_meant(), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("error", TracerWarning)
            traced = torch.jit.trace(network, inputs, check_trace=False)
            torch.jit.save(traced, buffer, _extra_files=dict(metadata or {}))
    except TracerWarning as warning:
        raise ExportError(f"{stage}: tracing would bake in a value that depends on the event: {warning}") from warning
    except RuntimeError as error:
        raise ExportError(f"{stage}: torch could not trace the network: {error}") from error
    data = without_source_paths(buffer.getvalue())
    problems = problems_in_torchscript(data)
    if problems:
        raise ExportError(f"{stage}: the TorchScript is not portable: {'; '.join(problems)}.")
    return data


def without_source_paths(data: bytes) -> bytes:
    """Return the same TorchScript archive without its debug records, which name source files of the machine that made it.

    Tensors stay at multiples of 64 bytes, as torch writes them. The code itself is kept, so errors still name a line of it.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if name.endswith(".debug_pkl"):
                continue
            entry = zipfile.ZipInfo(name)
            header = buffer.tell() + 30 + len(name.encode()) + 4
            padding = -header % ALIGNMENT
            entry.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
            new.writestr(entry, old.read(name))
    return buffer.getvalue()


def load_torchscript(data: bytes) -> torch.jit.ScriptModule:
    """Return the module that a TorchScript file holds, on the CPU."""
    with torchscript_is_meant():
        module: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(data), map_location="cpu")
    return module


def problems_in_torchscript(data: bytes) -> list[str]:
    """Return what is wrong with a TorchScript file before it is run: unreadable, a device baked in, foreign operators."""
    try:
        module = load_torchscript(data)
    except Exception as error:  # torch raises RuntimeError, pickle and zip errors
        return [f"not a TorchScript file: {error}"]
    graph = module.inlined_graph
    problems = []
    for node in graph.nodes():
        if node.kind() == "prim::Constant" and node.output().type().kind() == "DeviceObjType":
            problems.append(f"a device is baked in ({str(node).strip()})")
        if not node.kind().startswith(("aten::", "prim::")):
            problems.append(f"operator {node.kind()} is not part of torch")
    return problems
