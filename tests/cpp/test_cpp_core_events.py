"""Events, features and outputs: the C++ library reads and writes what Python does; features to one unit in the last place."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cpp import write_csv_event
from support.cpp_core import answer
from support.small_events import small_events
from support.tiny import tiny_spec

from trkx.chains import ChainSpec, FeatureSpec
from trkx.errors import InputError, TrkxWarning
from trkx.graph_networks import MessagePassingSpec
from trkx.runtime.edge_features import FORMULAS, edge_features
from trkx.runtime.events import Event, open_events, read_event, write_prototracks, write_trackml_submission
from trkx.runtime.features import FROM_POSITION, node_features, range_problems
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec

GUN = Path(__file__).parents[1] / "data" / "acts_gun"
KINDS = ("spacepoint", "measurements", "hits")


def read_by_cpp(tools: Path, path: Path, folder: Path) -> tuple[Event | None, str]:
    """Return the event that the library reads, None if it refuses; and what it says."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    read, said = answer(tools, "event", path, folder)
    if not read:
        assert said.startswith("InputError: "), said
        return None, said
    held = {file.stem.removeprefix("column-"): np.fromfile(file, np.float64) for file in folder.glob("column-*")}
    assert all((values == values.astype(np.float32)).all() for values in held.values())  # as Python keeps them
    ids = {name: held.pop(name).astype(np.int32) for name in ("volume", "layer", "module") if name in held}
    cells = {name: values.astype(np.float32) for name, values in held.items()}
    hit_id, position = np.fromfile(folder / "hit_id.i64", np.int64), np.fromfile(folder / "position.f32", np.float32)
    number, count = map(int, said.splitlines()[0].split())
    assert count == len(hit_id)
    return Event(number, hit_id, position.reshape(-1, 3), cells=cells, source=str(path), **ids), said


def require_same_event(found: Event | None, wanted: Event) -> None:
    assert found is not None
    assert found.event_id == wanted.event_id
    np.testing.assert_array_equal(found.hit_id, wanted.hit_id)
    np.testing.assert_array_equal(found.position.view(np.int32), wanted.position.view(np.int32))
    for name in ("volume", "layer", "module"):
        np.testing.assert_equal(getattr(found, name), getattr(wanted, name))
    assert sorted(found.cells) == sorted(wanted.cells)
    for name, values in wanted.cells.items():
        np.testing.assert_array_equal(found.cells[name], values)


@pytest.mark.parametrize("kind", KINDS)
def test_acts_events(cpp_tools: Path, tmp_path: Path, kind: str) -> None:
    path = GUN / f"event000000000-{kind}.csv"
    require_same_event(read_by_cpp(cpp_tools, path, tmp_path / "arrays")[0], read_event(path))


def test_the_best_file_of_a_folder_is_taken(cpp_tools: Path) -> None:
    (source,) = open_events(GUN)
    best = next(source.files[kind] for kind in KINDS if kind in source.files)
    assert answer(cpp_tools, "find", GUN) == (True, f"{best}\n")


