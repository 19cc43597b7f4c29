"""What is compared: runs, each an engine in precisions. How a user lists them, how they are opened."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trkx.errors import SpecError, TrkxError
from trkx.runtime.engines import ENGINES
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.precision import EXACT, precisions
from trkx.spec import STAGES


@dataclass(frozen=True)
class Run:
    """engine: what runs the networks. precision: in which, as `trkx.runtime.precision` reads it."""

    engine: str
    precision: str


@dataclass(frozen=True)
class Setting:
    """How all runs run: folder of the bundle; neighbours, labelling: of engines on the CPU; device: of those on a GPU."""

    bundle: str
    neighbours: str = "grid"
    labelling: str = "union_find"
    threads: int = 1
    device: str | None = None

    def open(self, run: Run) -> Pipeline:
        """Open the pipeline of a run; raises as Pipeline.open."""
        if run.engine not in ENGINES:  # on a device, with its own search and labelling; or a name that nobody knows
            return Pipeline.open(
                self.bundle, run.engine, threads=self.threads, precision=run.precision, device=self.device
            )
        return Pipeline.open(self.bundle, run.engine, self.neighbours, self.labelling, self.threads, run.precision)


def named_runs(precision: str, engine: str = "tiled", present: Sequence[str] = STAGES) -> dict[str, Run]:
    """Return name to run of what a user lists: every engine in every precision, the first of the first first.

    A run is called by its precision, or by engine and precision if there are several engines.

    Args:
        precision: "fp32,mixed,filter=bf16+gnn=tf32"; + joins the stages of one run.
        engine: "tiled" or "tiled,onnxruntime".
        present: the stages that the bundle has; another may not be named.

    Raises:
        SpecError: an unknown precision or stage, a stage that is not there, fewer than two runs, or one that is named twice.
    """
    engines = _once("--engine", engine)
    words = _once("--precision", precision)
    for word in words:
        precisions(word.replace("+", ","), present)
    runs = {
        word if len(engines) == 1 else f"{name} {word}": Run(name, word.replace("+", ","))
        for name in engines for word in words
    }
    if len(runs) < 2:
        raise SpecError(
            f"--precision '{precision}': a comparison needs two or more, such as fp32,bf16, or two engines; the first is the "
            "reference."
        )
    return runs


def _once(option: str, text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    twice = next((word for word in words if words.count(word) > 1), "")
    if twice:
        raise SpecError(f"{option} '{text}': {twice} stands there twice; a comparison with itself says nothing.")
    return words


def open_runs(setting: Setting, runs: Mapping[str, Run]) -> tuple[dict[str, Pipeline], dict[str, str]]:
    """Return name to pipeline, and name to why a run can't be opened.

    Raises:
        TrkxError: the first, or one of a single engine, can't be: nothing could be compared, or something else was meant.
    """
    several = len({run.engine for run in runs.values()}) > 1
    opened: dict[str, Pipeline] = {}
    refused: dict[str, str] = {}
    for name, run in runs.items():
        try:
            opened[name] = setting.open(run)
        except TrkxError as error:
            if not several or not opened:
                raise
            refused[name] = str(error)
    if len(opened) < 2:
        raise SpecError(f"nothing can be compared with {next(iter(runs))}: " + "; ".join(refused.values()))
    return opened, refused


def emulated_here(runs: Mapping[str, Run]) -> tuple[str, ...]:
    """Return names of runs of which a network is computed in float32 on this machine: rounded rightly, timed wrongly."""
    return tuple(name for name, run in runs.items() if emulated_words(run.engine, run.precision))


def emulated_words(engine: str, precision: str) -> tuple[str, ...]:
    """Return which precisions of a run its engine computes in float32 on this machine.

    The tiled engine does so where the machine has no such product; ONNX Runtime's CPU provider with float16 on all but ARM, where
    it puts casts around its float32 kernels.
    """
    used = set(precisions(precision).values()) - {EXACT}
    if engine == "onnxruntime":
        return tuple(sorted(used)) if platform.machine().lower() not in ("aarch64", "arm64") else ()
    if engine != "tiled" or not used:
        return ()
    from trkx.runtime.tiled.host import host  # LLVM is loaded when it is needed

    return tuple(sorted(name for name in used if not host(name).pairs))
