"""One stage as one AOTInductor package (.pt2): compiled here, loaded by C++ without Python, for this processor and libtorch."""

from __future__ import annotations

import io
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from trkx.errors import ExportError
from trkx.export.onnx_file import dynamic_shapes, example_inputs


def aoti_bytes(
    stage: str, network: nn.Module, num_features: int, metadata: Mapping[str, str], num_edge_features: int = 0
) -> bytes:
    """Return a network as an AOTInductor package for the CPU, any number of hits and edges; compiling takes a minute.

    The package holds machine code: it runs on this architecture and with this version of libtorch. It ignores strides: inputs
    that are not contiguous give wrong results without an error (seen in torch 2.13). Sources that the compiler
    leaves in it, which name folders of this machine, are taken out.

    Args:
        stage: "embedding", "filter" or "gnn".
        network: float32 module in eval mode.
        num_features: columns of x.
        metadata: what the package says of itself (`pkg.trkx.*`).
        num_edge_features: columns of edge_attr.

    Raises:
        ExportError: the network can't be exported, or there is no C++ compiler here.
    """
    inputs = example_inputs(stage, num_features, num_edge_features)
    with tempfile.TemporaryDirectory(prefix="trkx-aoti-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice on its own internals
        package = Path(folder) / f"{stage}.pt2"
        try:
            with torch.no_grad():
                program = torch.export.export(network, inputs, dynamic_shapes=dynamic_shapes(len(inputs)), strict=False)
                torch._inductor.aoti_compile_and_package(
                    program,
                    package_path=str(package),
                    inductor_configs={"aot_inductor.metadata": dict(metadata), "fx_graph_cache": False},
                )
        except Exception as error:  # torch raises many kinds here, those of the C++ compiler among them
            raise ExportError(
                f"{stage}: AOTInductor could not compile the network (it needs a C++ compiler and the Python headers): {error}"
            ) from error
        return without_sources(package.read_bytes())


def without_sources(data: bytes) -> bytes:
    """Return the same package without its C++ sources; nothing that runs is changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if not name.endswith((".cpp", ".h", ".o")):
                new.writestr(zipfile.ZipInfo(name), old.read(name))
    return buffer.getvalue()
