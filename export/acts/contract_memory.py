"""What a model may do with memory in ACTS: inputs stay as they are, the output is its own, float32, contiguous, on any device."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor

from trkx.errors import ExportError
from trkx.export.acts.contract import Check, Found
from trkx.export.acts.emulated_onnx import session_of
from trkx.export.acts.subject import Subject
from trkx.export.check import inputs_of
from trkx.export.onnx_graph import Graph as OnnxGraph
from trkx.export.torchscript_file import load_torchscript, problems_in_torchscript, torchscript_is_meant
from trkx.export.validation.graphs import brief
from trkx.export.zoo import Case

Module = Callable[..., Any]
MAKERS = ("aten::arange", "aten::empty", "aten::eye", "aten::full", "aten::linspace", "aten::ones", "aten::zeros")
"""Operators that make tensors out of nothing, on a device of their own."""
_ARGUMENTS = re.compile(r"(?<=[(,])[^(),]*(?:\([^()]*\))?[^(),]*(?=[,)])")
"""Arguments in a schema, such as `aten::zeros(SymInt[] size, *, Device? device=None) -> Tensor`."""


def _called(subject: Subject) -> tuple[Module, list[Tensor], Tensor]:
    """Return the module, its inputs on the event, and its output."""
    module = load_torchscript(subject.file.data).eval()
    inputs = list(inputs_of(subject.file.stage, subject.event.case, torch.float32))
    output = module(*inputs)
    if not isinstance(output, Tensor):
        raise ExportError(f"ACTS expects one tensor, the model returns a {type(output).__name__}")
    return module, inputs, output


def _torch_doors(subject: Subject) -> Found:
    with torch.inference_mode():
        _, inputs, output = _called(subject)
    rows = len(subject.event.case.x) if subject.file.stage == "embedding" else subject.event.case.edge_index.shape[1]
    wanted = [rows, subject.file.width]
    problems = []
    if output.dtype != torch.float32:
        problems.append(f"the output is {str(output.dtype).removeprefix('torch.')}, ACTS takes float32")
    if list(output.shape) != wanted:
        problems.append(f"the output has shape {list(output.shape)}, expected {wanted}")
    if not output.is_contiguous():
        problems.append(f"the output is not contiguous (strides {list(output.stride())}), and ACTS reads through a raw pointer")
    return Found(problem="; ".join(problems), detail=f"float32 {wanted}, contiguous, from {len(inputs)} inputs")


def _torch_inputs(subject: Subject) -> Found:
    """Compare values, and torch's count of writes: what is written and put back, another thread may read in between."""
    with torch.no_grad():  # inference mode counts nothing
        module = load_torchscript(subject.file.data).eval()
        inputs = list(inputs_of(subject.file.stage, subject.event.case, torch.float32))
        kept = [(value.clone(), value._version) for value in inputs]
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        versions = {name: tensor._version for name, tensor in own.items()}
        module(*inputs)
    names = ("x", "edge_index", "edge_attr")
    written = [
        name for name, one, (other, version) in zip(names, inputs, kept, strict=False)
        if not torch.equal(one, other) or one._version != version
    ]
    if written:
        return Found(problem=f"the model writes into {' and '.join(written)}, memory of ACTS that later stages read")
    shared = [name for name, tensor in own.items() if tensor._version != versions[name]]
    if shared:
        return Found(problem=f"the model writes into {' and '.join(shared[:3])}, memory of its own that all threads share")
    return Found(detail="inputs, weights and buffers are the same afterwards")


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _torch_output(subject: Subject) -> Found:
    """Run sigmoid_() on the first output: inputs, weights and a second call must not feel it, nor the first output that call."""
    with torch.inference_mode():
        module, inputs, output = _called(subject)
        held = {"an input": inputs}
        if isinstance(module, torch.jit.ScriptModule):
            held |= {"a weight": list(module.parameters()), "a buffer": list(module.buffers())}
        for what, tensors in held.items():
            if output.numel() and any(_memory(value) == _memory(output) for value in tensors):
                return Found(problem=f"the output is memory of {what}, on which ACTS runs sigmoid_()")
        first = output.clone()
        output.squeeze_().sigmoid_()
        after = output.clone()
        second = module(*inputs)
        if not torch.equal(second, first):
            return Found(problem="a second call gives something else after sigmoid_() on the first output: a kept buffer")
        if not torch.equal(output, after):
            return Found(problem="a second call changes the output of the first: a kept buffer")
    return Found(detail="two calls, two outputs; sigmoid_() on one is harmless")


