"""TRKX020: what the file says about itself: specification and stage in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from trkx.errors import SpecError
from trkx.export.lint.doors import dims_of, doors_of
from trkx.export.lint.finding import Remark, Rule, Severity, Subject
from trkx.identity import PREFIX, SPEC_KEY, STAGE_KEY
from trkx.spec import STAGES, PipelineSpec

LONGEST = 200
_REPAIRED = PREFIX + "repaired"
_FOREIGN = ("In a file of others this only notes what is missing: features, scales and cuts must travel beside it, as they do in "
            "a bundle that trkx exports.")


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.model is None:
        return
    severity: Severity = "warning" if subject.expected is None else "error"
    keys = [item.key for item in subject.model.metadata_props]
    held = {item.key: item.value for item in subject.model.metadata_props}
    for key in sorted({key for key in keys if keys.count(key) > 1}) if len(keys) < 1000 else ():
        yield Remark(f"metadata {_short(key)} stands there twice", key, "error")
    if SPEC_KEY not in held and subject.expected is None and not _ours(held):
        yield Remark(f"no metadata {SPEC_KEY}: the file does not say what it is", SPEC_KEY, "note", _FOREIGN)
    elif SPEC_KEY not in held:
        yield Remark(f"expected metadata {SPEC_KEY}, found none: the file does not say what it is", SPEC_KEY, severity)
    else:
        spec = _spec(held[SPEC_KEY])
        if isinstance(spec, str):
            yield Remark(f"metadata {SPEC_KEY} can't be read: {_short(spec)}", SPEC_KEY, severity)
        else:
            yield from _against_the_doors(subject, spec, held.get(STAGE_KEY, ""))
        if held.get(STAGE_KEY) not in STAGES:
            found = f"'{_short(held[STAGE_KEY])}'" if STAGE_KEY in held else "none"
            yield Remark(f"expected metadata {STAGE_KEY} to be {', '.join(STAGES)}, found {found}", STAGE_KEY, severity)
    yield from _differences(subject.expected or {}, held)


def _ours(keys: Iterable[str]) -> bool:
    """Return whether trkx wrote of a file what it is; that it repaired it says nothing of that."""
    return any(key.startswith(PREFIX) and key != _REPAIRED for key in keys)


def _differences(expected: dict[str, str], held: dict[str, str]) -> Iterator[Remark]:
    for key, value in expected.items():
        found = held.get(key)
        if found == value or (found is None and key == SPEC_KEY):
            continue
        if key == SPEC_KEY and found is not None:
            one, other = _spec(found), _spec(value)
            if isinstance(one, PipelineSpec) and one == other:
                continue  # the same, written by another version
        severity: Severity = "error" if key in (SPEC_KEY, STAGE_KEY) else "warning"
        what = "is absent, the bundle expects it" if found is None else "is another than that of the bundle"
        yield Remark(f"metadata {_short(key)} {what}", key, severity)


def _against_the_doors(subject: Subject, spec: PipelineSpec, stage: str) -> Iterator[Remark]:
    doors = doors_of(subject)
    x = dims_of(doors.x) if doors is not None and doors.x is not None else None
    if x is not None and len(x) == 2 and isinstance(x[1], int) and x[1] != len(spec.features):
        names = ", ".join(feature.name for feature in spec.features)
        yield Remark(f"x has {x[1]} columns, but the specification lists {len(spec.features)} features ({names})", "x", "error")
    output = dims_of(doors.output) if doors is not None and doors.output is not None else None
    wide = output[1] if output is not None and len(output) == 2 else None
    width = spec.width(stage)
    if stage == "embedding" and isinstance(wide, int) and wide != width:
        yield Remark(f"output has {wide} columns, but the specification's embedding has {width}", "output", "error")


def _spec(text: str) -> PipelineSpec | str:
    """Return the specification that metadata holds, or why it can't be read."""
    try:
        return PipelineSpec.from_dict(json.loads(text), SPEC_KEY)
    except (ValueError, AttributeError, TypeError, SpecError, RecursionError) as error:
        return str(error)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


RULE = Rule(
    id="TRKX020",
    name="spec-metadata",
    title="the file does not say, or says wrongly, which specification and stage it was made for",
    severity="warning",
    kinds=("onnx",),
    reason=(
        "Features, scales and cuts are not tied to a model file by anything else. With other features or scales every score is "
        "wrong, and no message says so: chains were found that dropped every edge for this."
    ),
    affected="files of another bundle; files that trkx has not written, as a note",
    fix="Export the bundle again, or take the file of this bundle.",
    link="https://github.com/acts-project/acts/issues/5911",
    check=_check,
)
