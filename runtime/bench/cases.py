"""Names of our own cases, which stand beside those of the peers in every table."""

from __future__ import annotations

from trkx.backends import backend, probe
from trkx.bundle import Bundle
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.engines import ENGINES, Engine, open_engine
from trkx.runtime.precision import EXACT, MIXED

OWN = "trkx "
"""What the name of each of our cases begins with."""
OUR_ENGINES = ("onnxruntime", "tiled")
"""Engines that are measured as ours; the others are there to compare with."""
HALF = "tiled bf16"
"""The tiled engine with filter and GNN in bfloat16; the embedding stays float32, or other hits would be neighbours."""
DEVICE_HALF = "triton bf16"
"""The same on a GPU."""


def own_cases(engines: tuple[str, ...] = tuple(ENGINES)) -> tuple[str, ...]:
    """Return the names of our cases with these engines."""
    return tuple(OWN + name for name in (*engines, HALF))


def device_cases(here: bool = False) -> tuple[str, ...]:
    """Return the names of our cases on a GPU; here: only those that this machine can run."""
    able = [name for name in DEVICE_ENGINES if not here or probe(backend("engine", name)).available]
    return tuple(OWN + name for name in (*able, *([DEVICE_HALF] if "triton" in able else [])))


def engine_and_precision(name: str) -> tuple[str, str]:
    """Return engine and precision of one of our cases, given without OWN."""
    return (name.removesuffix(" bf16"), MIXED) if name in (HALF, DEVICE_HALF) else (name, EXACT)


def open_case(name: str, bundle: Bundle, threads: int) -> Engine:
    """Return the engine of one of our cases, given without OWN; errors as of open_engine."""
    engine, precision = engine_and_precision(name)
    return open_engine(engine, bundle, threads, precision)


def is_ours(name: str) -> bool:
    """Return whether a case is one of our engines in float32, as what we are compared by."""
    return name.startswith(OWN) and name.removeprefix(OWN) in OUR_ENGINES
