"""Builds engines through Polygraphy, for TensorRT 10 and 11 alike: strongly typed, one profile, TF32 only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trkx.errors import BundleError, MissingExtraError
from trkx.runtime.cuda.tensorrt.profiles import Shapes

OLDEST = (10, 0)
"""TensorRT 8 and 9 ignore the reduction of a scatter, and cast 64-bit indices."""


@dataclass(frozen=True)
class Tools:
    """The two packages, imported. trt: tensorrt. loaders: polygraphy.backend.trt. versions: of tensorrt and polygraphy."""

    trt: Any
    loaders: Any
    versions: tuple[str, str]


def tools() -> Tools:
    """Return tensorrt and polygraphy.

    Raises:
        MissingExtraError: one of them is not installed, or TensorRT is too old.
    """
    found = []
    for name in ("tensorrt", "polygraphy", "polygraphy.backend.trt"):
        try:
            found.append(importlib.import_module(name))
        except ImportError as error:
            raise MissingExtraError(
                f"engine 'tensorrt' needs the package {name.partition('.')[0]} ({error}). "
                "Install it: pip install 'trkx[tensorrt]'"
            ) from error
    trt, polygraphy, loaders = found
    version = str(trt.__version__)
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise MissingExtraError(
            f"TensorRT {version} is too old: before {OLDEST[0]} sums and 64-bit indices are not right. "
            "Install a newer one: pip install 'trkx[tensorrt]'"
        )
    return Tools(trt, loaders, (version, str(polygraphy.__version__)))


def built(tools: Tools, onnx: bytes, shapes: Shapes, tf32: bool, where: str) -> bytes:
    """Return the serialised engine of an ONNX file.

    Every tensor has the type that the file gives it: the network is strongly typed (TensorRT 11 knows nothing else), so no
    precision flag is set.

    Args:
        tools: from `tools`.
        onnx: the file.
        shapes: the one profile.
        tf32: let float32 products round their factors to TF32.
        where: path of the file, for errors.

    Raises:
        BundleError: the parser or the builder refuses the file; the message holds its own.
    """
    with _refusals(where, "can't be built into a TensorRT engine"):
        profile = tools.loaders.Profile()
        for name, (smallest, usual, largest) in shapes.items():
            profile.add(name, min=smallest, opt=usual, max=largest)
        network = tools.loaders.NetworkFromOnnxBytes(onnx, strongly_typed=True)
        config = tools.loaders.CreateConfig(tf32=tf32, profiles=[profile])
        return bytes(tools.loaders.EngineBytesFromNetwork(network, config=config)())


def loaded(tools: Tools, engine: bytes, where: str) -> Any:
    """Return the deserialised engine, a tensorrt.ICudaEngine.

    Raises:
        BundleError: TensorRT refuses it.
    """
    with _refusals(where, "its TensorRT engine can't be loaded"):
        return tools.loaders.EngineFromBytes(engine)()


@contextmanager
def _refusals(where: str, what: str) -> Iterator[None]:
    """Turn errors of Polygraphy and TensorRT into ours."""
    try:
        yield
    except (BundleError, MissingExtraError):
        raise
    except Exception as error:  # Polygraphy has its own class, TensorRT raises RuntimeError, TypeError and others
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BundleError(
            f"{where}: {what} ({first}). `trkx lint --target tensorrt` tells what TensorRT lacks; the log above has the rest."
        ) from error
