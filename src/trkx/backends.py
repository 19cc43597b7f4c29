"""Every optional part as a row: what it is for, which modules it needs, what it can do, how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from typing import Literal

from trkx.errors import MissingExtraError, SpecError, unknown_name

Kind = Literal["engine", "neighbours", "labelling", "simulation", "export", "plot", "cluster", "peer"]


@dataclass(frozen=True)
class Need:
    """A distribution to import: module name, distribution names that may provide it (the first is the usual one)."""

    module: str
    distributions: tuple[str, ...]


@dataclass(frozen=True)
class Backend:
    """One row of the table.

    Attributes:
        kind: what it serves.
        name: the word that options take (`--engine`, `--neighbours`, `--labelling`).
        needs: what must be importable.
        extra: the extra of trkx that installs it, "" if trkx itself does.
        does: what it can do, in a few words.
        note: a limit worth knowing, "" if none.
        command: what installs it, where no extra does.
    """

    kind: Kind
    name: str
    needs: tuple[Need, ...]
    extra: str
    does: str
    note: str = ""
    command: str = ""

    @property
    def install(self) -> str:
        """The command that installs it."""
        if self.command:
            return self.command
        return f'pip install "trkx[{self.extra}]"' if self.extra else "pip install trkx"


@dataclass(frozen=True)
class Availability:
    """What was found on this machine: version of each need, why it can't be used ("" if it can), how to get it ("" if there)."""

    backend: Backend
    available: bool
    version: str
    why_not: str
    how: str


_NUMPY = Need("numpy", ("numpy",))
_SCIPY = Need("scipy", ("scipy",))
_NUMBA = Need("numba", ("numba",))
_TORCH = Need("torch", ("torch",))
_ORT = Need("onnxruntime", ("onnxruntime", "onnxruntime-gpu"))
_ONNX = Need("onnx", ("onnx",))
_ONNXSCRIPT = Need("onnxscript", ("onnxscript",))
_ONNXSIM = Need("onnxsim", ("onnxsim",))

BACKENDS: tuple[Backend, ...] = (
    Backend("engine", "tiled", (_NUMBA,), "", "runs the networks tile by tile, as machine code for their shapes",
            "default; reads the weights; batch norms over an event go to onnxruntime"),
    Backend("engine", "onnxruntime", (_ORT,), "cpu", "runs the bundle's ONNX files on the CPU", "needs no torch"),
    Backend("engine", "torchscript", (_TORCH,), "export", "runs the bundle's TorchScript files on the CPU"),
    Backend("engine", "eager", (_TORCH,), "export", "runs the networks as PyTorch modules", "reads the weights, no model file"),
    Backend("neighbours", "grid", (_NUMBA,), "", "exact pairs within a radius, on all cores", "default; compiles on first use"),
    Backend("neighbours", "kdtree", (_SCIPY,), "", "exact pairs within a radius, scipy's cKDTree", "reference"),
    Backend("neighbours", "brute", (_NUMPY,), "", "exact pairs within a radius, all against all", "reference; small events only"),
    Backend("labelling", "union_find", (_NUMBA,), "", "connected components", "default; compiles on first use"),
    Backend("labelling", "scipy", (_SCIPY,), "", "connected components, scipy's csgraph", "reference"),
    Backend(
        "simulation",
        "fatras",
        (Need("acts", ("pyacts",)), Need("pythia8mc", ("pythia8mc",))),
        "simulate",
        "Pythia 8 collisions through ACTS Fatras in the generic detector",
    ),
    Backend("export", "onnx", (_TORCH, _ONNX, _ONNXSCRIPT, _ORT), "export,cpu", "writes and checks ONNX files"),
    Backend("export", "onnxsim", (_ONNX, _ONNXSIM), "export", "simplifies ONNX files"),
    Backend("export", "torchscript", (_TORCH,), "export", "writes and checks TorchScript files"),
    Backend(
        "plot",
        "matplotlib",
        (Need("matplotlib", ("matplotlib",)), Need("mplhep", ("mplhep",))),
        "plot",
        "event displays, efficiency plots",
    ),
    Backend("cluster", "dask", (Need("distributed", ("distributed",)),), "dask", "trkx run --dask: events to a Dask cluster"),
    Backend("peer", "faiss", (Need("faiss", ("faiss-cpu", "faiss-gpu")),), "peers", "trkx bench: neighbours, flat or by cells"),
    Backend("peer", "scikit-learn", (Need("sklearn", ("scikit-learn",)),), "peers", "trkx bench: neighbours by trees, DBSCAN"),
    Backend("peer", "pynanoflann", (Need("pynanoflann", ("pynanoflann",)),), "peers", "trkx bench: neighbours by a k-d tree"),
    Backend("peer", "scikit-network", (Need("sknetwork", ("scikit-network",)),), "peers", "trkx bench: connected components"),
    Backend(
        "peer",
        "torch_cluster",
        (_TORCH, Need("torch_cluster", ("torch_cluster", "torch-cluster"))),
        "",
        "trkx bench: radius_graph of the 2021 talk",
        "is compiled for the torch that is installed, which takes minutes",
        "pip install wheel && pip install --no-build-isolation torch_cluster",
    ),
)


def backends(kind: Kind) -> dict[str, Backend]:
    """Return the rows of a kind by name."""
    return {row.name: row for row in BACKENDS if row.kind == kind}


def backend(kind: Kind, name: str) -> Backend:
    """Return a row; an unknown name raises SpecError that lists the known ones."""
    rows = backends(kind)
    if name not in rows:
        raise SpecError(unknown_name(f"{kind} backend", name, rows))
    return rows[name]


def probe(row: Backend, load: bool = False) -> Availability:
    """Return whether a backend can be used here.

    Args:
        row: the backend.
        load: import what it needs as well, which finds broken installations and takes seconds for torch.
    """
    versions, absent, broken = [], [], []
    for need in row.needs:
        if not _is_there(need.module):
            absent.append(need.distributions[0])
            continue
        versions.append(_version(need))
        if load:
            try:
                importlib.import_module(need.module)
            except Exception as error:  # an installed package may fail in any way when it is loaded
                broken.append(f"{need.module} is installed but does not load: {error}".splitlines()[0])
    why = "; ".join(([f"{', '.join(absent)} not installed"] if absent else []) + broken)
    how = row.install if absent else ("reinstall it: " + row.install if broken else "")
    return Availability(row, not why, ", ".join(versions), why, how)


def require(kind: Kind, name: str) -> Backend:
    """Return a row whose needs are installed.

    Raises:
        SpecError: an unknown name.
        MissingExtraError: something is not installed; the message holds the command that installs it.
    """
    found = probe(backend(kind, name))
    if not found.available:
        raise MissingExtraError(f"{kind} '{name}': {found.why_not}. Install: {found.how}")
    return found.backend


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(need: Need) -> str:
    for distribution in need.distributions:
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{need.module} (unknown version)"
