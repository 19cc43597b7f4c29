"""Say what a bundle, a pipeline folder or a single file is, as plain JSON values. Nothing that a file holds is executed."""

from __future__ import annotations

import importlib.util
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from trkx.bundle import MANIFEST_NAME, STAGES, Bundle
from trkx.errors import BundleError, CheckpointError, InputError, MissingExtraError, SpecError
from trkx.identity import PREFIX
from trkx.spec import PipelineSpec

Description = dict[str, Any]
MOST_HEADER_BYTES, MOST_ENTRIES = 8 << 20, 100_000
"""A safetensors header of more bytes or tensors is refused: the largest networks here have some hundred tensors."""
CHECKPOINT_SUFFIXES = (".ckpt", ".pt", ".pth", ".pkl", ".bin", ".tar")
"""What `trkx inspect` also takes, for messages; those are read by `trkx.export`."""


def describe(path: Path) -> Description:
    """Return what a path is: keys "kind" and "path" always, others by kind.

    Args:
        path: a bundle folder, a folder with pipeline.toml, an .onnx, .pt (TorchScript) or .safetensors file.

    Raises:
        InputError: nothing there, or nothing that trkx knows.
        BundleError, CheckpointError, SpecError: it is broken; the message says where.
        MissingExtraError: a package that reads this kind of file is not installed.
    """
    if path.name in (MANIFEST_NAME, "pipeline.toml") and path.is_file():
        path = path.parent
    if (path / MANIFEST_NAME).is_file():
        return describe_bundle(path)
    if (path / "pipeline.toml").is_file():
        return describe_pipeline_folder(path)
    readers = {".onnx": describe_onnx, ".safetensors": describe_safetensors, ".pt": describe_torchscript}
    wanted = (f"a bundle (folder with {MANIFEST_NAME}), a folder with pipeline.toml, a file ending in {', '.join(readers)}, "
              f"or, for `trkx inspect`, a checkpoint ({', '.join(CHECKPOINT_SUFFIXES)})")
    if not path.exists():
        raise InputError(f"{path}: there is nothing there; expected {wanted}.")
    reader = readers.get(path.suffix) or (describe_torchscript if is_torchscript(path) else None)
    if reader is None:
        raise InputError(f"{path}: expected {wanted}.")
    return {"path": str(path), **reader(path.read_bytes(), str(path))}


def describe_bundle(path: Path) -> Description:
    """Return what a bundle is, with the state of every file ("ok" or what is wrong) and the tensors of those that are ok."""
    bundle = Bundle.open(path, check=False)
    problems = bundle.problems()
    plain = bundle.manifest.to_dict()
    readers = {"onnx": describe_onnx, "safetensors": describe_safetensors}
    files = []
    for entry, values in zip(bundle.manifest.files, plain["files"], strict=True):
        problem = problems[entry.path]
        content: Description = {}
        if not problem and entry.format in readers:
            try:
                data = bundle.read(entry.stage, entry.format, entry.precision, entry.target)
                content = readers[entry.format](data, entry.path)
            except MissingExtraError as error:
                content = {"unread": str(error)}
        files.append({**values, "state": problem or "ok", "content": content})
    ok = not any(problems.values())
    return {"kind": "bundle", "path": str(path), "ok": ok, **plain, "files": files, "strangers": bundle.strangers()}


