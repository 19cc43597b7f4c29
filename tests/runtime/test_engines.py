import dataclasses
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest

from trkx.bundle import Bundle, file_entry, write_manifest
from trkx.errors import BundleError, MissingExtraError, SpecError
from trkx.identity import SPEC_KEY, require_same
from trkx.runtime.engines import ENGINES, open_engine
from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import Pipeline

torch = pytest.importorskip("torch", reason="not checked: needs torch")
onnxruntime = pytest.importorskip("onnxruntime", reason="not checked: needs onnxruntime")


FILES = {
    "tiled": "weights.safetensors", "onnxruntime": "gnn.onnx", "torchscript": "filter.pt", "eager": "weights.safetensors",
}


def test_every_engine_has_a_file():
    assert list(FILES) == list(ENGINES)


def event(rng, hits=600):
    radius, phi = rng.choice([32.0, 72, 116, 172, 260, 360, 500, 660, 820, 1020], hits), rng.uniform(-np.pi, np.pi, hits)
    position = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.normal(0, 700, hits)], axis=1)
    return Event(1, np.arange(hits), position.astype(np.float32), source="made-up")


def inputs(rng, edges):
    x = rng.uniform(-1, 1, (50, 3)).astype(np.float32)
    x[:, 0] = np.abs(x[:, 0])
    return x, rng.integers(0, 50, (2, edges))


@pytest.mark.parametrize("edges", [1, 2, 300])
@pytest.mark.parametrize("name", ENGINES)
def test_answers_are_those_of_the_float64_network(name, edges, tiny_bundle, rng):
    from safetensors.torch import load

    from trkx.models.networks import build_network

    opened = Bundle.open(tiny_bundle)
    engine = open_engine(name, opened, threads=1)
    weights = load(opened.read("all", "safetensors"))
    x, edge_index = inputs(rng, edges)
    found = {"embedding": engine.embed(x), "filter": engine.filter(x, edge_index), "gnn": engine.gnn(x, edge_index)}
    for stage in opened.spec.stages:
        network = build_network(opened.spec, stage).double().eval()
        own = {name.split(".", 1)[1]: value.double() for name, value in weights.items() if name.startswith(stage + ".")}
        network.load_state_dict(own)
        given = [torch.from_numpy(x).double()] + ([] if stage == "embedding" else [torch.from_numpy(edge_index)])
        with torch.no_grad():
            expected = network(*given).numpy()
        assert found[stage].dtype == np.float32
        np.testing.assert_allclose(found[stage], expected if stage == "embedding" else expected[:, 0], atol=2e-5, rtol=0)


def test_engines_give_identical_tracks(tiny_bundle, rng):
    made = [event(rng) for _ in range(3)]
    runs = {name: [Pipeline.open(tiny_bundle, name, threads=2).run(one, keep_graphs=True) for one in made] for name in ENGINES}
    assert all(run.graphs["filter"].shape[1] > 50 for run in runs["eager"])
    for name in ENGINES:
        for found, expected in zip(runs[name], runs["eager"], strict=True):
            np.testing.assert_array_equal(found.label, expected.label, err_msg=name)


@pytest.mark.parametrize("name", ENGINES)
def test_filter_chunks_do_not_matter(name, tiny_bundle, rng):
    engine = open_engine(name, Bundle.open(tiny_bundle), threads=1)
    x, edge_index = inputs(rng, 1000)
    parts = [engine.filter(x, edge_index[:, start : start + 130]) for start in range(0, 1000, 130)]
    np.testing.assert_allclose(np.concatenate(parts), engine.filter(x, edge_index), atol=2e-6, rtol=0)


