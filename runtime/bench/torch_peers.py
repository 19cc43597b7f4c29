"""What a user of PyTorch could run instead: eager, TorchScript, torch.compile, and torch's own ONNX export in ONNX Runtime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trkx.bundle import Bundle
from trkx.runtime.bench.measure import NotHereError, first_line
from trkx.runtime.bench.ort_peer import (
    COMPILED,
    CONCATENATED,
    FROZEN,
    TORCH_ONNX,
    TORCH_ONNX_MENDED,
    Arrays,
    Run,
    ort_run,
)
from trkx.runtime.bench.torch_plain import plain_network
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.engines.torch_cpu import torch_threads
from trkx.spec import PipelineSpec


@dataclass(frozen=True)
class Network:
    """One network of a bundle: our module in float32, its stage, the pipeline's spec."""

    module: nn.Module
    stage: str
    spec: PipelineSpec

    def example(self) -> tuple[torch.Tensor, ...]:
        """Return inputs to trace with: 7 hits and 11 edges, edge_attr if it reads that."""
        features, attributes = len(self.spec.features), len(self.spec.edge_features)
        x = torch.linspace(0.05, 0.95, 7 * features).reshape(features, 7).T.contiguous()
        if self.stage == "embedding":
            return (x,)
        edges = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 0, 1, 1, 2], [1, 2, 2, 3, 4, 5, 6, 1, 6, 5, 6]])
        more = (torch.linspace(-0.9, 0.8, 11 * attributes).reshape(11, attributes),) if self.stage == "gnn" and attributes else ()
        return (x, edges, *more)


def open_peer(name: str, bundle: Bundle, stage: str, threads: int) -> Run:
    """Return what runs one network of a bundle in the way of a peer, a key of `PEERS`; opening exports, traces or compiles.

    Raises:
        NotHereError: that way is closed here: a package or a compiler is missing, torch refuses the network.
    """
    return PEERS[name](Network(load_networks(bundle)[stage], stage, bundle.spec), threads)


def reference_logits(bundle: Bundle, stage: str, arrays: Arrays, exact: bool = True) -> NDArray[np.float64]:
    """Return what the network says in float64 (or not exact: in float32), eager PyTorch, for the same float32 inputs."""
    network = load_networks(bundle)[stage]
    network = network.double() if exact else network
    wide = [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
    with torch.no_grad():
        found = network(*(tensor.double() if exact and tensor.is_floating_point() else tensor for tensor in wide))
    return np.asarray(found.numpy(), np.float64)


def product_of(threads: int) -> Callable[[Any, Any], Callable[[], object]]:
    """Return a function that makes torch's matrix product of two arrays, with so many threads."""
    torch.set_num_threads(threads)

    def maker(a: Any, b: Any) -> Callable[[], object]:
        left, right = torch.from_numpy(a), torch.from_numpy(b)
        out = torch.empty(a.shape[0], b.shape[1])
        return lambda: torch.mm(left, right, out=out)

    return maker


def _called(module: Callable[..., torch.Tensor], threads: int) -> Run:
    def run(arrays: Arrays) -> NDArray[np.float32]:
        with torch.no_grad(), torch_threads(threads):
            found = module(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))
        return np.asarray(found.numpy(), np.float32)

    return run


def _eager(network: Network, threads: int) -> Run:
    return _called(plain_network(network.module), threads)


def _frozen(network: Network, threads: int) -> Run:
    example = network.example()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises against TorchScript, and notes sizes that it reads from shapes
        traced = torch.jit.trace(plain_network(network.module), example, check_trace=False)
        module = torch.jit.optimize_for_inference(torch.jit.freeze(traced.eval()))
        for _ in range(2):  # the profiling executor specialises in its first calls
            module(*example)
    return _called(module, threads)


def _compiled(network: Network, threads: int) -> Run:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.cpu_vec_isa import valid_vec_isa_list

    try:
        get_cpp_compiler()
        valid_vec_isa_list()
    except Exception as error:  # inductor's own classes: no compiler, or one that does not work
        raise NotHereError(f"torch.compile needs a C++ compiler ({first_line(error)})") from error
    return _called(torch.compile(plain_network(network.module), dynamic=False), threads)


def _ort(mended: bool) -> Callable[[Network, int], Run]:
    def opened(network: Network, threads: int) -> Run:
        return ort_run(exported(network, mended), threads)

    return opened


def exported(network: Network, mended: bool = False) -> bytes:
    """Return torch's own ONNX export of a network with concatenated inputs: dynamic axes, otherwise torch's defaults.

    The defaults are fast and wrong: sums become ScatterND(add), which races in ONNX Runtime, and onnxscript's optimiser takes
    `x + 1e-12` for `x`. mended: sums by scatter_add (ScatterElements; of interaction networks), no optimiser.

    Raises:
        NotHereError: onnx or onnxscript is missing, or torch refuses.
    """
    inputs = network.example()
    edges = torch.export.Dim("num_edges") if len(inputs) > 2 else torch.export.Dim.DYNAMIC
    shapes = ({0: torch.export.Dim.DYNAMIC}, {1: edges}, {0: edges})[: len(inputs)]
    try:
        with _quiet(), torch.no_grad():
            plain = plain_network(network.module, "scatter_add" if mended else "index_add")
            program = torch.onnx.export(plain, inputs, dynamo=True, dynamic_shapes=shapes, verbose=False, optimize=not mended)
    except Exception as error:  # torch raises many kinds here
        raise NotHereError(f"torch does not export it: {first_line(error)}") from error
    if program is None:
        raise NotHereError("torch gave no ONNX program")
    return bytes(program.model_proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def export_plain(bundle: str, folder: str, mended: bool) -> dict[str, str]:
    """Write torch's own export of every network of a bundle into a folder; return stage to file. `mended` as for `exported`."""
    opened = Bundle.open(bundle)
    found = {}
    for stage, module in load_networks(opened).items():
        path = Path(folder) / f"{stage}{'-mended' if mended else ''}.onnx"
        path.write_bytes(exported(Network(module, stage, opened.spec), mended))
        found[stage] = str(path)
    return found


PEERS: Mapping[str, Callable[[Network, int], Run]] = {
    CONCATENATED: _eager,
    FROZEN: _frozen,
    COMPILED: _compiled,
    TORCH_ONNX: _ort(mended=False),
    TORCH_ONNX_MENDED: _ort(mended=True),
}
"""Name to what opens it: (network, threads) to a run."""
