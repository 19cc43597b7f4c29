"""TRKX041: TorchScript code that names a device, or constants that stay on one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from trkx.export.lint.code import ACTS, archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.values import Device, Value
from trkx.models.checkpoints.stored import StoredTensor
from trkx.shown import shown

SCALARS = ("scalar_tensor", "tensor")


def check(subject: Subject) -> Iterator[Remark]:
    """Yield devices that the code names, and constants on a GPU or beyond the reach of `.to`."""
    return distinct((*_named(subject), *_attributes(subject), *_constants(subject)))


def _named(subject: Subject) -> Iterator[Remark]:
    """Yield devices written into the code. A scalar on the CPU mixes with tensors anywhere, so it is fine."""
    calls = archive_of(subject).script.calls
    scalars = {id(item) for _, call, name in calls if _makes_scalar(call, name) for item in ast.walk(call)}
    for where, call, name in calls:
        if name == "torch.cuda" or (name == "torch.cpu" and "cuda" in subject.target.devices):
            yield Remark(f"moves a tensor to a fixed device ({name.removeprefix('torch.')})", where)
        if name != "torch.device" or not call.args or not isinstance(call.args[0], ast.Constant):
            continue
        device = str(call.args[0].value)
        if device.startswith("cpu") and (id(call) in scalars or "cuda" not in subject.target.devices):
            continue
        yield Remark(f"device '{shown(device)}' is written into the code", where)


def _makes_scalar(call: ast.Call, name: str) -> bool:
    base = name.rpartition(".")[2]
    if not name.startswith("torch.") or not call.args:
        return False
    return base in SCALARS or (base in ("zeros", "ones", "full", "empty") and isinstance(call.args[0], ast.List) and
                               not call.args[0].elts)


def _attributes(subject: Subject) -> Iterator[Remark]:
    """Yield devices that come from an attribute of the module, where the code uses them."""
    for operation in archive_of(subject).flow.operations:
        for value in (*operation.args, *operation.named.values()):
            if _is_cuda(value):
                message = f"{shown(operation.short)} on device '{shown(value.const.name)}', an attribute of the module"
                yield Remark(message, operation.where)


def _is_cuda(value: Value) -> bool:
    return isinstance(value.const, Device) and value.stored and value.const.name.startswith("cuda")


def _constants(subject: Subject) -> Iterator[Remark]:
    """Yield tensors that the code holds as constants: `.to(device)` moves parameters and buffers only."""
    archive = archive_of(subject)
    tensors = [item for item in archive.constants if isinstance(item, StoredTensor) and item.shape != ()]
    abroad = sorted({item.storage.location for item in tensors} - {"cpu"})
    if abroad:
        yield Remark(f"{len(tensors)} constant tensors were saved on {shown(', '.join(abroad))} and stay where they are loaded",
                     "constants.pkl", "warning", "Freeze the model on the CPU, or load it with the device as an argument.")
    elif tensors and "cuda" in subject.target.devices:
        yield Remark(f"{len(tensors)} constant tensors (a frozen model?) do not follow `.to(device)`", "constants.pkl",
                     "warning" if subject.target.name.startswith("acts") else "note",
                     "For a GPU, save the model without torch.jit.freeze, or load it with the device as an argument.")


RULE = Rule(
    id="TRKX041",
    name="script-baked-device",
    title="a device is written into the code",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "A trace keeps the device of torch.zeros, torch.arange and `.to(device)`. On any other device the model stops "
        "with 'expected all tensors to be on the same device'; ACTS clones the model and moves it for every call. A file "
        "whose parameters were saved on a GPU is fine: loading moves them."
    ),
    affected="all versions of torch.jit.trace",
    fix=(
        "Make tensors from an input: x.new_zeros(…), torch.arange(…, device=x.device) in a scripted function; then export "
        "again."
    ),
    link=ACTS,
    check=check,
)
