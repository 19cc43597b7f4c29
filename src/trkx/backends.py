"""Every optional part as a row: what it is for, which modules it needs, what it can do, how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
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
        gpu: it runs on an NVIDIA GPU only.
        compiles: it compiles C++, by torch: needs a compiler and Python's headers.
    """

    kind: Kind
    name: str
    needs: tuple[Need, ...]
    extra: str
    does: str
    note: str = ""
    command: str = ""
    gpu: bool = False
    compiles: bool = False

    @property
    def install(self) -> str:
        """The command that installs it."""
        if self.command:
            return self.command
        return f'pip install "trkx[{self.extra}]"' if self.extra else "pip install trkx"


@dataclass(frozen=True)
class Lack:
    """Why a backend can't be used, and what to do. common: in a few words, where many rows may lack the same; else ""."""

    why: str
    how: str
    common: str = ""


@dataclass(frozen=True)
class Availability:
    """What was found on this machine: version of each need, and what a backend lacks; nothing if it can be used."""

    backend: Backend
    version: str
    lacks: tuple[Lack, ...] = ()

    @property
    def available(self) -> bool:
        """Whether it can be used."""
        return not self.lacks

    @property
    def why_not(self) -> str:
        """Why it can't be used, "" if it can."""
        return "; ".join(lack.why for lack in self.lacks)

    @property
    def how(self) -> str:
        """How to get it, "" if it is there."""
        return "; ".join(dict.fromkeys(lack.how for lack in self.lacks))


_NUMPY = Need("numpy", ("numpy",))
_SCIPY = Need("scipy", ("scipy",))
_NUMBA = Need("numba", ("numba",))
_TORCH = Need("torch", ("torch",))
_ORT = Need("onnxruntime", ("onnxruntime", "onnxruntime-gpu"))
_ONNX = Need("onnx", ("onnx",))
_ONNXSCRIPT = Need("onnxscript", ("onnxscript",))
_ONNXSIM = Need("onnxsim", ("onnxsim",))
_TRITON = Need("triton", ("triton",))
_ORT_GPU = Need("onnxruntime", ("onnxruntime-gpu", "onnxruntime"))
_TENSORRT = Need("tensorrt", ("tensorrt",))
_CUPY = Need("cupy", ("cupy-cuda13x", "cupy-cuda12x"))
_POLYGRAPHY = Need("polygraphy", ("polygraphy",))

GPU_PLACES = ("/dev/nvidia[0-9]*", "/proc/driver/nvidia/gpus/*", "/dev/dxg", "/Windows/System32/nvcuda.dll")
"""Where the driver of an NVIDIA GPU shows (Linux, a container, Windows' Linux, Windows): a look that loads nothing."""
NEEDS_GPU = "needs an NVIDIA GPU"
"""What to do where there is none: nothing that could be installed."""
TORCH_FOR_GPUS = "pip uninstall torch, then install it for CUDA (https://pytorch.org/get-started/locally)"
ORT_FOR_GPUS = 'pip uninstall onnxruntime, then pip install "trkx[gpu]", which takes its place'
GPU_PROVIDERS = {"onnxruntime-cuda": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}
"""Engine to the part of ONNX Runtime that it needs, which only builds for GPUs have."""