def describe_pipeline_folder(path: Path) -> Description:
    """Return what a folder with pipeline.toml and checkpoints is."""
    source = path / "pipeline.toml"
    try:
        values = tomllib.loads(source.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{source}: not valid TOML: {error}.") from None
    checkpoints = values.pop("checkpoints", {})
    if not isinstance(checkpoints, dict):
        raise SpecError(f"{source}: checkpoints: expected a table with {', '.join(STAGES)}, found {checkpoints!r}.")
    spec = PipelineSpec.from_dict(values, str(source))
    files = []
    for stage, name in checkpoints.items():
        file = path / str(name)
        state = "ok" if file.is_file() else "is missing"
        readable = state == "ok" and file.suffix == ".safetensors"
        content = describe_safetensors(file.read_bytes(), str(file)) if readable else {}
        size = file.stat().st_size if state == "ok" else ""
        kind = file.suffix.lstrip(".")
        files.append({"path": str(name), "stage": stage, "format": kind, "bytes": size, "state": state, "content": content})
    ok = all(file["state"] == "ok" for file in files)
    return {"kind": "pipeline folder", "path": str(path), "ok": ok, "name": spec.name, "spec": spec.to_dict(), "files": files}


def describe_safetensors(data: bytes, where: str) -> Description:
    """Return the tensors (dtype, shape) and the metadata of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8:
        raise CheckpointError(f"{where}: not a safetensors file, or truncated ({len(data)} bytes).")
    if size > MOST_HEADER_BYTES:
        raise CheckpointError(f"{where}: a safetensors header of {size:,} bytes, at most {MOST_HEADER_BYTES:,} are read.")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__", {})
        if len(header) > MOST_ENTRIES:
            raise CheckpointError(f"{where}: {len(header):,} tensors, at most {MOST_ENTRIES:,} are read.")
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise CheckpointError(f"{where}: the safetensors header is broken: expected __metadata__ to hold text only.")
        tensors = [{"name": name, "dtype": t["dtype"], "shape": list(t["shape"])} for name, t in sorted(header.items())]
        end = max((int(t["data_offsets"][1]) for t in header.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{where}: the safetensors header is broken ({error!r}).") from None
    if end != len(data) - 8 - size:
        raise CheckpointError(f"{where}: expected {end} bytes of tensors, found {len(data) - 8 - size}: truncated or edited.")
    return {"kind": "safetensors", "tensors": tensors, "metadata": metadata}


def describe_onnx(data: bytes, where: str) -> Description:
    """Return inputs, outputs, metadata, and with the onnx package also opset, IR version and operators."""
    if importlib.util.find_spec("onnx"):
        return _onnx_with_onnx(data, where)
    if importlib.util.find_spec("onnxruntime"):
        return _onnx_with_onnxruntime(data, where)
    raise MissingExtraError(f'{where}: reading ONNX needs onnxruntime or onnx; install one: pip install "trkx[cpu]"')


def _onnx_with_onnx(data: bytes, where: str) -> Description:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise InputError(f"{where}: not an ONNX file, or truncated ({len(data)} bytes).") from None

    def door(value: onnx.ValueInfoProto) -> Description:
        tensor = value.type.tensor_type
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        return {"name": value.name, "dtype": dtype, "shape": [d.dim_param or d.dim_value for d in tensor.shape.dim]}

    operators: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return {
        "kind": "onnx",
        "inputs": [door(v) for v in model.graph.input],
        "outputs": [door(v) for v in model.graph.output],
        "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "operators": dict(sorted(operators.items())),
        "metadata": {p.key: p.value for p in model.metadata_props},
    }


def _onnx_with_onnxruntime(data: bytes, where: str) -> Description:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own types, which differ between releases
        raise InputError(f"{where}: onnxruntime can't load it: {error}") from None
    meta = session.get_modelmeta()

    def door(value: Any) -> Description:
        return {"name": value.name, "dtype": value.type.removeprefix("tensor(").removesuffix(")"), "shape": list(value.shape)}

    return {
        "kind": "onnx",
        "inputs": [door(v) for v in session.get_inputs()],
        "outputs": [door(v) for v in session.get_outputs()],
        "producer": meta.producer_name,
        "metadata": dict(meta.custom_metadata_map),
    }


def describe_torchscript(data: bytes, where: str) -> Description:
    """Return parameters and signature of a TorchScript file. A pickled checkpoint is told apart without being loaded."""
    import io

    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        raise InputError(f"{where}: not a TorchScript file, or truncated ({len(data)} bytes).") from None
    if not any(name.endswith("/constants.pkl") for name in names):
        raise InputError(f"{where}: a pickled checkpoint, not TorchScript; reading one can execute code, so it stays closed.")
    if not importlib.util.find_spec("torch"):
        raise MissingExtraError(f'{where}: reading TorchScript needs torch; install it: pip install "trkx[export]"')
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
            module = torch.jit.load(io.BytesIO(data), map_location="cpu")
    except RuntimeError as error:
        raise InputError(f"{where}: torch can't load it: {str(error).splitlines()[0]}") from None
    tensors = [
        {"name": name, "dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        for name, value in sorted(module.state_dict().items())
    ]
    return {"kind": "torchscript", "signature": str(module._c._get_method("forward").schema), "tensors": tensors}


def is_torchscript(path: Path) -> bool:
    """Return whether a file is a zip archive with TorchScript in it; nothing else of it is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def ours(path: Path) -> bool:
    """Return whether a safetensors file has the metadata of a bundle of ours."""
    if path.suffix != ".safetensors":
        return False
    try:
        return any(key.startswith(PREFIX) for key in describe_safetensors(path.read_bytes(), str(path))["metadata"])
    except (CheckpointError, OSError):
        return True  # describe says what is wrong with it


def spec_of(description: Description) -> PipelineSpec | None:
    """Return the specification that a description holds, directly or in ONNX metadata; None if there is none."""
    if "spec" in description:
        return PipelineSpec.from_dict(description["spec"])
    text = description.get("metadata", {}).get(PREFIX + "spec")
    if text is None:
        return None
    try:
        return PipelineSpec.from_dict(json.loads(text), f"{description['path']}: {PREFIX}spec")
    except ValueError as error:
        raise BundleError(f"{description['path']}: {PREFIX}spec is not valid JSON ({error}).") from None
