"""Options of ONNX Runtime's TensorRT provider from the same profiles that our own engines are built with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trkx.runtime.cuda.tensorrt.profiles import Shape, StageProfile
from trkx.spec import PipelineSpec

NAME = "TensorrtExecutionProvider"


def provider_options(
    profile: StageProfile, spec: PipelineSpec, cache: Path | str, device_id: int = 0, stream: int | None = None,
    model: bytes = b"",
) -> dict[str, str]:
    """Return the provider's options for the file of one stage.

    The precision stands in the file: the flags that let the provider choose another are off, without which it reads the file as
    strongly typed. An event outside of the profile makes the provider build another engine, so callers must refuse it before
    (`trkx.runtime.cuda.tensorrt.padding.fitted`).

    Args:
        profile: of the stage.
        spec: of the bundle.
        cache: folder for engines and timings; the provider makes what is missing.
        device_id: number of the GPU.
        stream: address of the CUDA stream to compute in, e.g. `torch.cuda.current_stream().cuda_stream`; None for one of its own.
        model: the ONNX file: a file or profile that is another has a folder of its own, for the provider looks at names only.
    """
    shapes = profile.shapes(spec)
    digest = hashlib.sha256(repr(sorted(shapes.items())).encode() + model).hexdigest()[:32]
    folder = Path(cache) / f"{profile.stage}-{digest}"
    smallest, usual, largest = ({name: triple[place] for name, triple in shapes.items()} for place in range(3))
    options = {
        "device_id": str(device_id),
        "trt_profile_min_shapes": _spelled(smallest),
        "trt_profile_opt_shapes": _spelled(usual),
        "trt_profile_max_shapes": _spelled(largest),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "0",
        "trt_bf16_enable": "0",
        "trt_int8_enable": "0",
    }
    if stream is not None:
        options |= {"has_user_compute_stream": "1", "user_compute_stream": str(stream)}
    return options


def _spelled(shapes: dict[str, Shape]) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
