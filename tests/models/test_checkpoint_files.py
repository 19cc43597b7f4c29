"""Checkpoints of every format that the field uses: the same tensors come out as torch itself loads, and the hyper-parameters."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from support.tiny import tiny_spec
from torch import nn

from trkx.errors import CheckpointError
from trkx.export.metadata import weights_metadata
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.hyper_files import read_hyper_file
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.checkpoints.weights import READ

HYPER = {"hidden": 4, "layernorm": True, "lr": 1e-3, "regime": ["rp", "hnm"], "resume_id": None, "nested": {"a": (1, 2)}}
PLAIN = {**HYPER, "nested": {"a": [1, 2]}}


class Small(nn.Module):
    """A network with a shared layer, buffers, an attribute and a submodule twice."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.n_graph_iters = 3
        self.aggregation = "sum_max"
        self.network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), activation(), nn.BatchNorm1d(4), nn.Linear(4, 4))
        self.again = self.network[4]
        self.register_buffer("scale", torch.ones(2, dtype=torch.float64))
        self.register_buffer("passing", torch.ones(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.network(x)
        for _ in range(self.n_graph_iters):
            y = self.again(y)
        return y


@pytest.fixture
def small(rng: np.random.Generator) -> Small:
    torch.manual_seed(int(rng.integers(2**31)))
    module = Small().eval()
    with torch.no_grad():
        for value in module.state_dict().values():
            value.copy_(torch.randn(value.shape) * 10)
    return module


def same(found: Checkpoint, wanted: Mapping[str, torch.Tensor]) -> None:
    """Names, order, shapes, dtypes and every bit agree."""
    assert list(found.shapes) == list(wanted)
    assert found.shapes == {name: tuple(value.shape) for name, value in wanted.items()}
    assert found.dtypes == {name: str(value.dtype).removeprefix("torch.") for name, value in wanted.items()}
    for name, value in found.tensors(wanted).items():
        assert value.dtype == wanted[name].dtype and value.is_contiguous() and value.device.type == "cpu"
        assert torch.equal(value, wanted[name]), name


def saved(content: object, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


WRAPPED: list[tuple[str, Callable[[dict[str, Any]], Any], str, int]] = [
    ("bare", lambda state: state, "state dict", 0),
    ("plain table", dict, "state dict", 0),
    ("state_dict", lambda state: {"state_dict": state, "epoch": 3}, "state dict", 0),
    ("model", lambda state: {"model": state, "optimizer": {"state": {}}}, "state dict", 1),
    ("model_state_dict", lambda state: {"model_state_dict": dict(state), "optimizer_state_dict": {"state": {}}}, "state dict", 1),
    ("lightning", lambda state: {"state_dict": state, "pytorch-lightning_version": "2.5.0", "optimizer_states": [{}]},
     "lightning", 1),
]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(("wrap", "kind", "notes"), [case[1:] for case in WRAPPED], ids=[case[0] for case in WRAPPED])
def test_what_torch_saves_is_read(tmp_path: Path, small: Small, wrap: Callable[[dict[str, Any]], Any], kind: str, notes: int,
                                  zipped: bool, protocol: int) -> None:
    state = small.state_dict()
    path = saved(wrap(state), tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = open_checkpoint(path)
    same(found, state)
    assert (found.kind, found.path, found.hyper_parameters, found.hyper_source) == (kind, path, {}, "")
    assert len(found.notes) == notes and all("is not read" in note for note in found.notes)
    assert found.class_name == "" and found.modules == {}


def test_no_torch_is_needed_to_open(tmp_path: Path, small: Small) -> None:
    saved(small.state_dict(), tmp_path / "m.pt")
    code = ("import sys; from pathlib import Path; from trkx.models.checkpoints.opening import open_checkpoint; "
            "assert open_checkpoint(Path(sys.argv[1])).shapes; assert not {'torch', 'safetensors'} & set(sys.modules)")
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.pt")], check=False).returncode == 0


def test_every_dtype_and_layout(tmp_path: Path) -> None:
    numbers = torch.arange(24).reshape(4, 6)
    state: dict[str, torch.Tensor] = {name: numbers.to(getattr(torch, name)) for name in READ}
    base = torch.randn(5, 7)
    state |= {"transposed": base.T, "part": base[1:4, ::2], "row": base[2], "tied": base, "scalar": torch.tensor(3.5),
              "empty": torch.empty(0, 3), "shared": base}
    for zipped in (True, False):
        same(open_checkpoint(saved(state, tmp_path / f"m{zipped}.pt", _use_new_zipfile_serialization=zipped)), state)
    contiguous = {name: value.contiguous().clone() for name, value in state.items()}
    save_file(contiguous, tmp_path / "m.safetensors")
    found = open_checkpoint(tmp_path / "m.safetensors")
    same(found, {name: contiguous[name] for name in found.shapes})
    assert len(found.shapes) == len(state)


def test_the_other_byte_order(tmp_path: Path) -> None:
    state = {"w": torch.randn(3, 4).double(), "b": torch.randn(3).bfloat16(), "n": torch.tensor([1, 2], dtype=torch.int8)}
    saved(state, tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for info in old.infolist():
            data, name = old.read(info), info.filename.rpartition("/")[2]
            if name == "byteorder":
                data = b"big"
            if "/data/" in info.filename:
                width = {"0": 8, "1": 2, "2": 1}[name]
                data = np.frombuffer(data, f"u{width}").byteswap().tobytes()
            new.writestr(info.filename, data)
    same(open_checkpoint(tmp_path / "big.pt"), state)


def test_parameters_and_strange_entries(tmp_path: Path) -> None:
    special = nn.Parameter(torch.randn(2, 3))
    special.note = "an attribute of its own"
    state = OrderedDict(w=nn.Parameter(torch.randn(3)), special=special)
    more = {"layer._extra_state": {"a": 1}, "sparse": torch.eye(3).to_sparse()}
    found = open_checkpoint(saved({**state, **more}, tmp_path / "m.pt"))
    same(found, {name: value.data for name, value in state.items()})
    (note,) = found.notes
    assert "ignored" in note and "layer._extra_state, sparse" in note


# Hyper-parameters ------------------------------------------------------------------------------------------------------------

class Attributes(dict):  # as Lightning's
    pass


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """A package that is there while a file is written, as Lightning and omegaconf are for others."""
    module = types.ModuleType("omegaconf")
    sys.modules["omegaconf"] = module
    for name in ("DictConfig", "ListConfig", "AnyNode"):
        setattr(module, name, type(name, (), {"__module__": "omegaconf"}))
    yield module
    del sys.modules["omegaconf"]


def config(module: types.ModuleType, value: Any, parent: Any = None) -> Any:
    """Return a value as omegaconf holds it."""
    kind = {dict: module.DictConfig, list: module.ListConfig}.get(type(value), module.AnyNode)
    made = kind()
    made._parent = parent
    if isinstance(value, dict):
        made._content = {key: config(module, item, made) for key, item in value.items()}
    elif isinstance(value, list):
        made._content = [config(module, item, made) for item in value]
    else:
        made._val = value
    return made


@pytest.mark.parametrize(("make", "wanted"), [
    (lambda: HYPER, PLAIN),
    (lambda: {"hparams": HYPER}, PLAIN),
    (lambda: {**HYPER, "hparams": HYPER}, PLAIN),
    (lambda: OrderedDict(HYPER), PLAIN),
    (lambda: Attributes(HYPER), PLAIN),
    (lambda: argparse.Namespace(**HYPER), PLAIN),
    (lambda: {"args": argparse.Namespace(a=1), "s": {3}, "size": torch.Size([2, 3]), "b": b"xy"},
     {"args": {"a": 1}, "s": [3], "size": [2, 3], "b": "<_codecs.encode>"}),
    (lambda: {"loss": nn.BCEWithLogitsLoss(), "device": torch.device("cpu"), "dtype": torch.float32, "path": Path("x"), "f": len},
     {"loss": "<torch.nn.modules.loss.BCEWithLogitsLoss>", "device": "<torch.device>", "dtype": "<class torch.float32>",
      "path": "<pathlib.PosixPath>", "f": "<class builtins.len>"}),
    (lambda: {"w": torch.ones(2, 3), "n": np.float64(1.5)},
     {"w": "<tensor [2, 3] float32>", "n": "<numpy._core.multiarray.scalar>"}),
    (lambda: {"hidden": 4, 7: "seven", (1, 2): "left away"}, {"hidden": 4, "7": "seven"}),
    (dict, {}),
    (lambda: None, {}),
])
def test_hyper_parameters_become_plain(tmp_path: Path, make: Callable[[], Any], wanted: dict[str, Any]) -> None:
    for zipped in (True, False):
        content = {"state_dict": {"w": torch.ones(1)}, "hyper_parameters": make()}
        found = open_checkpoint(saved(content, tmp_path / f"m{zipped}.ckpt", _use_new_zipfile_serialization=zipped))
        assert found.kind == "lightning" and found.notes == ()
        assert json.loads(json.dumps(found.hyper_parameters).replace("__builtin__", "builtins")) == wanted
        assert found.hyper_source == ("in the checkpoint" if wanted else "")


def test_hyper_parameters_of_omegaconf(tmp_path: Path, foreign: types.ModuleType) -> None:
    values = {"hidden": 4, "regime": ["rp", "hnm"], "nested": {"a": 1.5, "b": None}}
    path = saved({"state_dict": {"w": torch.ones(1)}, "hyper_parameters": config(foreign, values)}, tmp_path / "m.ckpt")
    assert open_checkpoint(path).hyper_parameters == values
    path = saved({"state_dict": {"w": torch.ones(1)}, "hyper_parameters": {"cfg": config(foreign, values)}}, tmp_path / "m.ckpt")
    assert open_checkpoint(path).hyper_parameters == {"cfg": values}


@pytest.mark.parametrize(("key", "more", "wanted", "notes"), [
    ("hyper_parameters", {"hparams_name": "kwargs"}, 2, 1),
    ("hyper_parameters", {"hparams_name": "hparams"}, 1, 1),
    ("hparams", {}, 1, 1),  # Lightning before 1.0
    ("module_arguments", {}, 1, 1),
    ("config", {}, 1, 1),
])
def test_where_hyper_parameters_are(tmp_path: Path, key: str, more: dict[str, str], wanted: int, notes: int) -> None:
    values = {"hidden": 1, "same": 0, "hparams": {"hidden": 2, "same": 0, "only": 3}}
    found = open_checkpoint(saved({"state_dict": {"w": torch.ones(1)}, key: values, **more}, tmp_path / "m.ckpt"))
    assert found.hyper_parameters == {"hidden": wanted, "same": 0, "only": 3}
    assert len(found.notes) == notes and "differ in hidden" in found.notes[0]


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}], ids=["bare", "wrapped"])
@pytest.mark.parametrize(("prefix", "cut"), [("module.", "module."), ("_orig_mod.", "_orig_mod."), ("model.", "model."),
                                             ("module._orig_mod.model.", "module._orig_mod.model."), ("network.", "")])
def test_prefixes_of_wrappers_are_left_away(
    tmp_path: Path, small: Small, wrap: Callable[[Any], Any], prefix: str, cut: str,
) -> None:
    state = {f"{prefix}{name}": value for name, value in small.state_dict().items()}
    found = open_checkpoint(saved(wrap(state), tmp_path / "m.pt"))
    same(found, {name.removeprefix(cut): value for name, value in state.items()})
    assert found.notes == ((f"'{cut}' before every name was left away",) if cut else ())
    some = open_checkpoint(saved({**state, "other": torch.ones(1)}, tmp_path / "m.pt"))
    same(some, {**state, "other": torch.ones(1)})


# Modules ---------------------------------------------------------------------------------------------------------------------

def test_a_whole_pickled_module(tmp_path: Path, small: Small) -> None:
    for zipped in (True, False):
        for content in (small, {"model": small, "config": {"hidden": 4}}):
            found = open_checkpoint(saved(content, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped))
            same(found, small.state_dict())
            assert (found.kind, found.class_name) == ("state dict", "Small")
            assert found.modules["network.2"] == "ReLU" and found.modules["again"] == "Linear"
            assert "its code is not there" in found.notes[0]
            wanted = {"n_graph_iters": 3, "aggregation": "sum_max"} if content is small else {"hidden": 4}
            assert found.hyper_parameters == wanted


def scripted(module: nn.Module, path: Path, traced: bool = False) -> Path:
    with torchscript_is_meant():
        torch.jit.save(torch.jit.trace(module, torch.randn(5, 3)) if traced else torch.jit.script(module), path)
    return path


@pytest.mark.parametrize("traced", [False, True], ids=["scripted", "traced"])
def test_torchscript(tmp_path: Path, small: Small, traced: bool) -> None:
    found = open_checkpoint(scripted(small, tmp_path / "m.pt", traced))
    state = small.state_dict()
    assert set(found.shapes) - set(state) == ({"passing"} if "passing" in found.shapes else set())
    assert all(torch.equal(value, state[name]) for name, value in found.tensors(state).items())
    assert (found.kind, found.class_name) == ("torchscript", "Small")
    assert found.modules["network.0"] == "Linear" and found.modules["network.2"] == "ReLU"
    assert found.hyper_parameters["hidden_activation"] == "ReLU"
    if not traced:
        assert found.hyper_parameters["n_graph_iters"] == 3 and found.hyper_parameters["aggregation"] == "sum_max"
    assert not any(name.startswith("_") for name in found.hyper_parameters)


def test_torchscript_with_two_activations_says_none(tmp_path: Path) -> None:
    both = nn.Sequential(Small(nn.Tanh), nn.Linear(4, 1), nn.Sigmoid()).eval()
    found = open_checkpoint(scripted(both, tmp_path / "m.pt"))
    assert "hidden_activation" not in found.hyper_parameters
    assert {"Tanh", "Sigmoid"} < set(found.modules.values())
    tanh = open_checkpoint(scripted(Small(nn.Tanh).eval(), tmp_path / "t.pt"))
    assert tanh.hyper_parameters["hidden_activation"] == "Tanh"


def test_frozen_torchscript_is_refused(tmp_path: Path, small: Small) -> None:
    with torchscript_is_meant():
        torch.jit.save(torch.jit.freeze(torch.jit.script(small)), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="before freezing"):
        open_checkpoint(tmp_path / "m.pt")


# Safetensors -----------------------------------------------------------------------------------------------------------------

def test_safetensors_with_hyper_parameters(tmp_path: Path, small: Small) -> None:
    state = {name: value.clone() for name, value in small.state_dict().items()}
    save_file(state, tmp_path / "m.safetensors", {"hparams": json.dumps(HYPER), "format": "pt"})
    found = open_checkpoint(tmp_path / "m.safetensors")
    assert (found.kind, found.hyper_parameters, found.hyper_source) == ("safetensors", PLAIN, "in the checkpoint")
    same(found, {name: state[name] for name in found.shapes})
    save_file(state, tmp_path / "m.bin")
    assert open_checkpoint(tmp_path / "m.bin").hyper_parameters == {}
    with pytest.raises(CheckpointError, match="no tensor 'x'"):
        found.tensors(["x"])


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_safetensors_whose_length_begins_like_a_pickle(tmp_path: Path, length: int) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(length)
    path = tmp_path / "model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header + np.float32(2.5).tobytes())
    assert path.read_bytes().startswith(tuple(bytes((0x80, protocol)) for protocol in range(2, 6)))
    checkpoint = open_checkpoint(path)
    assert checkpoint.kind == "safetensors"
    assert checkpoint.shapes == {"w": (1,)}


def test_weights_of_our_own(tmp_path: Path) -> None:
    spec = tiny_spec()
    (tmp_path / "weights.safetensors").write_bytes(save({"gnn.w": torch.ones(2)}, weights_metadata(spec)))  # as in a bundle
    assert open_checkpoint(tmp_path / "weights.safetensors").hyper_parameters == {}
    for path in sorted((Path(__file__).parents[2] / "models" / "reference").glob("*.safetensors")):
        found = open_checkpoint(path)
        same(found, load_file(path))


# Files of hyper-parameters ---------------------------------------------------------------------------------------------------

YAML = """
# of Lightning
hidden: 8
hparams:
  hidden: 8
  regime: &id001
  - rp
  - hnm
  override: '{''callbacks'': [''EmbeddingBuilder'']}'
regime: *id001
nb_layer: 6   # a comment
lr: 1.0e-06
odd: 1e-3
truth: yes
none: ~
empty:
"quoted: key": "a \\"b\\" \\u00e9\\
  c"
long: some words that PyYAML
  folds

  over lines
folded: 'it''s

  here'
flow: [1, -2.5, {a: b, "c": [d, null]},
       "e, f"]
tuple: !!python/tuple
- 1
- 2
thing: !!python/object/apply:os.system
- touch owned
name: !!python/name:torch.nn.ReLU ''
lists:
- - 1
  - 2
- a: 1
  b: {}
- []
url: http://x/y#z
0: zero
"""


def test_yaml_of_trainings(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(YAML)
    found, notes = read_hyper_file(tmp_path / "h.yaml")
    assert notes == ()
    assert found == {
        "hidden": 8, "regime": ["rp", "hnm"], "override": "{'callbacks': ['EmbeddingBuilder']}", "nb_layer": 6, "lr": 1e-6,
        "odd": "1e-3", "truth": True, "none": None, "empty": None, "quoted: key": 'a "b" éc',
        "long": "some words that PyYAML folds\nover lines",
        "folded": "it's\nhere", "flow": [1, -2.5, {"a": "b", "c": ["d", None]}, "e, f"], "tuple": [1, 2],
        "thing": "<!!python/object/apply:os.system>", "name": "<!!python/name:torch.nn.ReLU>",
        "lists": [[1, 2], {"a": 1, "b": {}}, []], "url": "http://x/y#z", "0": "zero",
    }


@pytest.mark.parametrize(("text", "line", "words"), [
    ("a: 1\nb: |\n  text\n", 2, "block of text"),
    ("a: 1\na: 2\n", 2, "there twice"),
    ("a: 1\n---\nb: 2\n", 2, "a line without a key"),
    ("a: *b\n", 1, "alias 'b' of nothing"),
    ("a: &b [*b]\n", 1, "alias 'b' of nothing"),
    ("a: 1\n\tb: 2\n", 2, "a tab"),
    ("a: 1\n  b: 2\n", 2, "a table that begins behind a value"),
    ("a:\n    b: 1\n  c: 2\n", 3, "indentation that fits nothing"),
    ("a: 'b\n\n", 1, "never closed"),
    ("a: [1, 2\nb: 3\n", 2, "missing comma"),
    ("a: [1,,2]\n", 1, "a missing item"),
    ("? a\n: b\n", 1, "question mark"),
    ("<<: {a: 1}\n", 1, "merged"),
    ("a: 0x10\n", 1, "not decimal"),
    ("a: 010\n", 1, "not decimal"),
    ("a: 1:30\n", 1, "not decimal"),
    ('a: "\\q"\n', 1, "an unknown escape"),
    ("a: \x1b[2J\n", 1, "a control character"),
    ("a: @b\n", 1, "begins no value"),
    ("a: 'b' c\n", 1, "text after a value"),
    ("a: " + "[" * 100 + "\n", 1, "nested more than 40 deep"),
    ("- " * 100 + "\n", 1, "nested more than 40 deep"),
    ("".join(f"{'  ' * n}a:\n" for n in range(100)), 41, "nested more than 40 deep"),
    ("%YAML 1.2\n---\na: 1\n", 1, "begins no value"),
    ("{{ template }}: 1\n", 1, "without a key"),
])
def test_yaml_beyond_the_subset_is_refused_by_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=f"h.yaml, line {line}: .*{words}.*convert the file to JSON"):
        read_hyper_file(tmp_path / "h.yaml")


def test_yaml_that_grows_is_refused(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30))
    (tmp_path / "h.yaml").write_text(laughs)
    with pytest.raises(CheckpointError, match="more than 50000 values"):
        read_hyper_file(tmp_path / "h.yaml")
    for text in ("#" * 200_000, " \n" * 100_000):
        (tmp_path / "h.yaml").write_text(text)
        assert read_hyper_file(tmp_path / "h.yaml") == ({}, ())
    for text in ("- " * 100_000, "a: " * 60_000, "a\n" * 100_000, "[#" * 100_000, "'" * 200_000, "[a,\n" * 50_000, "x" * 300_000,
                 "a: b\n c\n" * 25_000, "&a " * 60_000):
        (tmp_path / "h.yaml").write_text(text)
        with pytest.raises(CheckpointError):
            read_hyper_file(tmp_path / "h.yaml")


@pytest.mark.parametrize(("name", "text", "words"), [
    ("h.json", "[1]", "expected a JSON object"),
    ("h.json", "{", "not JSON"),
    ("h.json", '{"a":' * 30_000, "not JSON"),
    ("h.toml", "a = ", "not valid TOML"),
    ("h.toml", "a = " + "[" * 5000, "not valid TOML"),
    ("h.yaml", "- 1\n", "expected a table"),
    ("h.yaml", "!!python/object:a.B\nhidden: 1\n", "expected a table"),
    ("h.py", "hidden = 1", "come as .yaml, .yml, .json, .toml"),
])
def test_other_files_of_hyper_parameters(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError, match=words):
        read_hyper_file(tmp_path / name)


def test_hyper_parameters_beside_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    path = saved({"state_dict": {"w": torch.ones(1)}, "hyper_parameters": {"hidden": 4, "a": 1, "b": [1]}}, folder / "last.ckpt")
    assert open_checkpoint(path).hyper_parameters == {"hidden": 4, "a": 1, "b": [1]}
    (folder.parent / "hparams.yaml").write_text("hidden: 8\na: 1\nc: 2\n")
    assert open_checkpoint(path).hyper_parameters == {"hidden": 4, "a": 1, "b": [1]}  # the file may be that of another training
    bare = saved({"w": torch.ones(1)}, folder / "bare.pt")
    found = open_checkpoint(bare)
    assert found.hyper_parameters == {"hidden": 8, "a": 1, "c": 2}
    assert found.notes == ("hyper-parameters are those of hparams.yaml, which lies near it",)
    assert found.hyper_source.startswith("in ") and found.hyper_source.endswith("hparams.yaml")
    (folder / "hparams.yaml").write_text("d: 16\n")  # nearer
    assert open_checkpoint(bare).hyper_parameters == {"d": 16}
    for name, text in (("h.json", '{"hidden": 32}'), ("h.toml", "hidden = 32"), ("h.yml", "hidden: 32")):
        (tmp_path / name).write_text(text)
        found = open_checkpoint(path, tmp_path / name)
        assert found.hyper_parameters == {"hidden": 32, "a": 1, "b": [1]}
        assert found.notes == (f"hyper-parameters of {name} win over those in the checkpoint for: hidden",)
    with pytest.raises(CheckpointError, match="no such file"):
        open_checkpoint(path, tmp_path / "none.yaml")
    (folder / "hparams.yaml").write_text("hidden: |\n")
    with pytest.raises(CheckpointError, match="line 1"):
        open_checkpoint(bare)
    (folder / "hparams.yaml").write_text("")
    assert open_checkpoint(bare).hyper_source == ""


# Reference files -------------------------------------------------------------------------------------------------------------

def test_published_checkpoints(golden: Path) -> None:
    folder = golden / "lrt"
    (last, other) = (open_checkpoint(folder / "ckpt" / name) for name in ("last.ckpt", "epoch=76-step=692999.ckpt"))
    script = open_checkpoint(folder / "gnn.torchscript.pt")
    for found in (last, other):
        assert (found.kind, found.hyper_source) == ("lightning", "in the checkpoint")
        assert {key: found.hyper_parameters[key] for key in ("n_graph_iters", "hidden", "hidden_activation", "name")} == {
            "n_graph_iters": 8, "hidden": 64, "hidden_activation": "ReLU", "name": "ResAGNN"}
        assert sum(value.numel() for value in found.tensors(found.shapes).values()) == 44_803
        loaded = torch.load(found.path, map_location="cpu", weights_only=False, pickle_module=_stubs())
        same(found, loaded["state_dict"])
    assert (script.kind, script.class_name, len(script.modules)) == ("torchscript", "ResAGNN", 31)
    assert {key: script.hyper_parameters[key] for key in ("n_graph_iters", "hidden_activation")} == {
        "n_graph_iters": 8, "hidden_activation": "ReLU"}
    same(script, last.tensors(last.shapes))
    one, two = (found.tensors(["input_network.0.weight"])["input_network.0.weight"] for found in (last, other))
    assert not torch.equal(one, two)


def _stubs() -> types.ModuleType:
    """Return a pickle module with something in place of Lightning's callbacks, which are not installed here."""
    import pickle

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return type(name, (), {}) if module.startswith("pytorch_lightning") else super().find_class(module, name)

    made = types.ModuleType("stubs")
    made.Unpickler = Unpickler
    made.load = lambda file, **options: Unpickler(file, **options).load()
    return made


def test_published_hyper_parameters(golden: Path) -> None:
    paths = (golden / "lrt" / "configs").glob("*.hparams.yaml")
    found = {path.name.split(".")[0]: read_hyper_file(path) for path in paths}
    assert all(notes == () for _, notes in found.values())
    values = {name: table for name, (table, _) in found.items()}
    assert {name: len(table) for name, table in values.items()} == {"Embedding": 37, "Filter": 38, "GNN": 38}
    embedding = values["Embedding"]
    assert (embedding["emb_hidden"], embedding["regime"], embedding["r_test"]) == (512, ["rp", "hnm"], 1.6)
    assert "hparams" not in embedding
    assert embedding["override"] == "{'callbacks': ['EmbeddingBuilder']}"
    assert (values["Filter"]["lr"], values["Filter"]["filter_cut"], values["Filter"]["layernorm"]) == (1e-6, 0.05, True)
    assert values["GNN"]["callbacks"] is None


def test_torchscript_of_classes_defined_in_main(tmp_path: Path) -> None:
    script = """
import sys, torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    def forward(self, x):
        return self.network(x)
torch.jit.trace(Net(), torch.ones(2, 3)).save(sys.argv[1])
"""
    source = tmp_path / "script.py"
    source.write_text(script)
    path = tmp_path / "main.pt"
    subprocess.run([sys.executable, "-W", "ignore", str(source), str(path)], check=True, timeout=120)
    found = open_checkpoint(path)
    assert (found.kind, found.class_name, found.modules["network.1"]) == ("torchscript", "Net", "Tanh")
    assert list(found.shapes) == [f"network.{place}.{end}" for place in (0, 2) for end in ("weight", "bias")]
