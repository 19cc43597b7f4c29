"""Canonical JSON, specifications and bundles: what the C++ library reads of them is what Python says."""

from __future__ import annotations

import hashlib
import json
import math
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cpp_core import answer
from support.tiny import tiny_spec

from trkx.bundle import MANIFEST_NAME, Bundle, Manifest, write_manifest
from trkx.chains import ChainEmbeddingSpec, ChainFilterSpec, ChainSpec, FeatureSpec
from trkx.errors import BundleError, SpecError
from trkx.graph_networks import AttentionSpec, MessagePassingSpec
from trkx.identity import canonical_json
from trkx.spec import CutSpec, GraphSpec, LabellingSpec, PipelineSpec

NORM, CHAIN, LOGIT = ChainSpec((16, 8), batch_norm="event_affine"), ChainSpec((16, 8)), ChainSpec((8, 1))
EVENT_LOGIT = ChainSpec((4, 1), batch_norm="event")
OWN = (FeatureSpec("z", 500.0), FeatureSpec("r", 7.5e-3))
PASSING = MessagePassingSpec(CHAIN, CHAIN, CHAIN, CHAIN, LOGIT, 3, edge_features=("dr", "phislope"), features=OWN)
SPECS = {
    "ours": tiny_spec(),
    "k_max": tiny_spec(graph=GraphSpec(0.25, 7, "by_index"), labelling=LabellingSpec("edge_contraction", 5)),
    "chains": tiny_spec(embedding=ChainEmbeddingSpec(CHAIN, True), filter=ChainFilterSpec(LOGIT, OWN)),
    "event norms": tiny_spec(embedding=ChainEmbeddingSpec(NORM, False, OWN), filter=ChainFilterSpec(EVENT_LOGIT)),
    "norm of the output": tiny_spec(filter=ChainFilterSpec(ChainSpec((1,), batch_norm="event", output_batch_norm="event"))),
    "one layer": tiny_spec(filter=ChainFilterSpec(ChainSpec((1,), batch_norm="event"))),
    "attention": tiny_spec(gnn=AttentionSpec(CHAIN, LOGIT, CHAIN, 3)),
    "attention with its own features": tiny_spec(gnn=AttentionSpec(CHAIN, LOGIT, NORM, 0, features=OWN)),
    "message passing": tiny_spec(gnn=PASSING),
    "no filter": tiny_spec(filter=None, cuts=CutSpec(gnn=0.5)),
    "a GNN alone": tiny_spec(embedding=None, graph=None, filter=None, gnn=PASSING, cuts=CutSpec(gnn=1e-5)),
    "an embedding alone": tiny_spec(filter=None, gnn=None, cuts=CutSpec()),
}


def described(spec: PipelineSpec) -> str:
    """Return what core_tool says of a spec."""

    def shown(value: float | None) -> str:
        return "None" if value is None else repr(float(value))

    def listed(features: tuple[FeatureSpec, ...]) -> str:
        return "".join(f" {f.name}/{shown(f.scale)}/{shown(f.low)}/{shown(f.high)}" for f in features)

    graph, embedding, gnn = spec.graph, spec.embedding, spec.gnn
    by = f" {shown(graph.radius)} {shown(graph.k_max)} {graph.direction}" if graph else ""
    rows = [bool(network and network.looks_at_all_rows) for network in (embedding, spec.filter)]
    own = (getattr(gnn, "features", None) or spec.features) if gnn else ()
    return (
        f"name {spec.name}\nfeatures{listed(spec.features)}\nstages {' '.join(spec.stages)}\ngraph{by}\n"
        f"cuts {shown(spec.cuts.filter)} {shown(spec.cuts.gnn)}\nlabelling {spec.labelling.method} {spec.labelling.min_hits}\n"
        f"dim {embedding.dim if embedding else 0}\nall_rows {rows[0]:d} {rows[1]:d}\n"
        f"edge_features {' '.join(spec.edge_features)}\ngnn_features{listed(own)}\n"
    )


