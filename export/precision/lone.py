"""A file in half precision on its own: it says so in its metadata, and its float32 twin is not there."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from trkx.export.check import Expectation
from trkx.export.precision.checks import STRUCTURE, UNROUNDED, HalfFile, engine_rows
from trkx.export.precision.planned import strays
from trkx.export.precision.structure import problems
from trkx.export.precision.table import TYPES, HalfType
from trkx.export.validation.engines import Engine
from trkx.export.validation.invariance import invariance_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.repeatability import repeatability_rows
from trkx.export.validation.report import Row
from trkx.identity import PRECISION_KEY


def half_of(model: onnx.ModelProto | None) -> HalfType | None:
    """Return the type that one of our files says it computes in; None for float32 and for files of others."""
    held = {} if model is None else {item.key: item.value for item in model.metadata_props}
    return TYPES.get(held.get(PRECISION_KEY, ""))


def lone_rows(
    file: ModelFile, half: HalfType, oracle: Oracle, zoo: Sequence[Expectation], large: Expectation, engines: Sequence[Engine]
) -> list[Row]:
    """Return the rows of a half-precision file without its twin.

    What no engine here loads is "not checked", and so is what only the twin can tell.

    Args:
        file: the file.
        half: its type.
        oracle: of its own graph in float64, with tolerances that know its casts.
        zoo: what the oracle says of artificial graphs.
        large: what it says of a graph that is run again and again.
        engines: that the depth runs the format on.
    """
    model = onnx.load_model_from_string(file.data)
    wrong = problems(model, half) or strays(model, half)
    structure = Row("graphs", file.stage, file.path, "", STRUCTURE, "failed" if wrong else "passed",
                    detail=f"{wrong[0]}; export the bundle again." if wrong else "")
    twin = Row("graphs", file.stage, file.path, "", UNROUNDED, "not checked",
               detail="a file on its own has no float32 twin, which shows that nothing but casts was added; validate its bundle")
    here = [engine for engine in engines if engine.decisive and _loads(engine, file)]
    rows = [structure, twin, *engine_rows(HalfFile(file, half, b"", oracle), zoo)]
    return rows + (invariance_rows(file, zoo, oracle, here) + repeatability_rows(file, large, here) if here else [])


def _loads(engine: Engine, file: ModelFile) -> bool:
    try:
        engine.start(file)
    except Exception:  # the engines have error classes of their own; engine_rows says why
        return False
    return True
