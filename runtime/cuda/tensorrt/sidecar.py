"""What an engine file was built from and for, as JSON beside it: an engine runs on nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Self

from trkx.errors import BundleError, SpecError
from trkx.runtime.cuda.tensorrt.profiles import Shapes
from trkx.spec import from_dict

SCHEMA = 1


@dataclass(frozen=True)
class TensorShapes:
    """One input of an engine: its name, and its smallest, most frequent and largest shape."""

    name: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class Identity:
    """All that decides what an engine is.

    Attributes:
        stage: the network.
        onnx: SHA-256 of the ONNX file.
        precision: "fp32", "tf32", "bf16" or "fp16"; all but "tf32" stand in the file as well.
        profile: of each input.
        tensorrt: version of the builder.
        gpu: name of the device.
        compute_capability: of the device, "9.0".
    """

    stage: str
    onnx: str
    precision: str
    profile: tuple[TensorShapes, ...]
    tensorrt: str
    gpu: str
    compute_capability: str

    @property
    def key(self) -> str:
        """What a cache calls such an engine."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, sort_keys=True)
        return f"{self.stage}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class Sidecar:
    """What stands beside an engine file.

    Attributes:
        identity: what it was built from and for.
        engine: SHA-256 of the file.
        size: of it, in bytes.
        polygraphy, trkx: versions that the engine does not depend on.
        schema: version of this format.
    """

    identity: Identity
    engine: str
    size: int
    polygraphy: str
    trkx: str
    schema: int = SCHEMA

    def to_json(self) -> bytes:
        """Return JSON text, UTF-8."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Self:
        """Return what JSON text holds.

        Raises:
            BundleError: it is not what `to_json` writes.
        """
        try:
            values = json.loads(data)
            if not isinstance(values, dict) or values.get("schema") != SCHEMA:
                raise SpecError(f"expected a table with schema {SCHEMA}.")
            return from_dict(cls, values, where)
        except (SpecError, ValueError, RecursionError) as error:  # the last: brackets in brackets
            raise BundleError(f"{where}: no sidecar of an engine that this trkx reads: {error} Delete it.") from None


def identity_of(
    stage: str, onnx: bytes, precision: str, shapes: Shapes, tensorrt: str, gpu: str, compute_capability: str
) -> Identity:
    """Return the identity of an engine for an ONNX file on a device."""
    profile = tuple(TensorShapes(name, *triple) for name, triple in shapes.items())
    return Identity(stage, hashlib.sha256(onnx).hexdigest(), precision, profile, tensorrt, gpu, compute_capability)


def sidecar_of(identity: Identity, engine: bytes, polygraphy: str, trkx: str) -> Sidecar:
    """Return the sidecar of a built engine."""
    return Sidecar(identity, hashlib.sha256(engine).hexdigest(), len(engine), polygraphy, trkx)