def require_canonical(tools: Path, folder: Path, texts: list[str]) -> None:
    """Require that each JSON text has the canonical form that Python gives it, or is refused by both."""
    (folder / "lines").write_text("\n".join(texts), encoding="utf-8", newline="\n")
    found = answer(tools, "canonical", folder / "lines")[1].split("\n")[:-1]
    assert len(found) == len(texts)
    for text, mine in zip(texts, found, strict=True):
        try:
            wanted = canonical_json(json.loads(text))
        except ValueError:
            wanted = "error"
        assert mine == wanted or (wanted == "error" and mine.startswith("error: ")), text


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(many=st.lists(values, min_size=1, max_size=60), ascii_only=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_canonical_json_of_any_value(
    cpp_tools: Path, tmp_path_factory: pytest.TempPathFactory, many: list[Any], ascii_only: bool
) -> None:
    folder = tmp_path_factory.getbasetemp() / "canonical"
    folder.mkdir(exist_ok=True)
    require_canonical(cpp_tools, folder, [json.dumps(value, ensure_ascii=ascii_only) for value in many])


def test_canonical_json_of_numbers(cpp_tools: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    floats = [struct.unpack("d", rng.randbytes(8))[0] for _ in range(4000)]
    floats += [math.nextafter(10.0**power, to) for power in range(-12, 24) for to in (0.0, 1e300)]
    floats += [2.0**power for power in range(-1074, 1024)]
    texts = [json.dumps(value) for value in floats if math.isfinite(value)]
    for _ in range(4000):  # other spellings than Python's own
        text = rng.choice(["", "-"]) + str(rng.randint(0, 10 ** rng.randint(0, 30)))
        text += rng.choice(["", "." + str(rng.randint(0, 10**20)).zfill(rng.randint(1, 30))])
        texts.append(text + rng.choice(["", rng.choice(["e", "E+", "e-"]) + str(rng.randint(0, rng.choice([30, 400])))]))
    require_canonical(cpp_tools, tmp_path, [*texts, "-0", "1e400", "-1E+310", "1e-400", "NaN", "-Infinity", "01", "1.", "+1"])


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
def test_specifications_of_every_family(cpp_tools: Path, tmp_path: Path, spec: PipelineSpec) -> None:
    (tmp_path / "spec").write_text(json.dumps(spec.to_dict()))
    assert answer(cpp_tools, "spec", tmp_path / "spec") == (True, described(spec))


def changed(values: Any, rng: random.Random) -> None:
    """Change one place in nested plain values."""
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = rng.choice(keys)
        inner = values[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
            values = inner
            continue
        if rng.random() < 0.3:
            del values[key]
        elif isinstance(values, dict) and rng.random() < 0.1:
            values[f"{key}s"] = inner
        else:
            numbers, words = [None, True, 0, 1, -1, 33, 2.5], ["r", "event", "family", "edge", "both", "by_index"]
            values[key] = rng.choice([*numbers, *words, [], {}, inner, [inner, inner]])
        return


def test_changed_specifications_are_read_alike(cpp_tools: Path, tmp_path: Path) -> None:
    rng, agreed = random.Random(8), {True: 0, False: 0}
    for number in range(360):
        data = json.loads(json.dumps(list(SPECS.values())[number % len(SPECS)].to_dict()))
        for _ in range(rng.randint(1, 2)):
            changed(data, rng)
        (tmp_path / "spec").write_text(json.dumps(data))
        try:
            wanted = (True, described(PipelineSpec.from_dict(data)))
        except SpecError:
            wanted = (False, "")
        read, said = answer(cpp_tools, "spec", tmp_path / "spec")
        assert (read, said if read else "") == wanted, data
        assert read or said.startswith("SpecError: ")
        agreed[read] += 1
    assert min(agreed.values()) > 40, agreed  # both kinds are tried


@pytest.mark.parametrize("fixture", ["tiny_bundle", "half_bundle"])
def test_exported_bundles(request: pytest.FixtureRequest, cpp_tools: Path, fixture: str) -> None:
    folder: Path = request.getfixturevalue(fixture)
    bundle = Bundle.open(folder)
    files = "".join(f"{entry.path} {entry.bytes} {entry.sha256}\n" for entry in bundle.manifest.files)
    assert answer(cpp_tools, "bundle", folder) == (True, described(bundle.spec) + files)
    assert answer(cpp_tools, "read", folder, "gnn", "onnx") == (True, "gnn.onnx\n")
    assert answer(cpp_tools, "read", folder, "gnn", "onnx", "bfloat16")[0] == (fixture == "half_bundle")
    assert answer(cpp_tools, "read", folder, "gnn", "safetensors")[0]  # of all stages


STRANGE: dict[str, Any] = {
    "café \ud83d\ude00 \udce9.pt": [1e-7, 1e16, 1e15, -0.0, 5e-324, 0.1 + 0.2, 10**30, -7, True, None],
    "\x7f\x00\"\\\n": {"\uffff": 1, "\U00010000": 2},
}


def test_a_manifest_with_strange_provenance(cpp_tools: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest("strange", tiny_spec(name="strange"), (), STRANGE, STRANGE))
    assert answer(cpp_tools, "bundle", tmp_path)[0]


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "cut": lambda d: d["spec"]["cuts"].update(gnn=0.123),
    "schema": lambda d: d.update(schema=2),
    "hash": lambda d: d.update(sha256="0" * 64),
    "no hash": lambda d: d.pop("sha256"),
    "provenance": lambda d: d["provenance"].update(more=1),
    "family": lambda d: d["spec"]["gnn"].update(family="other"),
    "path": lambda d: d["files"][0].update(path="../bundle/embedding.onnx"),
    "bytes": lambda d: d["files"][0].update(bytes=1),
    "a file less": lambda d: d["files"].pop(),
}


@pytest.mark.parametrize("change", EDITS.values(), ids=list(EDITS))
@pytest.mark.parametrize("resealed", [False, True], ids=["edited", "edited and sealed"])
def test_edited_manifests(
    tiny_bundle: Path, cpp_tools: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], resealed: bool
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    content = json.loads((folder / MANIFEST_NAME).read_text())
    change(content)
    if resealed:
        content.pop("sha256", None)
        content["sha256"] = hashlib.sha256(canonical_json(content).encode()).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps(content))
    try:
        Bundle.open(folder).verify()
        fine = True
    except BundleError:
        fine = False
    read, said = answer(cpp_tools, "bundle", folder)
    assert read == fine, said
    assert read or said.startswith(f"BundleError: {folder}")
