"""What `--lowering` says: NAME, for the one target that it can be meant for, or TARGET=NAME."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trkx.errors import ExportError, unknown_name
from trkx.export.lowerings.table import LOWERINGS, lowering_of
from trkx.export.targets import target_of


def lowerings_of(words: Iterable[str], targets: Sequence[str]) -> dict[str, str]:
    """Return target to lowering, for the targets whose lowering is chosen; the others keep their own.

    "tensorrt=scatter" is of that target. "scatter" alone is of the only target that gets ONNX files and lists it; where several
    do, it is refused: every bundle has files for ONNX Runtime on a CPU too, which somebody who asks for TensorRT may not mean.

    Args:
        words: of `--lowering`, each with commas between several.
        targets: those that get files, "ort-cpu" among them.

    Raises:
        ExportError: an unknown target or lowering, one that is not right on that target, a target without ONNX files, a word that
            can be meant for several targets or for none, or a target that is named twice.
    """
    found: dict[str, str] = {}
    for text in (part.strip() for word in words for part in word.split(",")):
        first, equals, last = (part.strip() for part in text.partition("="))
        target, name = (_written(first, targets, text), last) if equals else (_only(first, targets), first)
        if target in found:
            raise ExportError(f"lowering '{text}': {target} has {found[target]} already; a file has one lowering, give one.")
        found[target] = lowering_of(target, name).name
    return found


def _written(target: str, targets: Sequence[str], text: str) -> str:
    target_of(target)
    if target not in targets:
        raise ExportError(f"lowering '{text}': no file is written for {target}; add --target {target}, or name one of "
                          f"{', '.join(dict.fromkeys(targets))}.")
    return target


def _only(name: str, targets: Sequence[str]) -> str:
    if name not in LOWERINGS:
        raise ExportError(unknown_name("lowering", name, LOWERINGS))
    rows = [target_of(target) for target in dict.fromkeys(targets)]
    able = [row.name for row in rows if name in row.lowerings]
    if not able:
        choices = "; ".join(f"{row.name}: {', '.join(row.lowerings)}" for row in rows if row.lowerings)
        raise ExportError(f"lowering {name} is not right or not fast on any target of this export; they take {choices}.")
    if len(able) > 1:
        raise ExportError(f"lowering {name} can be meant for {' and '.join(able)}; say which: "
                          f"{' or '.join(f'--lowering {target}={name}' for target in able)} (repeatable).")
    return able[0]
