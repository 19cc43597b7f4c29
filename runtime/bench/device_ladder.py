"""`trkx bench ladder --device cuda`: the rungs of the 2021 talk on a GPU, and ours.

As on the CPU, every stage of a rung is given the same inputs, here on the device, and runs in a process of its own. What is not
installed is shown as that; where something stands in for it, the cell has a star and the note below says what.

Source: A. Lazar et al. (Exa.TrkX), "Accelerating the Inference of the Exa.TrkX Pipeline", ACAT 2021, arXiv:2202.06929.
"""

from __future__ import annotations

from collections.abc import Sequence

from trkx.backends import backend, probe
from trkx.runtime.bench import ladder_table
from trkx.runtime.bench.adapters.table import DBSCAN
from trkx.runtime.bench.device_rungs import AMP, EAGER, OUR_ENGINE, TRITON, prepare, required
from trkx.runtime.bench.ladder import LAST, WHOLE, Course, Rung, climbed
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.rungs import PARQUET, STAGES
from trkx.runtime.cuda.engines.table import device_of
from trkx.tables import FittedTable

START_UP = 120.0
"""Seconds for libraries, a context on the GPU, kernels that are compiled at first use, and a first call to see the memory."""
NOTE = "GPU memory in use: by whomever, contexts and pools of libraries included; above it, what torch gave out, without them."
STAND_INS = {
    ("build edges", "torch_cluster"): (("torch_cluster", "torch_cluster"), ("torch, all pairs", "")),
    ("build edges", "faiss flat"): (("faiss flat", "faiss-gpu"),),
    ("labelling", "cuGraph"): (("cuGraph", "cugraph"), ("pylibcugraph", "pylibcugraph")),
    ("build edges", "FRNN"): (("FRNN", "frnn"), ("libFRNN", "frnn_cuda")),
}
"""(stage, what the talk used) to (means, row of trkx.backends): the first that is installed is measured, the first if none is."""


def ladder() -> tuple[Rung, ...]:
    """Return the rungs, in the order of the talk; each changes one thing."""
    networks = ("embedding", "filtering", "GNN")
    means = {"data loading": PARQUET, **dict.fromkeys(networks, EAGER), "labelling": DBSCAN.name}
    changes: tuple[tuple[str, dict[str, str]], ...] = (
        ("baseline", {"build edges": "torch_cluster"}),
        ("+ faiss", {"build edges": "faiss flat"}),
        ("+ cuGraph", {"labelling": "cuGraph"}),
        ("+ AMP", dict.fromkeys(networks, AMP)),
        ("+ FRNN", {"build edges": "FRNN"}),
        ("+ our kernels", {"build edges": TRITON, "labelling": TRITON}),
    )
    instead: dict[str, str] = {}
    rungs = []
    for name, change in changes:
        for stage, wanted in change.items():
            used = _used(stage, wanted)
            means = means | {stage: used}
            instead = {other: library for other, library in instead.items() if other != stage}
            if used != wanted:
                instead[stage] = wanted
        rungs.append(Rung(name, means, instead))
    return (*rungs, Rung(LAST, dict.fromkeys(STAGES, WHOLE)))


def _used(stage: str, wanted: str) -> str:
    choices = STAND_INS.get((stage, wanted), ((wanted, ""),))
    there = [means for means, row in choices if not row or probe(backend("peer", row), gpu=False).available]
    return there[0] if there else wanted


def known_cases() -> tuple[str, ...]:
    """Return the names of the rungs."""
    return tuple(rung.name for rung in ladder())


def rows(options: Options) -> list[Row]:
    """Measure every rung of the ladder on every event.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
        MissingExtraError: there is no GPU.
    """
    device = options.device
    device_of(device)
    course = Course(
        ladder(), "trkx.runtime.bench.device_rungs", lambda stage, means: required(stage, means, device),
        lambda bundle, event, file: prepare(bundle, event, file, device), OUR_ENGINE, {"device": device}, START_UP,
    )
    return climbed(course, options)


def tables(rows: Sequence[Row], title: str) -> list[FittedTable]:
    """Return the table of times and memory by rung, and below it by what means each stage was done and what came out."""
    return ladder_table.tables(rows, title, "GPU memory, torch", (NOTE,))