BACKENDS: tuple[Backend, ...] = (
    Backend("engine", "tiled", (_NUMBA,), "", "runs the networks tile by tile, as machine code for their shapes",
            "default; reads the weights; batch norms over an event go to onnxruntime"),
    Backend("engine", "onnxruntime", (_ORT,), "cpu", "runs the bundle's ONNX files on the CPU", "needs no torch"),
    Backend("engine", "torchscript", (_TORCH,), "export", "runs the bundle's TorchScript files on the CPU"),
    Backend("engine", "eager", (_TORCH,), "export", "runs the networks as PyTorch modules", "reads the weights, no model file"),
    Backend("engine", "triton", (_TORCH, _TRITON), "cuda", "runs the networks on a GPU, as fused kernels in Triton",
            "reads the weights; the same digits in every run", gpu=True),
    Backend("engine", "torch-cuda", (_TORCH,), "cuda", "runs the networks on a GPU as PyTorch modules",
            "reads the weights; sums over edges by atomic additions: last digits differ from run to run", gpu=True),
    Backend("engine", "torch-compile", (_TORCH, _TRITON), "cuda", "runs the networks on a GPU through torch.compile",
            "compiles for minutes; last digits differ from run to run, as of torch-cuda", gpu=True),
    Backend("engine", "onnxruntime-cuda", (_TORCH, _ORT_GPU), "cuda,gpu", "runs the bundle's ONNX files on a GPU",
            "files of target ort-cuda; last digits may differ from run to run; its memory is not in the stages' peaks", gpu=True),
    Backend("engine", "onnxruntime-tensorrt", (_TORCH, _ORT_GPU), "cuda,gpu", "runs the bundle's ONNX files through TensorRT",
            "files of target tensorrt; builds engines on first use; its memory is not in the stages' peaks", gpu=True),
    Backend("engine", "tensorrt", (_TORCH, _TENSORRT, _POLYGRAPHY), "cuda,tensorrt", "runs the bundle's files in TensorRT itself",
            "files of target tensorrt; builds engines on first use", gpu=True),
    Backend("neighbours", "grid", (_NUMBA,), "", "exact pairs within a radius, on all cores", "default; compiles on first use"),
    Backend("neighbours", "kdtree", (_SCIPY,), "", "exact pairs within a radius, scipy's cKDTree", "reference"),
    Backend("neighbours", "brute", (_NUMPY,), "", "exact pairs within a radius, all against all", "reference; small events only"),
    Backend("neighbours", "triton", (_TORCH, _TRITON), "cuda", "exact pairs within a radius, on a GPU",
            "default of engines on a GPU", gpu=True),
    Backend("labelling", "union_find", (_NUMBA,), "", "connected components", "default; compiles on first use"),
    Backend("labelling", "scipy", (_SCIPY,), "", "connected components, scipy's csgraph", "reference"),
    Backend("labelling", "triton", (_TORCH, _TRITON), "cuda", "connected components, on a GPU",
            "default of engines on a GPU", gpu=True),
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
    Backend("export", "aoti", (_TORCH,), "export", "compiles and checks AOTInductor packages, for libtorch without Python",
            "target aoti; a minute a network; for this processor and libtorch", compiles=True),
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
    Backend("peer", "faiss-gpu", (_TORCH, Need("faiss", ("faiss-gpu", "faiss-gpu-cu12", "faiss-cpu"))), "",
            "trkx bench --device: nearest neighbours on a GPU", "takes the place of faiss-cpu", "pip install faiss-gpu", True),
    Backend("peer", "frnn", (_TORCH, Need("frnn", ("frnn",))), "", "trkx bench --device: fixed radius on a GPU, of the 2021 talk",
            "is compiled", "pip install --no-build-isolation ./FRNN/external/prefix_sum ./FRNN, in a clone of lxxue/FRNN", True),
    Backend("peer", "frnn_cuda", (_TORCH, Need("frnn_cuda", ("frnn_cuda", "frnn-cuda"))), "",
            "trkx bench --device: fixed radius on a GPU", "libFRNN; is compiled, with FRNN_BUILD_TORCH=ON",
            "pip install --no-build-isolation ./libFRNN, a clone of xju2/libFRNN", True),
    Backend("peer", "cugraph", (_TORCH, Need("cugraph", ("cugraph-cu13", "cugraph-cu12")),
                                Need("cudf", ("cudf-cu13", "cudf-cu12")), _CUPY), "",
            "trkx bench --device: connected components on a GPU, of the 2021 talk", "", "pip install cugraph-cu13", True),
    Backend("peer", "pylibcugraph", (_TORCH, Need("pylibcugraph", ("pylibcugraph-cu13", "pylibcugraph-cu12")),
                                     _CUPY), "",
            "trkx bench --device: connected components on a GPU", "", "pip install pylibcugraph-cu13", True),
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


def probe(row: Backend, load: bool = False, gpu: bool = True) -> Availability:
    """Return whether a backend can be used here.

    Args:
        row: the backend.
        load: import what it needs as well, which finds broken installations and takes seconds for torch; then torch says whether
            there is a GPU, instead of a look at where its driver shows.
        gpu: whether one that runs on a GPU needs one; its code may also run on a CPU, for tests.
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
    lacks = [Lack(f"{', '.join(absent)} not installed", row.install)] if absent else []
    lacks += [Lack(why, row.install if absent else f"reinstall it: {row.install}") for why in broken]
    if row.compiles:
        compiler, lack = _compiler()
        versions += [compiler] if compiler else []
        lacks += [lack] if lack else []
    if gpu and row.gpu:
        lacks += _lacks_of_gpu(row, load and not absent and not broken)
    return Availability(row, ", ".join(versions), tuple(lacks))


def require(kind: Kind, name: str, gpu: bool = True) -> Backend:
    """Return a row whose needs are installed. gpu: as of `probe`.

    Raises:
        SpecError: an unknown name.
        MissingExtraError: something is not installed, and the message holds the command that installs it; or there is no GPU, and
            it says where one was looked for.
    """
    found = probe(backend(kind, name), gpu=gpu)
    if not found.available:
        needs = f" {NEEDS_GPU}" if any(lack.how == NEEDS_GPU for lack in found.lacks) else ""
        installed = "; ".join(dict.fromkeys(lack.how for lack in found.lacks if lack.how != NEEDS_GPU))
        raise MissingExtraError(f"{kind} '{name}'{needs}: {found.why_not}.{f' Install: {installed}' if installed else ''}")
    return found.backend


def _lacks_of_gpu(row: Backend, loaded: bool) -> list[Lack]:
    """Return why a backend has no GPU to run on, nothing if it has. loaded: what it needs is loaded, may be asked."""
    torch = _version(_TORCH) if row.kind != "peer" and _TORCH in row.needs else ""
    for_cpus = [Lack(f"{torch} is for CPUs", TORCH_FOR_GPUS, "torch is for CPUs")] if torch.endswith("+cpu") else []
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return [Lack(f"CUDA_VISIBLE_DEVICES is '{hidden}', which hides all GPUs", NEEDS_GPU, "no GPU"), *for_cpus]
    asked = loaded and not for_cpus  # a torch for CPUs can't say
    if not asked and not any(any(Path("/").glob(place.removeprefix("/"))) for place in GPU_PLACES):
        return [Lack("no NVIDIA driver was found here", NEEDS_GPU, "no GPU"), *for_cpus]
    if for_cpus:
        return for_cpus
    found = _lack_of_libraries(row, loaded)
    return [found] if found else []


def _lack_of_libraries(row: Backend, loaded: bool) -> Lack | None:
    """Return what keeps libraries from a GPU whose driver is here, None if nothing does."""
    if loaded and not importlib.import_module("torch").cuda.is_available():
        return Lack("no NVIDIA GPU that torch can use (torch.cuda.is_available() is False)", (
            "nvidia-smi tells whether the driver is too old for this torch; if torch is for CPUs: " + TORCH_FOR_GPUS
        ), "no GPU for torch")
    if row.name in GPU_PROVIDERS and loaded:
        has = importlib.import_module("onnxruntime").get_available_providers()
        if GPU_PROVIDERS[row.name] not in has:
            return Lack(f"onnxruntime has no {GPU_PROVIDERS[row.name]}, only {', '.join(has)}", ORT_FOR_GPUS)
    elif row.name in GPU_PROVIDERS and _is_there("onnxruntime") and _version(_ORT_GPU).startswith("onnxruntime "):
        return Lack(f"{_version(_ORT_GPU)} is for CPUs", ORT_FOR_GPUS, "onnxruntime is for CPUs")
    return None


def _compiler() -> tuple[str, Lack | None]:
    """Return the C++ compiler that torch takes, and what is missing to compile with it."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    words = shlex.split(os.environ.get("CXX", ""))
    name = words[0] if words else usual
    if shutil.which(name) is None:
        said = f"CXX is '{name}', which is not there" if words else f"no {name} on the PATH"
        return "", Lack(f"no C++ compiler ({said})", f"install {usual}, or name a compiler in CXX")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return name, Lack("no Python.h, the headers of this Python", "install them (Debian: python3-dev)")
    return name, None


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
