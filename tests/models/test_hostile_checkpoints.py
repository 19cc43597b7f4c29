"""Checkpoints that are damaged or made to harm: refused or read in bounded time and memory, and nothing in them ever runs."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trkx.errors import CheckpointError
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.checkpoints.pickles import read_pickle
from trkx.models.checkpoints.values import DEEPEST, plain

SECONDS = 2.0
BYTES = 500 * 2**20
CHILD = """
import resource, sys, time
from pathlib import Path
from trkx.errors import CheckpointError
from trkx.models.checkpoints.opening import open_checkpoint
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
start = time.process_time()
try:
    found = open_checkpoint(Path(sys.argv[1]))
    print("opened", found.kind, len(found.shapes), str(found.hyper_parameters)[:200])
except CheckpointError as error:
    print("refused", error)
print(time.process_time() - start)
assert "torch" not in sys.modules
"""


def archive(content: bytes, more: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip as torch.save makes it, around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as new:
        for name, data in {"data.pkl": content, **(more or {})}.items():
            new.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tensor(shape: tuple[int, ...] = (1,), numel: int = 1, strides: tuple[int, ...] = (1,), offset: int = 0, key: str = "0",
           kind: bytes = b"FloatStorage") -> bytes:
    def listed(items: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(number(item) for item in items) + b"t"

    identity = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + number(numel) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + identity + number(offset) + listed(shape) + listed(strides) + b"\x89}tR"


def lightning(hyper: bytes, weights: bytes | None = None) -> bytes:
    """Return a pickle of {"state_dict": {"w": …}, "hyper_parameters": …}; hyper is the code that pushes them."""
    state = b"}(" + text("w") + (weights or tensor()) + b"u"
    return b"\x80\x02}(" + text("state_dict") + state + text("hyper_parameters") + hyper + b"u."


def checkpoint(hyper: bytes, weights: bytes | None = None, data: bytes = bytes(4)) -> bytes:
    return archive(lightning(hyper, weights), {"data/0": data})


def commanding(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + text(argument) + b"tR"


def doubling(item: bytes, times: int = 60) -> bytes:
    """Push a value that holds the one before it twice, and so on."""
    return item + b"".join(b"2\x86" for _ in range(times))


def memos(times: int) -> bytes:
    """Push a list of twice the list before it, and so on, through the memo."""
    return b"]q\1" + b"".join(b"0](" + (b"h" + bytes([n])) * 2 + b"eq" + bytes([n + 1]) for n in range(1, times))


def in_table(code: bytes) -> bytes:
    return b"}(" + text("hidden") + b"K\x40" + text("x") + code + b"u"


def same_hashes(count: int) -> bytes:
    keys = b"".join(number((2**61 - 1) * (place + 1)) + b"N" for place in range(count))
    return b"}(" + keys + text("hidden") + b"K\x40u"


def chained_modules(times: int, names: tuple[str, ...] = ("a", "b")) -> bytes:
    """Return modules each of which holds the one before under two names."""
    code = b"c__torch__.net\nLeaf\n)\x81}(" + text("w") + tensor() + b"ub"
    for place in range(times):
        code += b"r" + struct.pack("<I", place) + b"0"
        inner = b"".join(text(name) + b"j" + struct.pack("<I", place) for name in names)
        code += b"c__torch__.net\nNode\n)\x81}(" + inner + b"ub"
    return b"\x80\x02" + code + b"."


HTML = b"<!DOCTYPE html><html><body>Sign in</body></html>"
LONG = 2**40
CASES: list[tuple[str, Callable[[], bytes], tuple[str, ...]]] = [
    ("empty", lambda: b"", ("refused", "an empty file")),
    ("web page", lambda: HTML, ("refused", "a web page")),
    ("text", lambda: b"hidden: 64\n" * 1000, ("refused", "a text file")),
    ("zeros", lambda: bytes(10_000), ("refused", "zero bytes")),
    ("noise", lambda: b"\x01\x02\x03\x04" * 5000, ("refused", "not a checkpoint", "begins with")),
    ("lfs pointer", lambda: b"version https://git-lfs.github.com/spec/v1\n", ("refused", "git lfs pull")),
    ("tar", lambda: b"a" * 257 + b"ustar" + bytes(500), ("refused", "tar")),
    ("npz", lambda: npz(), ("refused", "not one of torch")),
    ("plain pickle", lambda: pickle.dumps({"w": [1.0]}), ("refused", "torch.save did not write")),
    ("a number", lambda: archive(b"\x80\x02K\x01."), ("refused", "a int", "state_dict()")),
    ("an object", lambda: archive(b"\x80\x02csklearn\nForest\n)\x81."), ("refused", "<sklearn.Forest>")),
    ("no weights", lambda: archive(b"\x80\x02}(" + text("epoch") + b"K\x01u."), ("refused", "no weights in it", "epoch")),
    ("no pickle", lambda: archive(b"", {}).replace(b"data.pkl", b"data.txt"), ("refused", "without data.pkl")),
    ("exported program", lambda: packed({"archive_format": b"pt2", "models/model.json": b"{}"}),
     ("refused", "torch.export.save")),
    ("compiled package", lambda: packed({"data/aotinductor/model/x.so": b""}), ("refused", "AOTInductor")),
    ("scripted function", lambda: archive(b"\x80\x02N.", {"code/a.py": b"", "constants.pkl": b"\x80\x02)."}),
     ("refused", "a function")),
    ("frozen script", lambda: archive(b"\x80\x02c__torch__.n\nNet\n)\x81}b.", {"constants.pkl": b"\x80\x02)."}),
     ("refused", "freez")),
    # code
    ("command as state", lambda: archive(b"\x80\x02" + commanding("os", "system", "touch owned") + b"."),
     ("refused", "<os.system>")),
    ("command in hyper-parameters", lambda: checkpoint(in_table(commanding("posix", "system", "touch owned"))),
     ("opened lightning 1", "'hidden': 64", "<posix.system>")),
    ("command for hyper-parameters", lambda: checkpoint(commanding("builtins", "eval", "open('owned', 'w')")), ("opened", "{}")),
    ("command in weights", lambda: checkpoint(b"}", commanding("os", "system", "touch owned")), ("refused", "no weights in it")),
    ("opcode of Python 1", lambda: archive(b"\x80\x02(S'touch owned'\nios\nsystem\n."), ("refused", "opcode INST")),
    ("buffers out of band", lambda: archive(b"\x80\x05\x97."), ("refused", "opcode NEXT_BUFFER")),
    ("names for terminals", lambda: archive(b"\x80\x02c\x1b[2J[red]evil\nfo\x07o\n)\x81."), ("refused", "evil")),
    ("keys for terminals", lambda: archive(b"\x80\x02}(" + text("w\x1b[2J") + tensor() + b"u.", {"data/0": bytes(4)}),
     ("refused", "no name of a parameter")),
    ("name of megabytes", lambda: archive(b"\x80\x02c" + b"a" * 2**24 + b"\nb\n."), ("refused", "a name of")),
    # sizes
    ("deep tuples", lambda: checkpoint(in_table(b"N" + b"\x85" * 900_000)), ("opened", f"nested more than {DEEPEST}")),
    ("deep lists", lambda: checkpoint(in_table(b"]" * 450_000 + b"a" * 449_999)), ("opened", f"nested more than {DEEPEST}")),
    ("deeper tuples", lambda: checkpoint(in_table(b"N" + b"\x85" * 1_000_000)), ("refused", "opcodes")),
    ("deep weights", lambda: checkpoint(b"}", b"N" + b"\x85" * 900_000), ("refused", "no weights in it")),
    ("tuples of tuples", lambda: checkpoint(in_table(doubling(b"N"))), ("refused", "more than 50000 values")),
    ("memo of memos", lambda: checkpoint(in_table(memos(60))), ("refused", "more than 50000 values")),
    ("list in itself", lambda: checkpoint(in_table(b"]q\1h\1a")), ("opened", f"nested more than {DEEPEST}")),
    ("list in itself twice", lambda: checkpoint(in_table(b"]q\1(h\1h\1e")), ("refused", "hold themselves")),
    ("table in itself", lambda: checkpoint(b"}q\1(" + text("hidden") + b"K\x40" + text("a") + b"h\1u"),
     ("opened", "'hidden': 64")),
    ("keys of one hash", lambda: checkpoint(same_hashes(50_000)), ("opened lightning 1 {'hidden': 64}",)),
    ("length of a text", lambda: checkpoint(in_table(b"\x8d" + struct.pack("<Q", LONG))), ("refused", "not a whole pickle")),
    ("length of bytes", lambda: checkpoint(in_table(b"\x8e" + struct.pack("<Q", 2**63))), ("refused", "not a whole pickle")),
    ("length of a number", lambda: checkpoint(in_table(b"\x8b" + struct.pack("<i", 2**31 - 1))),
     ("refused", "not a whole pickle")),
    ("a long number", lambda: checkpoint(in_table(b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20)),
     ("opened", "a number of")),
    ("a long text", lambda: checkpoint(in_table(text("a" * 2**23))), ("opened", "<text of 8388608 characters>")),
    ("decimals", lambda: checkpoint(in_table(b"I" + b"9" * 10**6 + b"\n")), ("refused", "not a whole pickle")),
    ("memo far away", lambda: checkpoint(in_table(b"Np" + b"9" * 30 + b"\n")), ("refused", "not a whole pickle")),
    ("a pickle of megabytes", lambda: checkpoint(in_table(text("a" * 40_000_000))), ("refused", "at most", "plausible")),
    ("many empty tables", lambda: checkpoint(in_table(b"(" + b"}" * 990_000 + b"t")), ("refused", "more than 50000 values")),
    ("one module many ways", lambda: archive(chained_modules(60), {"data/0": bytes(4), "code/n.py": b""}),
     ("refused", "no plausible network")),
    ("modules very deep", lambda: archive(chained_modules(2000, ("a",)), {"data/0": bytes(4), "code/n.py": b""}),
     ("refused", "nested more")),
    # tensors
    ("a huge tensor", lambda: checkpoint(b"}", tensor((10**15,), 10**15)), ("refused", "'w'", "the file has 4 bytes")),
    ("a tensor beyond numbers", lambda: checkpoint(b"}", tensor((2**70,), 1)), ("refused", "no weights")),
    ("beyond its storage", lambda: checkpoint(b"}", tensor((2,), 1)), ("refused", "does not fit")),
    ("behind its storage", lambda: checkpoint(b"}", tensor((1,), 1, offset=1)), ("refused", "does not fit")),
    ("before its storage", lambda: checkpoint(b"}", tensor((1,), 1, offset=-1)), ("refused", "does not fit")),
    ("a negative stride", lambda: checkpoint(b"}", tensor((1,), 1, (-1,))), ("refused", "does not fit")),
    ("a negative size", lambda: checkpoint(b"}", tensor((-1,), 1)), ("refused", "does not fit")),
    ("one element repeated", lambda: checkpoint(b"}", tensor((10**6, 10**6), 1, (0, 0))), ("refused", "does not fit")),
    ("empty, but huge", lambda: checkpoint(b"}", tensor((0, 2**61, 2**61), 1, (1, 1, 1))), ("refused", "does not fit")),
    ("a storage of minus one", lambda: checkpoint(b"}", tensor((1,), -1)), ("refused", "storage of -1")),
    ("a storage elsewhere", lambda: checkpoint(b"}", tensor(key="../../etc/passwd")), ("refused", "is missing")),
    ("many dimensions", lambda: checkpoint(b"}", tensor((1,) * 100, 1, (1,) * 100)), ("refused", "no weights")),
    ("a byte order", lambda: archive(lightning(b"}"), {"data/0": bytes(4), "byteorder": b"middle"}),
     ("refused", "byte order 'middle'")),
    # archives
    ("zip bomb", lambda: archive(b" " * 300_000_000, method=zipfile.ZIP_DEFLATED), ("refused", "zip bomb")),
    ("weights like a bomb", lambda: archive(lightning(b"}"), {"data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED),
     ("refused", "zip bomb")),
    ("names that leave", lambda: archive(lightning(b"}"), {"data/0": bytes(4), "../../owned": b""}),
     ("refused", "leaves the archive")),
    ("a directory alone", lambda: b"PK\x03\x04" + bytes(40), ("refused", "damaged or truncated zip")),
    # old files
    ("old, other protocol", lambda: old(protocol=1000), ("refused", "protocol")),
    ("old, without keys", lambda: old(keys=b"\x80\x02N."), ("refused", "list of storages")),
    ("old, twice a key", lambda: old(keys=b"\x80\x02](" + text("0") + text("0") + b"e."), ("refused", "list of storages")),
    ("old, unknown key", lambda: old(keys=b"\x80\x02](" + text("5") + b"e."), ("refused", "belongs to no tensor")),
    ("old, huge storage", lambda: old(tensor((10**15,), 10**15), count=10**15), ("refused", "not whole")),
    ("old, other count", lambda: old(count=7), ("refused", "not whole")),
    ("old, good", lambda: old(), ("opened state dict 1",)),
    # safetensors
    ("header beyond", lambda: safetensors(b"{}", length=LONG), ("refused",)),
    ("header of brackets", lambda: safetensors(b'{"a":' + b"[" * 500_000), ("refused", "not JSON")),
    ("header with a list", lambda: safetensors(b'{"a":[]}'), ("refused", "do not fit")),
    ("no tensor", lambda: safetensors(b"{}"), ("refused", "without tensors")),
    ("tensor of safetensors", lambda: safetensors(b'{"w":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}', bytes(4)),
     ("refused", "do not fit")),
    ("end of safetensors", lambda: safetensors(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'),
     ("refused", "truncated")),
    ("deep metadata", lambda: safetensors(json.dumps({
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"hparams": '{"a":' * 20_000},
    }).encode(), bytes(4)), ("refused", "not JSON")),
]


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, data in members.items():
            new.writestr(f"m/{name}", data)
    return buffer.getvalue()


def old(weights: bytes | None = None, protocol: int = 1001, keys: bytes | None = None, count: int = 1) -> bytes:
    """Return a file as torch before 1.6 wrote it."""
    begin = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, protocol, {"little_endian": True}))
    content = b"\x80\x02}(" + text("w") + (weights or tensor()) + b"u."
    return begin + content + (keys or b"\x80\x02](" + text("0") + b"e.") + struct.pack("<q", count) + bytes(4)


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="not checked: this system has no /proc")
@pytest.mark.parametrize(("data", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_it_is_answered_in_bounded_time_and_memory(tmp_path: Path, data: Callable[[], bytes], words: tuple[str, ...]) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(data())
    program = [sys.executable, "-c", CHILD, str(path), str(BYTES)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, seconds = done.stdout.splitlines()
    answer = "".join(lines)
    assert len(lines) == 1 and answer.isprintable() and all(word in answer for word in words), answer
    assert "[red]" not in answer
    assert len(answer) < 1000
    assert float(seconds) < SECONDS
    assert sorted(item.name for item in tmp_path.iterdir()) == ["model.ckpt"]  # nothing ran


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert all(word in str(caught.value) for word in words), caught.value


def test_the_cases_would_run_in_an_unpickler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of the cases is one: Python's own unpickler runs it."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(b"\x80\x02" + commanding("os", "system", "touch owned") + b".")
    assert (tmp_path / "owned").exists()


def test_places_without_a_file(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.ckpt", "no such file")
    refused(tmp_path, "a folder, expected one checkpoint file")
    refused(tmp_path / "a\0b", "no name of a file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "can't be read")


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    buffer = io.BytesIO(checkpoint(b"}"))
    with zipfile.ZipFile(buffer, "a") as more, pytest.warns(UserWarning, match="Duplicate name"):
        more.writestr("archive/data.pkl", b"\x80\x02N.")
    (tmp_path / "m.ckpt").write_bytes(buffer.getvalue())
    refused(tmp_path / "m.ckpt", "there twice")


def test_million_deep_values_of_the_machine() -> None:
    nested = read_pickle(b"\x80\x02N" + b"\x85" * 1_000_000 + b".", "p").root
    lists = read_pickle(b"\x80\x02" + b"]" * 1_000_000 + b"a" * 999_999 + b".", "p").root
    made = read_pickle(b"\x80\x02" + b"ca\nb\n" * 300_000 + b")R" + b"\x85R" * 299_999 + b".", "p").root
    for value in (nested, lists):
        assert str(plain(value, "p")).count("[") == DEEPEST + 1
    assert plain(made, "p") == "<a.b>"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A checkpoint of each format."""
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    found = {}
    for name, new in (("new", True), ("old", False)):
        buffer = io.BytesIO()
        content = {"state_dict": network.state_dict(), "hyper_parameters": {"hidden": 4}}
        torch.save(content, buffer, _use_new_zipfile_serialization=new)
        found[name] = buffer.getvalue()
    from safetensors.torch import save

    found["safetensors"] = save(network.state_dict(), {"hparams": '{"hidden": 4}'})
    return found