def _torch_device(subject: Subject) -> Found:
    """Look for what stays behind when ACTS moves the model: devices in the code, and tensors that are no weights."""
    module = load_torchscript(subject.file.data).eval()
    problems = problems_in_torchscript(subject.file.data)
    if not problems:
        problems = _left_behind(subject)
    for node in module.inlined_graph.nodes():
        if node.kind() == "prim::Constant" and node.hasAttribute("value") and node.kindOf("value") == "t":
            size = list(node.t("value").shape)
            if size:  # a single number may stay on the CPU
                problems.append(f"a constant of shape {size} is part of the code and stays on the CPU")
    return Found(problem="; ".join(problems[:3]), detail="nothing is left behind when the model is moved")


def _to_meta(module: Any) -> None:
    """Move parameters and buffers of a TorchScript module (torch._C.ScriptModule) and all in it: `to` refuses plain tensors."""
    dicts: tuple[Any, ...] = (torch._C.ParameterDict(module), torch._C.BufferDict(module), torch._C.ModuleDict(module))
    parameters, buffers, modules = (dict(found.items()) for found in dicts)
    for name, tensor in (parameters | buffers).items():
        module.setattr(name, tensor.detach().to("meta"))
    for inner in modules.values():
        _to_meta(inner)


def _left_behind(subject: Subject) -> list[str]:
    """Move the model to the device "meta", which has shapes alone, and call it there: what stays on the CPU can't be mixed in."""
    with torchscript_is_meant(), torch.inference_mode():
        module = load_torchscript(subject.file.data).eval()
        _to_meta(module._c)
        inputs = [value.to("meta") for value in inputs_of(subject.file.stage, subject.event.case, torch.float32)]
        try:
            output = module(*inputs)
        except Exception as error:  # RuntimeError, NotImplementedError
            return [f"on another device the model fails: {brief(error)}"]
        if output.device.type != "meta":
            return [f"on another device the output is on {output.device.type} all the same"]
    return [
        f"{node.kind()} makes a tensor on the default device"
        for node in module.inlined_graph.nodes() if node.kind() in MAKERS and _default_device(node)
    ]


def _default_device(node: Any) -> bool:
    """Return whether the argument device of a node is None, which means torch's default, not that of another input."""
    names = [part.split("=")[0].split()[-1] for part in _ARGUMENTS.findall(node.schema())]
    inputs = list(node.inputs())
    if "device" not in names or len(inputs) <= names.index("device"):
        return False
    return str(inputs[names.index("device")].type().kind()) == "NoneType"


def _onnx_doors(subject: Subject) -> Found:
    model = onnx.load_model_from_string(subject.file.data)
    session = session_of(subject.file.data)
    problems = [problem for problem in (
        *_kinds(session.get_inputs(), (("x", "tensor(float)"), ("edge_index", "tensor(int64)"), ("edge_attr", "tensor(float)"))),
        *_kinds(session.get_outputs(), (("output", "tensor(float)"),)),
    ) if problem]
    graph = OnnxGraph(model, infer=False)
    shape = graph.shape(model.graph.output[0].name) if len(model.graph.output) == 1 else None
    if shape is None or len(shape) != 2:
        found = "none" if shape is None else str(len(shape))
        problems.append(f"the output has rank {found}, expected 2, [E, 1]: ACTS preallocates memory by the declared rank")
    elif isinstance(shape[0], int):
        problems.append(f"the output is declared with {shape[0]} edges, whatever the event has")
    return Found(problem="; ".join(problems), detail="float32 and int64, output of rank 2")


def _kinds(values: Sequence[Any], wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is wrong with the names and types of inputs or outputs; the last wanted ones may be missing."""
    pairs = list(zip(values, wanted, strict=False))
    problems = [f"{value.name} is {value.type}, ACTS has {kind} for it" for value, (_, kind) in pairs if value.type != kind]
    others = [(value.name, name) for value, (name, _) in pairs if value.name != name]
    return problems + [f"'{found}' should be called {name}, as TensorRT binds it" for found, name in others]


def _onnx_inputs(subject: Subject) -> Found:
    session = session_of(subject.file.data)
    case: Case = subject.event.case
    feeds = {item.name: array.copy() for item, array in zip(session.get_inputs(), case.arrays(), strict=False)}
    first = session.run(None, feeds)[0]
    held = first.copy()
    session.run(None, feeds)
    pairs = zip(feeds.items(), case.arrays(), strict=False)
    changed = [name for (name, array), before in pairs if array.tobytes() != before.tobytes()]
    if changed:
        return Found(problem=f"the model writes into {' and '.join(changed)}")
    same = first.tobytes() == held.tobytes()
    return Found(problem="" if same else "a second run changes the output of the first", detail="inputs and first output stay")


TORCH: Mapping[str, Check] = {
    "types, shape, memory": _torch_doors,
    "inputs unchanged": _torch_inputs,
    "output of its own": _torch_output,
    "any device": _torch_device,
}
ONNX: Mapping[str, Check] = {"types, rank, names": _onnx_doors, "inputs unchanged": _onnx_inputs}
