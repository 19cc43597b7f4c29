"""What an engine is, and the table of engines."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trkx.backends import require
from trkx.bundle import Bundle
from trkx.errors import BundleError, SpecError, unknown_name
from trkx.identity import require_same
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.describe import describe_safetensors
from trkx.runtime.precision import EXACT, precisions

Int = NDArray[np.int64]
Float = NDArray[np.float32]
T = TypeVar("T")
W = TypeVar("W")


class Engine(Protocol):
    """The three networks of one bundle, ready to run.

    x: hit features, float32 [N, F], N at least 1. edge_index: int64 [2, E], E at least 1. edge_attr: float32 [E, A], for a
    graph network with edge features. Logits are float32 [E].
    """

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        ...

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        ...

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        ...


class EdgeFilter(Protocol):
    """The filter for the edges of one event; what it needs of the hits is computed already. May be called from many threads."""

    def __call__(self, edge_index: Int) -> Float:
        """Return the logit of each edge, float32 [E], of edges int64 [2, E]; runs in the calling thread alone."""
        ...


@runtime_checkable
class StreamingEngine(Protocol):
    """An engine whose filter takes edges as they are found, in the thread that finds them."""

    def edge_filter(self, x: Float) -> EdgeFilter:
        """Return the filter for the edges of the event with hits x, float32 [N, F]; not one that looks at all rows at once."""
        ...


# name -> module with `open_engine(bundle, threads) -> Engine`, those of REDUCED with `precision` too;
# what it needs stands in trkx.backends under the same name
ENGINES = {
    "tiled": "trkx.runtime.engines.tiled",
    "onnxruntime": "trkx.runtime.engines.ort",
    "torchscript": "trkx.runtime.engines.torchscript",
    "eager": "trkx.runtime.engines.eager",
}
REDUCED = ("tiled", "onnxruntime")
"""Engines that also run in other precisions than float32."""


def open_engine(name: str, bundle: Bundle, threads: int, precision: str = EXACT) -> Engine:
    """Load the networks of a bundle into an engine that uses `threads` threads.

    An engine on a GPU (`trkx.runtime.cuda.engines.table`) comes back with the doors of one on the host: its answers are copied.
    precision: of all stages, or of each, as in `trkx.runtime.precision.precisions`.

    Raises:
        SpecError: an unknown engine or precision, or one that the engine does not run in.
        MissingExtraError: the engine's package is not installed.
        BundleError: a file that is missing, edited, or can't be loaded.
    """
    if name in DEVICE_ENGINES:
        return _on_host(name, bundle, precision)
    if name not in ENGINES:
        raise SpecError(unknown_name("engine", name, (*ENGINES, *DEVICE_ENGINES)))
    require("engine", name)
    if name not in REDUCED and set(precisions(precision).values()) != {EXACT}:
        able = ", ".join((*REDUCED, *DEVICE_ENGINES))
        raise SpecError(f"engine '{name}' runs in {EXACT} only; {precision} is for: {able}.")
    opener = cast(Callable[..., Engine], importlib.import_module(ENGINES[name]).open_engine)
    return opener(bundle, threads, precision) if name in REDUCED else opener(bundle, threads)


def _on_host(name: str, bundle: Bundle, precision: str) -> Engine:
    if importlib.util.find_spec("torch") is None:
        require("engine", name)  # says how to get it
    from trkx.runtime.cuda.engines.table import device_of, open_device_engine
    from trkx.runtime.cuda.on_host import OnHost

    return OnHost(open_device_engine(name, bundle, device_of("cuda"), precision))


def read_weights(bundle: Bundle, load: Callable[[bytes], W]) -> W:
    """Return what `load`, of safetensors for some library, makes of a bundle's weights.

    Raises:
        BundleError: they are edited, can't be read, or say that they were made for another spec.
    """
    data = bundle.read("all", "safetensors")
    try:
        weights = load(data)
    except Exception as error:  # SafetensorError has no stable place
        raise not_loadable(bundle, "all", "safetensors", error) from error
    where = str(bundle.path / bundle.entry("all", "safetensors").path)
    require_same(describe_safetensors(data, where)["metadata"], bundle.spec, where)
    return weights


def of_stage(weights: Mapping[str, T], stage: str) -> dict[str, T]:
    """Return the weights of one stage, without its name in front of theirs."""
    prefix = f"{stage}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


class StageWeights(dict[str, Float]):
    """Weights of one stage that remember which of them were read."""

    def __init__(self, weights: Mapping[str, Float], stage: str) -> None:
        super().__init__(of_stage(weights, stage))
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> Float:
        self._read.add(name)
        return super().__getitem__(name)

    def done(self, stage: str) -> None:
        """Raise BundleError if a tensor was not read."""
        left = sorted(set(self) - self._read)
        if left:
            raise BundleError(f"the weights of the {stage} have {', '.join(left[:5])}, which the specification has no place for.")


def not_loadable(bundle: Bundle, stage: str, format: str, error: Exception) -> BundleError:
    """Return the error for a file whose checksum is right but that the engine refuses."""
    path = bundle.path / bundle.entry(stage, format).path
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return BundleError(
        f"{path}: can't be loaded ({first}). The bundle may be newer than the installed packages: upgrade them, or export "
        "it again."
    )