@pytest.mark.parametrize("kind", ["new", "old", "safetensors"])
def test_truncated_anywhere(tmp_path: Path, files: dict[str, bytes], kind: str) -> None:
    data = files[kind]
    path = tmp_path / "m.ckpt"
    path.write_bytes(data)
    assert len(open_checkpoint(path).shapes) == 4
    for size in (*range(40), *range(40, len(data) - 40, max(len(data) // 60, 1)), *range(len(data) - 30, len(data))):
        path.write_bytes(data[:size])
        refused(path, "m.ckpt")


@pytest.mark.parametrize("kind", ["new", "old", "safetensors"])
def test_changed_bytes_are_refused_or_read_whole(
    tmp_path: Path, files: dict[str, bytes], kind: str, rng: np.random.Generator,
) -> None:
    path = tmp_path / "m.ckpt"
    for _ in range(200):
        data = np.frombuffer(files[kind], np.uint8).copy()
        places = rng.integers(0, len(data), int(rng.integers(1, 5)))
        data[places] = rng.integers(0, 256, len(places))
        path.write_bytes(data.tobytes())
        try:
            found = open_checkpoint(path)
            tensors = found.tensors(found.shapes)
        except CheckpointError as error:
            assert str(error).isprintable()
        else:
            assert {name: tuple(value.shape) for name, value in tensors.items()} == dict(found.shapes)


def test_weights_are_checked_again_when_they_are_read(tmp_path: Path, files: dict[str, bytes]) -> None:
    path = tmp_path / "m.ckpt"
    path.write_bytes(files["new"])
    found = open_checkpoint(path)
    weights = found.tensors(["0.weight"])["0.weight"].numpy().tobytes()
    changed = bytearray(files["new"])
    changed[files["new"].index(weights)] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(CheckpointError, match="CRC"):
        found.tensors(["0.weight"])
    path.write_bytes(checkpoint(b"}"))
    with pytest.raises(CheckpointError, match=r"missing|the file has"):
        found.tensors(["0.weight"])
    with pytest.raises(CheckpointError, match="no tensor 'x'"):
        open_checkpoint(path).tensors(["x"])
    path.unlink()
    with pytest.raises(CheckpointError, match="no such file"):
        found.tensors(["0.weight"])
    path.write_bytes(files["old"])
    found = open_checkpoint(path)
    path.write_bytes(files["old"][:-4])
    with pytest.raises(CheckpointError, match="changed"):
        found.tensors(["0.weight"])


def test_views_that_multiply_a_storage_are_refused(tmp_path: Path) -> None:
    """A thousand overlapping views of one storage of a megabyte."""
    numel = 2**18
    views = b"".join(text(f"w{n}") + tensor((numel - n,), numel, offset=n) for n in range(1000))
    (tmp_path / "m.pt").write_bytes(archive(b"\x80\x02}(" + views + b"u.", {"data/0": bytes(4 * numel)}))
    found = open_checkpoint(tmp_path / "m.pt")
    assert found.tensors(["w3"])["w3"].shape == (numel - 3,)
    with pytest.raises(CheckpointError, match="made to harm"):
        found.tensors(found.shapes)


def test_foreign_dtypes_are_named(tmp_path: Path) -> None:
    content = b"\x80\x02}(" + text("w") + tensor(kind=b"QInt8Storage") + b"u."
    (tmp_path / "m.pt").write_bytes(archive(content, {"data/0": bytes(4)}))
    with pytest.raises(CheckpointError, match="'w' is qint8"):
        open_checkpoint(tmp_path / "m.pt").tensors(["w"])