def test_torch_keeps_its_threads(tiny_bundle, rng):
    before = torch.get_num_threads()
    engine = open_engine("eager", Bundle.open(tiny_bundle), threads=before + 1)
    seen = []
    engine._modules["embedding"].register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    engine.embed(inputs(rng, 1)[0])
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("name, file", FILES.items())
def test_an_edited_file_is_refused(name, file, tiny_bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle, copy)
    data = bytearray((copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / file).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{file} has SHA-256 .* edited or corrupted"):
        Pipeline.open(copy, name)


@pytest.mark.parametrize("name", ENGINES)
def test_an_edited_manifest_is_refused(name, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    text = (copy / "bundle.json").read_text()
    assert text.count('"gnn": 0.4') == 1
    (copy / "bundle.json").write_text(text.replace('"gnn": 0.4', '"gnn": 0.6'))
    with pytest.raises(BundleError, match=r"bundle\.json: .*edited"):
        Pipeline.open(copy, name)


@pytest.mark.parametrize(
    "name, file", [("onnxruntime", "embedding.onnx"), ("torchscript", "embedding.pt"), ("eager", "weights.safetensors")]
)
def test_files_made_for_another_spec_are_refused(name, file, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    manifest = Bundle.open(copy).manifest
    features = (dataclasses.replace(manifest.spec.features[0], scale=1.0), *manifest.spec.features[1:])
    write_manifest(copy, dataclasses.replace(manifest, spec=dataclasses.replace(manifest.spec, features=features)))
    with pytest.raises(BundleError, match=rf"{file}: .*features\[0\]\.scale is 1000\.0 in the file and 1\.0 in bundle\.json"):
        Pipeline.open(copy, name)


def listed_anew(folder):
    manifest = Bundle.open(folder, check=False).manifest
    files = [file_entry(folder, file.path, file.stage, file.format, target=file.target) for file in manifest.files]
    write_manifest(folder, dataclasses.replace(manifest, files=tuple(files)))


@pytest.mark.parametrize("name, ending", [("onnxruntime", "onnx"), ("torchscript", "pt")])
def test_files_in_each_others_place_are_refused(name, ending, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    shutil.copy(copy / f"gnn.{ending}", copy / f"filter.{ending}")
    listed_anew(copy)
    with pytest.raises(BundleError, match=rf"filter\.{ending}: expected the network of stage filter, found stage 'gnn'"):
        Pipeline.open(copy, name)


def test_a_torchscript_file_that_does_not_say_what_it_is_is_refused(tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        torch.jit.save(torch.jit.load(copy / "gnn.pt"), copy / "gnn.pt")
    listed_anew(copy)
    with pytest.raises(BundleError, match=r"gnn\.pt: expected metadata pkg\.trkx\.spec, found none"):
        Pipeline.open(copy, "torchscript")


def test_weights_beside_an_onnx_file_are_not_read(tiny_bundle, tmp_path, monkeypatch):
    """Nobody has verified them: with zeros in their place the bundle would find other tracks."""
    onnx = pytest.importorskip("onnx")
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    model = onnx.load(copy / "filter.onnx")
    onnx.save(model, copy / "filter.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    shutil.move(copy / "w.bin", tmp_path / "w.bin")
    monkeypatch.chdir(tmp_path)
    listed_anew(copy)
    with pytest.raises(BundleError, match=r"filter\.onnx: "):
        Pipeline.open(copy, "onnxruntime")


METADATA = [("{", "can't be read"), ("[]", "can't be read"), ('{"name": "x"}', "missing key"), (None, "found none")]


@pytest.mark.parametrize("text, message", METADATA)
def test_metadata_that_says_nothing(text, message, tiny_bundle):
    with pytest.raises(BundleError, match=rf"gnn\.onnx: .*{message}.*Export the bundle again"):
        require_same({} if text is None else {SPEC_KEY: text}, Bundle.open(tiny_bundle).spec, "gnn.onnx")


@pytest.mark.parametrize("name", ENGINES)
def test_a_file_that_does_not_load_is_named(name, tiny_bundle, monkeypatch):
    monkeypatch.setattr(Bundle, "read", lambda *_: b"not a model")
    with pytest.raises(BundleError, match=r"can't be loaded .*export it again"):
        Pipeline.open(tiny_bundle, name)


def test_unknown_and_missing_engines(tiny_bundle, monkeypatch):
    with pytest.raises(SpecError, match=r"unknown engine 'onnx'.*onnxruntime"):
        Pipeline.open(tiny_bundle, "onnx")
    monkeypatch.setattr("trkx.backends._is_there", lambda module: module != "onnxruntime")
    with pytest.raises(MissingExtraError, match=r'pip install "trkx\[cpu\]"'):
        Pipeline.open(tiny_bundle, "onnxruntime")


@pytest.mark.parametrize(("name", "absent"), [
    ("onnxruntime", ("torch", "onnx", "onnxscript")), ("tiled", ("torch", "onnx", "onnxscript", "onnxruntime")),
])
def test_running_loads_neither_torch_nor_onnx(name, absent, tiny_bundle, tmp_path):
    script = f"""
import sys
import numpy as np
for name in {absent!r}:
    sys.modules[name] = None
from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import Pipeline
assert not {{name for name in ("numba", "onnxruntime", "scipy", "pyarrow") if sys.modules.get(name)}}
rng = np.random.default_rng(1)
event = Event(0, np.arange(50), rng.uniform(-500, 500, (50, 3)).astype(np.float32))
tracks = Pipeline.open({str(tiny_bundle)!r}, {name!r}).run(event)
assert len(tracks.label) == 50
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=tmp_path)


@pytest.mark.parametrize("words", ["fp16", "filter=fp16,gnn=fp16", "gnn=fp16"])
def test_onnxruntime_runs_the_half_precision_files(words, half_bundle, rng):
    from trkx.runtime.precision import precisions

    opened = Bundle.open(half_bundle)
    exact, half = (open_engine("onnxruntime", opened, 1, text) for text in ("fp32", words))
    x, edge_index = inputs(rng, 300)
    for stage, given in (("embed", (x,)), ("filter", (x, edge_index)), ("gnn", (x, edge_index))):
        one, two = getattr(exact, stage)(*given), getattr(half, stage)(*given)
        assert two.dtype == np.float32
        difference = np.abs(one - two).max()
        if precisions(words)["embedding" if stage == "embed" else stage] == "fp32":
            assert difference == 0.0
        else:
            assert 1e-6 < difference < 0.05 * np.abs(one).max()


@pytest.mark.parametrize("words, error, message", [
    ("mixed", SpecError, r"does not run in bf16 on a CPU, only in fp32, fp16, for example .*Engine 'tiled' has bf16"),
    ("bf16", SpecError, "does not run in bf16 on a CPU"),
    ("gnn=tf32", SpecError, "does not run in tf32 on a CPU"),
    ("gnn=int8", SpecError, "unknown precision 'int8'"),
])
def test_onnxruntime_refuses_precisions_by_name(words, error, message, half_bundle):
    with pytest.raises(error, match=message):
        open_engine("onnxruntime", Bundle.open(half_bundle), 1, words)


@pytest.mark.parametrize("words", ["fp16", "gnn=fp16"])
def test_onnxruntime_says_how_to_get_files_that_are_missing(words, tiny_bundle):
    with pytest.raises(BundleError, match=rf"lacks: .*gnn in float16\. Export it again: export-models … --precision {words}\."):
        open_engine("onnxruntime", Bundle.open(tiny_bundle), 1, words)


def test_a_half_precision_file_that_is_broken_is_not_called_unsupported(half_bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(half_bundle, folder)
    manifest = Bundle.open(folder).manifest
    (folder / "gnn.fp16.onnx").write_bytes(b"no model")
    new = file_entry(folder, "gnn.fp16.onnx", "gnn", "onnx", "float16")
    files = tuple(new if one.path == new.path else one for one in manifest.files)
    write_manifest(folder, dataclasses.replace(manifest, files=files))
    with pytest.raises(BundleError, match=r"gnn.fp16.onnx: can't be loaded"):
        open_engine("onnxruntime", Bundle.open(folder), 1, "gnn=fp16")


@pytest.mark.parametrize("engine", ["tiled", "onnxruntime"])
def test_a_stage_that_the_bundle_lacks_is_refused(engine, tiny_bundle, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    opened = Bundle.open(folder)
    part = dataclasses.replace(opened.spec, gnn=None, cuts=dataclasses.replace(opened.spec.cuts, gnn=None))
    manifest = dataclasses.replace(opened.manifest, spec=part, files=tuple(f for f in opened.manifest.files if f.stage != "gnn"))
    write_manifest(folder, manifest)
    for words in ("gnn=bf16", "filter=bf16,gnn=fp32"):
        with pytest.raises(SpecError, match=r"has no gnn; its stages are embedding, filter"):
            open_engine(engine, Bundle.open(folder), 1, words)