def test_trackml_events_with_cells(cpp_tools: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (event,) = small_events(1)
    path = write_csv_event(tmp_path, event)
    head, *rows = path.read_text().splitlines()
    ids = [f",{v},{n},{m}" for v, n, m in rng.integers(0, 4000, (len(rows), 3))]
    body = "".join(f"{row}{more}\n" for row, more in zip(rows, ids, strict=True))
    path.write_text(f"{head},volume_id,layer_id,module_id\n{body}")
    cells = np.repeat(event.hit_id, rng.integers(0, 5, len(event)))
    values = np.float32(rng.exponential(size=len(cells)))
    text = "".join(f"{hit},0,{value!s}\n" for hit, value in zip(rng.permutation(cells), values, strict=True))
    (tmp_path / path.name.replace("hits", "cells")).write_text(f"hit_id,ch0,value\n{text}999999999,1,3\n")
    require_same_event(read_by_cpp(cpp_tools, path, tmp_path / "arrays")[0], read_event(path))


PIECES = (b",", b'"', b"\n", b"\r\n", b" ", b"1", b".", b"e", b"-", b"nan", b"\xe9", b"\t", b"+")


def damaged(text: bytes, rng: random.Random) -> bytes:
    """Return text with a few bytes changed, taken out, put in, or its end cut off."""
    for _ in range(rng.randint(1, 3)):
        at, piece = rng.randrange(len(text)), rng.choice(PIECES)
        before, after = text[:at], text[at + 1 :]
        text = rng.choice([before + piece + text[at:], before + piece + after, before + after, text, before or text])
    return text


def test_damaged_files_are_read_alike_or_refused(cpp_tools: Path, tmp_path: Path) -> None:
    rng, path = random.Random(4), tmp_path / "event000000003-hits.csv"
    whole = b"hit_id,x,y,z,volume_id,note\n" + b"".join(b"%d,%d.25,-3e2,0.001,7,a\n" % (hit, 10 * hit) for hit in range(6))
    read, stricter = 0, []
    for _ in range(250):
        text = damaged(whole, rng)
        path.write_bytes(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrkxWarning)
            try:
                wanted = read_event(path)
            except InputError:
                wanted = None
        found, said = read_by_cpp(cpp_tools, path, tmp_path / "arrays")
        if found is None:
            stricter += [(text, said)] if wanted is not None else []
            continue
        assert wanted is not None, text
        require_same_event(found, wanted)
        assert ("does not end with a line break" in said) == (not text.endswith((b"\n", b"\r"))), text
        read += 1
    assert 40 < read < 240  # both kinds are tried
    # What Python lets pass and C++ does not: a quote that does not end in its line.
    assert all("quote" in said for _, said in stricter), stricter


BAD = {
    "NaN": "1,nan,0,0", "infinite": "1,0,-inf,0", "empty": "1,,0,0", "negative": "-1,0,0,0", "twice": "1,0,0,0\n1,1,0,0",
    "beyond float32": "1,1e39,0,0", "no integer": "1.5,0,0,0", "short": "1,0,0", "long": "1,0,0,0,0", "words": "1,0,0,far",
}


@pytest.mark.parametrize("rows", BAD.values(), ids=list(BAD))
def test_what_python_refuses_is_refused(cpp_tools: Path, tmp_path: Path, rows: str) -> None:
    path = tmp_path / "event1-hits.csv"
    path.write_text(f"hit_id,x,y,z\n0,0,0,0\n{rows}\n")
    with pytest.raises(InputError):
        read_event(path)
    assert read_by_cpp(cpp_tools, path, tmp_path / "arrays")[0] is None


def save_spec(folder: Path, spec: PipelineSpec) -> Path:
    (folder / "spec").write_text(json.dumps(spec.to_dict()))
    return folder / "spec"


def require_close(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """Require that float32 differ by no more than one unit in the last place."""
    steps = found.view(np.int32).astype(np.int64) - wanted.ravel().view(np.int32)
    assert np.abs(steps).max(initial=0) <= 1


def test_features_and_their_ranges(cpp_tools: Path, tmp_path: Path) -> None:
    event = small_events(3)[1]
    event.position[0] = (0.0, 0.0, 5.0)  # on the beam axis
    event.position[1] = (-0.0, -0.0, -0.0)
    event.position[2] = (-3.0, -0.0, 1e-30)
    path = write_csv_event(tmp_path, replace(event, event_id=3))
    event = read_event(path)
    names = [*FROM_POSITION]
    for scale, low, high in ((1000.0, -3.0, 3.0), (3.7, -1.0, 0.5), (1e6, 0.0, 1.0)):
        spec = tiny_spec(features=tuple(FeatureSpec(name, scale, low, high) for name in names))
        x = node_features(event, spec.features)
        read, said = answer(cpp_tools, "features", save_spec(tmp_path, spec), path, tmp_path / "x")
        assert read, said
        require_close(np.fromfile(tmp_path / "x", np.float32), x)
        problems = range_problems(x, spec.features)
        wanted = f"event 3 ({path}): {'; '.join(problems.values())}. Are the units" if problems else ""
        alike = [text.replace("from -0 to", "from 0 to") for text in (said, wanted)]  # either may be the least of 0 and -0
        assert alike[0].startswith(alike[1])
        assert bool(said.strip()) == bool(problems)
    spec = tiny_spec(features=(*spec.features, FeatureSpec("cell_val", 1.0)))
    read, said = answer(cpp_tools, "features", save_spec(tmp_path, spec), path, tmp_path / "x")
    assert not read
    assert "needs the feature 'cell_val'" in said


OWN = (FeatureSpec("phi", np.pi), FeatureSpec("r", 1.0))


@pytest.mark.parametrize("own", [None, OWN], ids=["scales of the pipeline", "its own scales"])
def test_edge_features(cpp_tools: Path, tmp_path: Path, own: tuple[FeatureSpec, ...] | None) -> None:
    chain, logit, names = ChainSpec((8,)), ChainSpec((1,)), tuple(FORMULAS)
    gnn = MessagePassingSpec(chain, chain, chain, chain, logit, 1, edge_features=names, features=own)
    features = (FeatureSpec("z", 1000.0), FeatureSpec("r", 1000.0), FeatureSpec("eta", 4.0), FeatureSpec("phi", 2.0))
    spec = tiny_spec(features=features, gnn=gnn)
    rng = np.random.default_rng(2)
    x = rng.uniform(-2.0, 2.0, (60, 4)).astype(np.float32)
    x[::3, 1], x[::6, 3] = 0.5, 0.25  # the same r, some at the same phi
    edges = rng.integers(0, 60, (2, 3000))
    x.tofile(tmp_path / "x")
    edges.tofile(tmp_path / "edges")
    files = [tmp_path / name for name in ("x", "edges", "out")]
    read, said = answer(cpp_tools, "edge-features", save_spec(tmp_path, spec), *files)
    assert read, said
    wanted = edge_features(spec, x, edges)
    require_close(np.fromfile(tmp_path / "out", np.float32) + np.float32(0), wanted + np.float32(0))  # 0 and -0 are the same
    slope = wanted[:, names.index("phislope")]
    assert {-100.0, 0.0, 100.0} <= set(slope.tolist())  # the ends are tried


@pytest.mark.parametrize("seed", range(4))
def test_tracks_are_written_byte_for_byte(cpp_tools: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = [0, 1, 500, 4000][seed]
    bits = rng.integers(0, 1 << 32, (hits, 3), dtype=np.uint32).view(np.float32)
    powers = (rng.choice([-1, 1], (hits, 3)) * 10.0 ** rng.integers(-9, 13, (hits, 3))).astype(np.float32)
    position = np.where(np.isfinite(bits) & (rng.random((hits, 3)) < 0.7), bits, powers)
    hit_id = rng.permutation(np.int64(7) * hits)[:hits] + rng.choice([0, 1 << 60])
    label, min_hits = np.sort(rng.integers(0, max(hits // 3, 1), hits))[rng.permutation(hits)], int(rng.integers(1, 5))
    number = int(rng.choice([0, 3, 123456789, 10**15]))
    event, tracks = Event(number, hit_id, position), Tracks(number, hit_id, label, min_hits)
    for name, array in (("ids", hit_id), ("labels", label.astype(np.int64)), ("positions", position)):
        array.tofile(tmp_path / name)
    given = (str(number), str(min_hits), tmp_path / "ids", tmp_path / "labels")
    read, said = answer(cpp_tools, "submission", *given, tmp_path / "mine.csv")
    assert read, said
    assert int(said) == tracks.num_tracks
    assert (tmp_path / "mine.csv").read_bytes() == write_trackml_submission(tmp_path / "theirs.csv", [tracks]).read_bytes()
    read, said = answer(cpp_tools, "prototracks", *given, tmp_path / "positions", tmp_path / "mine")
    assert read, said
    theirs = write_prototracks(tmp_path / "theirs", event, tracks)
    assert Path(said.strip()).name == theirs.name
    assert Path(said.strip()).read_bytes() == theirs.read_bytes()
