"""Options of ONNX Runtime's TensorRT provider from the same profiles that our own engines are built with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trkx.runtime.cuda.tensorrt.profiles import Shape, StageProfile
from trkx.spec import PipelineSpec

NAME = "TensorrtExecutionProvider"


def provider_options(
    profile: StageProfile, spec: PipelineSpec, cache: Path | str, device_id: int = 0, stream: int | None = None,
    model: bytes = b"", computes: str = "",
) -> dict[str, str]:
    """Return the provider's options for the file of one stage.

    The precision stands in the file: no flag lets the provider choose another, so it reads the file as strongly typed. Keys and
    words are those that the Python binding of ONNX Runtime 1.22 to 1.31 knows: "True" and "False", and one key for the stream. An
    event outside of the profile makes the provider build another engine, so callers must refuse it before
    (`trkx.runtime.cuda.tensorrt.padding.fitted`).

    Args:
        profile: of the stage.
        spec: of the bundle.
        cache: folder for engines and timings; the provider makes what is missing.
        device_id: number of the GPU.
        stream: address of the CUDA stream to compute in, e.g. `torch.cuda.current_stream().cuda_stream`; None for one of its own.
        model: the ONNX file.
        computes: what else makes another engine: precision, name of the GPU. Another file, profile or word of these has a folder
            of its own, for the provider looks at names of files and at the architecture only.
    """
    shapes = profile.shapes(spec)
    digest = hashlib.sha256(repr((sorted(shapes.items()), computes)).encode() + model).hexdigest()[:32]
    folder = Path(cache) / f"{profile.stage}-{digest}"
    smallest, usual, largest = ({name: triple[place] for name, triple in shapes.items()} for place in range(3))
    options = {
        "device_id": str(device_id),
        "trt_profile_min_shapes": _spelled(smallest),
        "trt_profile_opt_shapes": _spelled(usual),
        "trt_profile_max_shapes": _spelled(largest),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "False",
        "trt_int8_enable": "False",
    }
    if stream is not None:
        options["user_compute_stream"] = str(stream)
    return options


def _spelled(shapes: dict[str, Shape]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
