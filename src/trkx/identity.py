"""What a file says about itself: canonical JSON, and metadata that repeats the specification the file was made for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from trkx.errors import BundleError, SpecError
from trkx.spec import PipelineSpec

PREFIX = "pkg.trkx."
SPEC_KEY, STAGE_KEY, TARGET_KEY = PREFIX + "spec", PREFIX + "stage", PREFIX + "target"
PRECISION_KEY = PREFIX + "precision"
"""Only in files of half precision: "float16" or "bfloat16"."""


def canonical_json(values: object) -> str:
    """Return plain values as JSON with sorted keys and no spaces, ASCII only; floats read back bitwise.

    Raises:
        ValueError, TypeError: values hold NaN, an infinity or something that is not plain.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def spec_json(spec: PipelineSpec) -> str:
    """Return the spec as canonical JSON."""
    return canonical_json(spec.to_dict())


def require_same(
    metadata: Mapping[str, str], spec: PipelineSpec, where: str, stage: str | None = None, precision: str | None = None,
    target: str | None = None,
) -> None:
    """Require that a file's metadata names this spec and, if given, this stage, precision and target.

    Specs are compared as they are read, so a key that a later trkx adds with a default makes no difference.

    Args:
        metadata: `metadata_props` of an ONNX file, extra files of a TorchScript file, or `__metadata__` of a safetensors file.
        spec: what `bundle.json` says.
        where: the file, for the message.
        stage: what the file is used for, None if the file serves every stage.
        precision: "float32", "float16" or "bfloat16", of an ONNX file.
        target: such as "ort-cpu".

    Raises:
        BundleError: the metadata is absent, unreadable, or names something else; the message says what differs.
    """
    text = metadata.get(SPEC_KEY)
    if text is None:
        raise BundleError(f"{where}: expected metadata {SPEC_KEY}, found none: not written by trkx. Export the bundle again.")
    try:
        held = PipelineSpec.from_dict(json.loads(text), SPEC_KEY)
    except (ValueError, AttributeError, TypeError, SpecError) as error:
        raise BundleError(f"{where}: metadata {SPEC_KEY} can't be read ({error}). Export the bundle again.") from None
    if held != spec:
        own, listed = dict(_flat(held.to_dict())), dict(_flat(spec.to_dict()))
        keys = [key for key in {**own, **listed} if own.get(key) != listed.get(key)]
        shown = "; ".join(f"{key} is {own.get(key)!r} in the file and {listed.get(key)!r} in bundle.json" for key in keys[:3])
        raise BundleError(f"{where}: was made for another specification: {shown}. Export the bundle again.")
    if stage is not None and metadata.get(STAGE_KEY) != stage:
        raise BundleError(
            f"{where}: expected the network of stage {stage}, found stage {metadata.get(STAGE_KEY)!r} in its metadata. "
            "Export the bundle again."
        )
    rest = (("precision", PRECISION_KEY, precision, "float32"), ("target", TARGET_KEY, target, "ort-cpu"))
    for name, key, wanted, usual in rest:
        found = metadata.get(key, usual)
        if wanted is not None and found != wanted:
            raise BundleError(
                f"{where}: expected {name} {wanted}, as bundle.json says, found {found} in its metadata. Export the bundle again."
            )


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield dotted name and value of every scalar in nested tables and lists."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{name}[{index}]")
    else:
        yield name, value
