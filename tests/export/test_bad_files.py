"""Files that are no models, damaged, or made to harm: each is refused with a message, in bounded time and memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.numpy import save
from support.tiny import TinyExport
from torch import nn

from trkx.errors import CheckpointError, ExportError
from trkx.export.lint.opening import opened
from trkx.export.lint.rules import script_unread
from trkx.export.targets import TARGETS
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.models.checkpoints.members import checked_members
from trkx.models.checkpoints.pickles import read_pickle
from trkx.models.checkpoints.stored import Made, Name, StoredTensor
from trkx.shown import shown

LIMIT = 10.0


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < LIMIT


@pytest.fixture(scope="module")
def script() -> bytes:
    """A small TorchScript file."""
    torch.set_num_threads(1)
    buffer = io.BytesIO()
    with torchscript_is_meant():
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()), buffer)
    return buffer.getvalue()


def onnx_of(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["num_hits", 3])
    y = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["num_hits", 3])
    return helper.make_model(helper.make_graph(nodes, "net", [x], [y]), opset_imports=[helper.make_opsetid("", 18)])


def network() -> onnx.ModelProto:
    return onnx_of([helper.make_node("Relu", ["x"], ["h"], "one"), helper.make_node("Neg", ["h"], ["output"], "two")])


def refused(path: Path, *words: str, target: str | None = None) -> str:
    """Open a file that must be refused, with these words in the message; return the message."""
    with pytest.raises(ExportError) as caught:
        opened(path, target)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert message.isprintable()
    return message


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 2).state_dict(), buffer)
    return buffer.getvalue()


def exported_program() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        new.writestr("m/archive_format", "pt2")
        new.writestr("m/models/model.json", "{}")
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
OTHERS: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("empty", lambda: b"", ("empty",)),
    ("lfs pointer", lambda: POINTER, ("git lfs pull",)),
    ("web page", lambda: b"\n<!DOCTYPE html><html>404</html>", ("web page",)),
    ("text", lambda: "# Modèle\n".encode(), ("text",)),
    ("long text", lambda: "é".encode() * 10_000, ("text",)),
    ("json", lambda: json.dumps({"irVersion": 8}).encode(), ("text",)),
    ("state dict", checkpoint, ("torch.save", "trkx inspect FILE", "export-models --gnn FILE")),
    ("old state dict", lambda: pickle.dumps({"weight": 1}, protocol=2), ("pickled checkpoint", "export-models")),
    ("pickle", lambda: pickle.dumps([1, 2]), ("pickled checkpoint",)),
    ("safetensors", lambda: bytes(save({"w": np.zeros(3, np.float32)})), ("safetensors", "export-models")),
    ("exported program", exported_program, ("aoti_compile_and_package",)),
    ("npz", npz, ("not one of torch",)),
    ("npy", lambda: b"\x93NUMPY\x01\x00", ("NumPy",)),
    ("gzip", lambda: b"\x1f\x8b\x08\x00", ("gzip",)),
    ("engine", lambda: b"ftrt" + bytes(200), ("TensorRT",)),
    ("ort format", lambda: b"\x18\x00\x00\x00ORTM" + bytes(200), ("ONNX Runtime's own",)),
    ("zeros", lambda: bytes(100_000), ("zero bytes",)),
    ("random", lambda: b"\xf3\x8f\x02\xff\xfe" * 100, ("not a model file",)),
    ("empty zip", lambda: b"PK\x05\x06" + bytes(18), ("no model of torch", "nothing")),
    ("graphless", lambda: onnx.ModelProto(ir_version=8).SerializeToString(), ("without a graph",)),
]


@pytest.mark.parametrize(("data", "words"), [case[1:] for case in OTHERS], ids=[case[0] for case in OTHERS])
def test_what_is_no_model_is_called_by_its_name(tmp_path: Path, data: Callable[[], bytes], words: tuple[str, ...]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(data())
    refused(path, "model.onnx", *words)


def test_places_without_a_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.onnx", "no such file")
    refused(tmp_path, "folder")
    refused(tmp_path / "a\0b", "no name of a file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    refused(tmp_path / "link", "pipe")
    refused(Path("/dev/zero"), "device")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "can't be read")


def test_good_files_open_whatever_they_are_called(tmp_path: Path, script: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(network().SerializeToString())
    (tmp_path / "b.onnx").write_bytes(script)
    one, two = opened(tmp_path / "a.pt"), opened(tmp_path / "b.onnx", max_edges=7, stage="gnn", expected={"k": "v"})
    assert (one.kind, one.target.name, one.stage) == ("onnx", "ort-cpu", "") and one.graph is not None
    assert (two.kind, two.target.name, two.max_edges) == ("torchscript", "libtorch", 7)
    assert (two.stage, two.expected) == ("gnn", {"k": "v"})
    assert two.archive is not None and two.archive.root_class.endswith("Sequential")
    assert [tensor.shape for tensor in two.archive.parameters()] == [(4, 3), (4,)]


def test_the_stage_is_read_from_metadata(tiny_export: TinyExport) -> None:
    assert opened(tiny_export.folder / "filter.onnx").stage == "filter"
    assert opened(tiny_export.folder / "filter.onnx", stage="gnn").stage == "gnn"


def test_the_target_must_take_the_format(tmp_path: Path, script: bytes) -> None:
    (tmp_path / "a.onnx").write_bytes(network().SerializeToString())
    (tmp_path / "b.pt").write_bytes(script)
    refused(tmp_path / "a.onnx", "takes TorchScript", "this is ONNX", "ort-cpu", target="acts-torch")
    refused(tmp_path / "b.pt", "takes ONNX", "this is TorchScript", "libtorch", target="tensorrt")
    refused(tmp_path / "b.pt", "compiled AOTInductor", target="aoti")
    refused(tmp_path / "b.pt", "unknown target", "libtorch", target="libtorsh")
    assert opened(tmp_path / "b.pt", TARGETS["acts-torch"]).target.name == "acts-torch"


# ONNX ------------------------------------------------------------------------------------------------------------------------

def test_files_beyond_two_gib_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.onnx"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start, words in ((network().SerializeToString(), ("2 GiB", "external data")), (b"PK\x03\x04", ("damaged or truncated",)),
                         (b"", ("zero bytes",)), (b"\x80\x02", ("pickled checkpoint",))):
        with path.open("wb") as file:
            file.write(start)
            file.truncate(3 * 2**30)
        refused(path, *words)
    with path.open("wb") as file:
        file.write(network().SerializeToString())
        file.truncate(2**31 - 1)
    refused(path, "not an ONNX model")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_truncated_onnx_is_refused(tmp_path: Path, tiny_export: TinyExport) -> None:
    data = (tiny_export.folder / "gnn.onnx").read_bytes()
    for size in (*range(1, 60), len(data) // 2, len(data) - 1):
        (tmp_path / "m.onnx").write_bytes(data[:size])
        refused(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").write_bytes(data + b"PK\x03\x04")
    refused(tmp_path / "m.onnx", "not an ONNX model")


def test_a_cycle_is_refused_and_bad_order_is_not(tmp_path: Path) -> None:
    a, b = helper.make_node("Add", ["x", "q"], ["h"], "first"), helper.make_node("Neg", ["h"], ["q"], "second")
    (tmp_path / "m.onnx").write_bytes(onnx_of([a, b, helper.make_node("Relu", ["q"], ["output"])]).SerializeToString())
    refused(tmp_path / "m.onnx", "cycle", "first")
    itself = helper.make_node("Add", ["x", "output"], ["output"], "itself")
    (tmp_path / "m.onnx").write_bytes(onnx_of([itself]).SerializeToString())
    refused(tmp_path / "m.onnx", "cycle")
    model = network()
    model.graph.node.insert(0, model.graph.node.pop())
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert opened(tmp_path / "m.onnx").graph is not None


def test_a_cycle_through_a_body_is_refused(tmp_path: Path) -> None:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Neg", ["output"], ["b"])], "body", [], [out])
    node = helper.make_node("If", ["x"], ["output"], "branch", then_branch=body, else_branch=body)
    (tmp_path / "m.onnx").write_bytes(onnx_of([node]).SerializeToString())
    refused(tmp_path / "m.onnx", "cycle", "branch")


def test_a_long_graph_opens(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"v{n}" if n else "x"], [f"v{n + 1}"]) for n in range(20_000)]
    nodes.append(helper.make_node("Neg", ["v20000"], ["output"]))
    (tmp_path / "m.onnx").write_bytes(onnx_of(nodes).SerializeToString())
    assert opened(tmp_path / "m.onnx").graph is not None


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    inner = b""
    for _ in range(3000):  # attribute.g inside node.attribute inside graph.node, written by hand: libraries stop earlier
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            inner = tag + length(len(inner)) + inner
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x3a" + length(len(inner)) + inner)
    refused(tmp_path / "m.onnx", "nested too deeply")


def test_a_graph_of_millions_of_nothings_is_refused(tmp_path: Path) -> None:
    nodes = b"\x0a\x00" * 2_000_000
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x3a" + length(len(nodes)) + nodes)
    refused(tmp_path / "m.onnx", "parts is no plausible model")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08" * 2_000_000)
    refused(tmp_path / "m.onnx", "not an ONNX model")
    inputs = b"\x0a\x00" * 4_000_000
    node = b"\x0a" + length(len(inputs)) + inputs
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x3a" + length(len(node)) + node)
    refused(tmp_path / "m.onnx", "parts is not plausible")


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    data = network().SerializeToString().replace(b"one", b"\xff\xfe\xfd")
    (tmp_path / "m.onnx").write_bytes(data)
    refused(tmp_path / "m.onnx", "UTF-8")


def test_hostile_names_are_shown_harmlessly(tmp_path: Path) -> None:
    name = "\x1b[2J[bold red]owned[/]\u202e"
    node = helper.make_node("Add", ["x", "output"], ["output"], name)
    (tmp_path / "m.onnx").write_bytes(onnx_of([node]).SerializeToString())
    message = refused(tmp_path / "m.onnx", "owned")
    assert "\x1b" not in message and "[bold" not in message and "\u202e" not in message
    assert shown("layers[0].weight [314, 8]") == "layers[0].weight [314, 8]"
    assert shown("a\nb\x00\ud800") == r"a\nb\x00\ud800"
    assert len(shown("a" * 10_000)) <= 120


def length(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    found = b""
    while number > 0x7F:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


# TorchScript -----------------------------------------------------------------------------------------------------------------

def rewritten(data: bytes, change: Callable[[zipfile.ZipInfo, bytes], tuple[zipfile.ZipInfo, bytes] | None],
              more: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for info in old.infolist():
            kept = change(zipfile.ZipInfo(info.filename), old.read(info))
            if kept is not None:
                new.writestr(kept[0], kept[1], method)
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return buffer.getvalue()


def same(info: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    return info, data


def test_a_packed_archive_opens(tmp_path: Path, script: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(rewritten(script, same, method=zipfile.ZIP_DEFLATED))
    assert opened(tmp_path / "m.pt").kind == "torchscript"


@pytest.mark.parametrize(("more", "words"), [
    ({"archive/code/bomb.py": b" " * 50_000_000}, ("zip bomb",)),
    ({"archive/../../etc/passwd": b""}, ("leaves the archive's folder",)),
    ({"/etc/passwd": b""}, ("no relative path",)),
    ({"C:/windows": b""}, ("no relative path",)),
    ({"archive\\x": b""}, ("no relative path",)),
    ({"other/x": b""}, ("outside of one common folder",)),
    ({"archive/\x1b[2J": b"", "x": b""}, ("outside of one common folder",)),
    ({"archive/" + "n" * 2000: b""}, ("2008 characters",)),
    ({"archive/code/a.py": os.urandom(3_000_000)}, ("bytes of code",)),
    ({"archive/more.pkl": b"\x80\x02" + b"0" * 10}, ("not a whole pickle",)),
    ({"archive/more.pkl": b"\x80\x02N"}, ("not a whole pickle",)),
    ({"archive/more.pkl": b"\x80\x02(i__main__\nf\n."}, ("opcode INST",)),
    ({"archive/more.pkl": b"\x80\x05\x8d" + b"\xff" * 8 + b"."}, ("not a whole pickle",)),
])
def test_archives_that_are_made_to_harm(tmp_path: Path, script: bytes, more: dict[str, bytes], words: tuple[str, ...]) -> None:
    bomb = rewritten(script, same, more, zipfile.ZIP_DEFLATED)
    (tmp_path / "m.pt").write_bytes(bomb)
    refused(tmp_path / "m.pt", *words)


def test_a_pickle_of_millions_of_opcodes_is_refused(tmp_path: Path, script: bytes) -> None:
    (tmp_path / "m.pt").write_bytes(rewritten(script, same, {"archive/more.pkl": b"\x80\x02" + b"N0" * 1_600_000 + b"N."}))
    refused(tmp_path / "m.pt", "opcodes")


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path, script: bytes) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        (tmp_path / "m.pt").write_bytes(rewritten(script, same, {"archive/data.pkl": b"\x80\x02N."}))
    refused(tmp_path / "m.pt", "there twice")


def test_links_and_encryption_are_refused(tmp_path: Path, script: bytes) -> None:
    def link(info: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        info.create_system, info.external_attr = 3, 0o120777 << 16
        return info, data

    (tmp_path / "m.pt").write_bytes(rewritten(script, link))
    refused(tmp_path / "m.pt", "symbolic link")
    data = bytearray(script)
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "m.pt").write_bytes(bytes(data))
    refused(tmp_path / "m.pt", "encrypted")


def test_overlapping_members_and_huge_claims_are_refused(script: bytes) -> None:
    infos = zipfile.ZipFile(io.BytesIO(script)).infolist()
    assert checked_members(infos, len(script), "m.pt")
    infos[1].header_offset = infos[0].header_offset
    with pytest.raises(CheckpointError, match="overlaps"):
        checked_members(infos, len(script), "m.pt")
    infos = zipfile.ZipFile(io.BytesIO(script)).infolist()
    for info in infos:
        info.compress_size = info.file_size = 2**40
    with pytest.raises(CheckpointError, match="zip bomb"):
        checked_members(infos, len(script), "m.pt")
    infos = zipfile.ZipFile(io.BytesIO(script)).infolist()
    infos[-1].compress_size = infos[-1].file_size = len(script)
    with pytest.raises(CheckpointError, match="beyond the file's end"):
        checked_members(infos, len(script), "m.pt")
    with pytest.raises(CheckpointError, match="members"):
        checked_members(infos * 20_000, len(script), "m.pt")


def test_weights_that_are_missing_short_or_changed(tmp_path: Path, script: bytes) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(rewritten(script, lambda info, data: None if info.filename == "archive/data/0" else (info, data)))
    refused(path, "data/0", "missing")
    path.write_bytes(rewritten(script, lambda i, data: (i, data[:-4]) if i.filename == "archive/data/0" else (i, data)))
    refused(path, "data/0", "has 44 bytes")
    changed = bytearray(script)
    weights = zipfile.ZipFile(io.BytesIO(script)).read("archive/data/0")
    changed[script.index(weights)] ^= 1
    path.write_bytes(bytes(changed))
    refused(path, "CRC")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path, script: bytes) -> None:
    def widen(info: zipfile.ZipInfo, data: bytes) -> tuple[zipfile.ZipInfo, bytes]:
        return info, data.replace(b"K\x04K\x03", b"K\xffK\x03") if info.filename.endswith("data.pkl") else data

    (tmp_path / "m.pt").write_bytes(rewritten(script, widen))
    refused(tmp_path / "m.pt", "does not fit", "255")


def test_truncated_torchscript_is_refused(tmp_path: Path, script: bytes) -> None:
    for size in (4, 5, 100, len(script) // 2, len(script) - 100, len(script) - 1):
        (tmp_path / "m.pt").write_bytes(script[:size])
        refused(tmp_path / "m.pt")


def test_a_directory_of_gigabytes_is_not_read(tmp_path: Path, script: bytes) -> None:
    size = 2**31
    end = b"PK\x05\x06" + bytes(4) + (10).to_bytes(2, "little") * 2 + (size - 100).to_bytes(4, "little") + bytes(6)
    with (tmp_path / "m.pt").open("wb") as file:
        file.write(b"PK\x03\x04")
        file.seek(size)
        file.write(end)
    refused(tmp_path / "m.pt", "no plausible model")


def test_pickles_are_read_without_calling_anything() -> None:
    content = read_pickle(pickle.dumps({"a": os.getcwd, "b": [1, (2.5, None)]}, protocol=4), "p")
    assert content.root["b"] == [1, (2.5, None)]
    assert content.globals == (Name(os.getcwd.__module__, "getcwd"),) and content.root["a"] == content.globals[0]

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("exit 1",)

    made = read_pickle(pickle.dumps(Evil(), protocol=2), "p").root
    assert isinstance(made, Made) and str(made.callee).endswith("system") and made.args == ("exit 1",)
    laughs = b"\x80\x02N" + b"".join(b"2\x86" for _ in range(100)) + b"."  # a pair of pairs of pairs …
    assert len(read_pickle(laughs, "p").root) == 2


def test_tensors_of_a_pickle_are_listed(script: bytes) -> None:
    content = read_pickle(zipfile.ZipFile(io.BytesIO(script)).read("archive/data.pkl"), "data.pkl")
    first = content.tensors[0]
    assert isinstance(first, StoredTensor)
    assert (first.shape, first.dtype, first.storage.location, first.storage.key) == ((4, 3), "float32", "cpu", "0")


# Noise -----------------------------------------------------------------------------------------------------------------------

def test_flipped_bytes_never_end_in_anything_but_an_answer(tmp_path: Path, script: bytes, tiny_export: TinyExport,
                                                           rng: np.random.Generator) -> None:
    answers = {True: 0, False: 0}
    small = network().SerializeToString()
    for good, rounds in ((script, 150), (small, 400), ((tiny_export.folder / "filter.onnx").read_bytes(), 60)):
        for _ in range(rounds):
            data = np.frombuffer(good, np.uint8).copy()
            places = rng.integers(0, len(data), int(rng.integers(1, 6)))
            data[places] = rng.integers(0, 256, len(places))
            (tmp_path / "m").write_bytes(data.tobytes())
            try:
                subject = opened(tmp_path / "m")
            except ExportError as error:
                assert str(error).isprintable()
                answers[False] += 1
            else:
                answers[True] += 1
                if subject.archive is not None:
                    list(script_unread.RULE.check(subject))
    assert min(answers.values()) > 10


def test_random_bytes_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    for start in (b"", b"PK\x03\x04", b"\x08\x08", b"\x3a", b"\x80\x02"):
        for _ in range(30):
            (tmp_path / "m").write_bytes(start + rng.bytes(int(rng.integers(1, 3000))))
            refused(tmp_path / "m")


def test_opening_takes_little_memory(tmp_path: Path, script: bytes) -> None:
    """A file that claims much is refused by a process that is not given much."""
    path = tmp_path / "m.pt"
    path.write_bytes(rewritten(script, same, {"archive/code/bomb.py": b" " * 200_000_000}, zipfile.ZIP_DEFLATED))
    code = ("import resource, sys; from trkx.errors import ExportError; from trkx.export.lint.opening import opened\n"
            "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
            "resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))\n"
            "try: opened(sys.argv[1])\n"
            "except ExportError as error: sys.exit(0 if 'bomb' in str(error) else 2)")
    if not Path("/proc/self/statm").exists():
        pytest.skip("not checked: this system has no /proc")
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60).returncode == 0
