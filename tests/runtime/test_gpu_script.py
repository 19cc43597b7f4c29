"""benchmarks/gpu.py as it runs on a GPU, here on a few hits with the kernels interpreted: every part but those that compile."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.small_events import small_events

from trkx.bundle import Bundle
from trkx.runtime.events import write_event_parquet

pytest.importorskip("torch", reason="not checked: needs torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ("kernels", "twins", "events", "repeat", "replay", "stages", "alone", "networks", "growth")
WITHOUT = ("torch-compile", "onnxruntime-cuda", "tensorrt")


def script(bundle, folder, *more):
    write_event_parquet(folder / "event", small_events(1)[0])
    command = [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--reference", str(bundle),
               "--event", str(folder / "event"),
               "--out", str(folder / "gpu.json"), "--sizes", "24", "--peer-size", "24", "--check-sizes", "0", "1", "19",
               "--rounds", "1", "--events", "9", "--precisions", "fp32", "bf16", "--without", *WITHOUT, *more]
    return subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)


def test_script_checks_and_measures_everything(tiny_bundle, tmp_path):
    done = script(tiny_bundle, tmp_path, "--parts", *PARTS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["checks"]) == {"kernels", "twins", "events", "repeat", "replay", "growth"}
    checks = [row for rows in found["checks"].values() for row in rows]
    assert len(checks) > 30 and all(row["holds"] for row in checks)
    assert {(row["precision"], row["hits"]) for row in found["stages"]} == {("fp32", 24), ("bf16", 24)}
    assert all(set(row["seconds"]) >= {"embedding", "graph", "filter", "gnn", "labelling"} for row in found["stages"])
    assert {row["way"] for row in found["networks"]} == {
        "trkx fp32", "trkx bf16", "trkx bf16, replayed", "PyTorch eager fp32", "PyTorch eager AMP bf16"}
    assert all(row["relative_to_ours_in_fp32"] < 0.05 for row in found["networks"])
    assert all(row["met"] is None for row in found["targets"]), "nothing was measured at the size of the targets"
    assert found["broken"] == [] and {row["wide"] for part in ("stages", "alone", "networks") for row in found[part]} == {False}
    assert "no time here means anything" in done.stdout


@pytest.fixture
def gpu_modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_checks
    import gpu_targets

    return gpu_checks, gpu_targets


@pytest.fixture
def begun(gpu_modules, tiny_bundle, tmp_path):
    """Begin a run with the tiny bundle as reference, and a copy of it as the wide one, as options say; nothing is measured."""
    from gpu_results import Run

    write_event_parquet(tmp_path / "event", small_events(1)[0])
    folders = {"--reference": tmp_path / "one" / "tiny", "--wide": tmp_path / "two" / "broad"}
    for folder in folders.values():
        shutil.copytree(tiny_bundle, folder)
    device = SimpleNamespace(torch="cpu", real=False, facts={"device": "none"}, rates={}, copy=0.0)

    def begin(**more):
        given = {"reference": folders["--reference"], "wide": folders["--wide"], "event": tmp_path / "event",
                 "out": tmp_path / "gpu.json", "precisions": ["fp32", "bf16"], "sizes": [24], "peer_size": 24,
                 "check_sizes": [1], "events": 9, "rounds": 1, "without": []}
        return Run(SimpleNamespace(**given | more), device)

    return begin


def test_targets_are_judged_on_what_was_measured(gpu_modules):
    _, targets = gpu_modules

    def stage(precision, wide, total, gnn, hits=100_000, share=0.4):
        return {"precision": precision, "wide": wide, "hits": hits, "total_seconds": total, "peak_bytes": 1e9,
                "seconds": {"gnn": gnn, "labelling": 2e-3}, "filter": {"of_matrix_rate": share}, "ns_per_candidate": 2.0}

    def way(name, taken, wide=False, hits=100_000):
        return {"stage": "gnn", "hits": hits, "wide": wide, "way": name, "seconds": taken}

    found = {
        "stages": [stage("mixed", False, 0.02, 0.011), stage("mixed", True, 0.2, 0.05), stage("bf16", False, 0.02, 0.01),
                   stage("bf16", True, 0.2, 0.05, share=0.6), stage("mixed", False, 0.05, 0.03, hits=500_000)],
        "networks": [way("trkx bf16", 0.1, wide=True), way("trkx bf16", 1.0), way("trkx bf16", 0.2, hits=99_500),
                     way("PyTorch eager AMP bf16", 2.9), way("torch.compile bf16", 2.1),
                     way("torch.compile bf16", 0.1, wide=True)],
        "alone": [{"what": "components, trkx", "hits": 100_000, "wide": wide, "seconds": taken}
                  for wide, taken in ((True, 2e-3), (False, 5e-4))],
    }
    rows = {row["target"]: row for row in targets.judged(found)}
    met = {name: row["met"] for name, row in rows.items()}
    assert met["event, reference, mixed"] and not met["event, sizes of 2021, mixed"]
    assert not met["GNN, reference, mixed"] and not met["labelling of the pipeline (contraction)"]
    assert not met["filter, reference, of the bf16 matrix rate"] and met["filter, sizes of 2021, of the bf16 matrix rate"]
    assert not met["GNN against eager AMP"] and met["GNN against torch.compile"]
    assert met["time per candidate, 10^5 hits and more, slowest to fastest"] and met["memory, reference"]
    assert met["neighbours"] is None and "not measured  neighbours" in targets.table(list(rows.values()))
    assert rows["GNN against eager AMP"]["measured"] == pytest.approx(2.9)
    assert rows["components"]["measured"] == pytest.approx(0.5), "of the reference bundle, whichever row comes first"


def test_time_per_candidate_needs_every_size(gpu_modules):
    _, targets = gpu_modules
    name = "time per candidate, 10^5 hits and more, slowest to fastest"

    def judge(*sizes, failed=()):
        rows = [{"precision": "mixed", "wide": False, "hits": hits, "total_seconds": 1.0, "peak_bytes": 1, "seconds": {}}
                | ({"error": "no memory"} if hits in failed else {"ns_per_candidate": each}) for hits, each in sizes]
        rows.append({"precision": "mixed", "wide": True, "hits": 500_000, "error": "no memory"})
        judged = targets.judged({"stages": rows})
        return next((row["measured"], row["met"]) for row in judged if row["target"] == name), targets.table(judged)

    assert judge((30_000, 9.0), (100_000, 2.0), (500_000, 2.2))[0] == (pytest.approx(1.1), True)
    assert judge((100_000, 2.0), (300_000, 2.0), (500_000, 2.4))[0] == (pytest.approx(1.2), False)
    for missing in (((100_000, 2.0), (130_000, 2.0)), ((300_000, 2.0), (500_000, 2.0)), ((100_000, 2.0), (500_000, None))):
        assert judge(*missing)[0] == (None, None), missing
    for failed in (300_000, 500_000):
        seen, said = judge((100_000, 2.0), (130_000, 2.0), (300_000, 2.0), (500_000, 2.0), failed={failed})
        assert seen == (None, False) and f"MISSED        {name}: a size failed" in said
        json.dumps(seen, allow_nan=False)
    assert judge((30_000, 2.0), (100_000, 2.0), (500_000, 2.0), failed={30_000})[0] == (pytest.approx(1.0), True)


def test_no_passing_check_hides_a_failed_one(begun, gpu_modules, monkeypatch):
    import gpu

    checks, _ = gpu_modules
    monkeypatch.setattr(gpu, "Pipeline", SimpleNamespace(open=lambda *given, **more: None))
    monkeypatch.setattr(checks, "repeatable", lambda *given: checks.Check("5 runs", "the same bits", True))
    monkeypatch.setattr(checks, "repeatable_logits", lambda device, bundle, precision, *given: checks.Check(
        f"logits in {precision}", "", bundle.path.name != "tiny"))
    run = begun()
    gpu.check_repeat(run)
    assert run.failed == ["tiny: logits in fp32", "tiny: logits in bf16"] and len(run.found["checks"]["repeat"]) == 8
    run.check("twice", [checks.Check("a", "", False), checks.Check("b", "", True), checks.Check("a", "", True)])
    assert run.failed[2:] == ["a"]
    run.check("twice", [checks.Check("a", "", True)])
    assert len(run.failed) == 2, "a later call judges anew"
    assert begun().failed == run.failed, "from the file"


def test_bundles_of_one_name_are_refused(begun, tiny_bundle, tmp_path):
    first = begun(wide=None)
    first.add("alone", first.bundles[0], ("what",), {"what": "a", "seconds": 1.0})
    namesake = tmp_path / "three" / "tiny"
    shutil.copytree(tiny_bundle, namesake)
    with pytest.raises(SystemExit, match=r"both in a folder named tiny, .*rename one"):
        begun(wide=namesake)
    with pytest.raises(SystemExit, match=r"another bundle named tiny, .*choose another --out"):
        begun(reference=tmp_path / "two" / "broad", wide=namesake)
    assert begun(reference=namesake, wide=None).found["alone"], "the same bundle elsewhere"
    both = begun()
    for bundle in (*both.bundles, both.bundles[0]):
        both.add("alone", bundle, ("what",), {"what": "a", "seconds": 2.0})
    assert [(row["folder"], row["wide"]) for row in both.found["alone"]] == [("broad", True), ("tiny", False)]


def test_an_error_takes_the_place_of_what_a_way_took_before(begun, monkeypatch):
    import gpu

    run, answers = begun(wide=None), []
    run.device.torch = "cpu"
    monkeypatch.setattr(gpu.gpu_times, "networks", lambda *given: answers.pop())
    worked = [{"way": way, "stage": stage, "hits": 24, "seconds": 1.0}
              for way in ("trkx bf16", "peer") for stage in ("gnn", "filter")]
    for answer in (worked, [{"way": "peer", "stage": "", "hits": 24, "error": "lost"}], worked):
        answers.append(answer)
        gpu.measure_networks(run)
        stages = [(row["way"], row["stage"]) for row in run.found["networks"]]
        assert len(set(stages)) == len(stages) == (4 if answer is worked else 3)


def test_a_part_that_broke_off_counts_until_it_is_run_to_its_end(begun, gpu_modules, monkeypatch):
    import gpu

    def call(work, status, *more, **given):
        run = begun(**given)
        monkeypatch.setattr(gpu, "options", lambda: SimpleNamespace(parse_args=lambda: run.given))
        monkeypatch.setattr(gpu, "opened", lambda name: run.device)
        monkeypatch.setattr(gpu, "WORK", {"kernels": lambda run: None} | work)
        with pytest.raises(SystemExit) as ended:
            gpu.main()
        assert ended.value.code == status
        return begun(**given)

    def breaks(run):
        raise RuntimeError("an illegal memory access")

    def fine(run):
        assert run.failed == [] or "part growth" in run.failed[0]

    given = {"device": "cpu", "parts": ["growth"]}
    failed = call({"growth": breaks}, 1, **given).failed
    assert len(failed) == 1 and failed[0].startswith("part growth broke off") and "illegal memory access" in failed[0]
    assert call({}, 1, **given | {"parts": ["kernels"]}).failed == failed, "another part says nothing of it"
    assert call({"growth": fine}, 1, **given | {"precisions": ["fp32"]}).failed == failed, "nor does half of it"
    assert call({"growth": fine}, 1, **given | {"wide": None}).failed == failed
    assert call({"growth": fine}, 0, **given).failed == []
    run = begun()
    with pytest.raises(KeyboardInterrupt), run.part("alone"):
        seen = begun().failed
        raise KeyboardInterrupt
    assert seen == begun().failed == ["part alone was stopped before its end"]
    with pytest.raises(RuntimeError), run.part("kernels"):
        breaks(run)
    assert begun().failed[1].startswith("part kernels broke off"), "at once: what runs next may be killed"


def test_a_wrong_kernel_is_seen(gpu_modules, monkeypatch):
    import torch

    checks, _ = gpu_modules
    points = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    device = type("Here", (), {"torch": torch.device("cpu")})()

    def twin(drop):
        from trkx.runtime.neighbours import radius_graph

        def found(here, radius, k_max):
            right = radius_graph(here.numpy(), radius, k_max)
            return type("Pairs", (), {"pairs": torch.from_numpy(right.pairs[:, drop:]), "truncated": right.truncated})()

        return found

    for drop, holds in ((0, True), (1, False)):
        monkeypatch.setattr(checks, "radius_graph_cuda", twin(drop))
        assert checks._same_pairs("pairs", device, points, 0.8).holds is holds


def test_wrong_directions_and_one_wrong_row_are_seen(gpu_modules, tiny_bundle, monkeypatch):
    import torch

    checks, _ = gpu_modules
    device, event = type("Here", (), {"torch": torch.device("cpu")})(), small_events(1)[0]
    pairs = np.random.default_rng(1).integers(0, len(event), (2, 300))
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    assert all(check.holds for check in checks._same_edges(device, Bundle.open(tiny_bundle), event, pairs))
    right = checks.orientation_on_device
    monkeypatch.setattr(checks, "orientation_on_device", lambda *given: lambda edges: right(*given)(edges).flip(0))
    assert not any(check.holds for check in checks._same_edges(device, Bundle.open(tiny_bundle), event, pairs))
    wanted = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        for off, holds in ((0.0, True), (1.0, False), (float("nan"), False)):
            found = wanted.float()
            found[77] += off
            assert checks.judged_close("logits", found, wanted, precision).holds is holds, (precision, off)


class Exact:
    """Stands in for the engine: the networks as they are, but for what `spoil` does to the logits of each launch."""

    def __init__(self, networks, spoil=lambda start, logits: logits):
        self.networks, self.spoil, self.launches, self.graphs = networks, spoil, [], []

    def embed(self, x):
        return self.networks["embedding"](x)

    def edge_filter(self, x):
        def judge(edges):
            logits = self.networks["filter"](x, edges).reshape(-1).clone()
            start = sum(self.launches)
            self.launches.append(edges.shape[1])
            return self.spoil(start, logits)

        return judge

    def gnn(self, x, edges):
        self.graphs.append(edges)
        return self.networks["gnn"](x, edges).reshape(-1)


def test_the_filter_is_judged_as_the_pipeline_runs_it(gpu_modules, tiny_bundle, monkeypatch):
    import torch

    import trkx.runtime.cuda.engines.table as table
    from trkx.runtime.engines.eager import load_networks
    from trkx.runtime.features import node_features

    checks, _ = gpu_modules
    bundle, event, device = Bundle.open(tiny_bundle), small_events(1)[0], SimpleNamespace(torch=torch.device("cpu"))
    pairs = np.stack(np.triu_indices(70, 1)).astype(np.int64)  # 2415
    x = node_features(event, bundle.spec.features)
    monkeypatch.setattr(checks, "JUDGED", 200)
    monkeypatch.setattr(checks, "ENDS", 8)

    def failed(spoil):
        engine = Exact(load_networks(bundle), spoil)
        monkeypatch.setattr(table, "open_device_engine", lambda *given: engine)
        found = [one.name for one in checks._networks(device, bundle, "fp32", x, pairs, pairs[:, :40], 1000) if not one.holds]
        assert engine.launches == [1000, 1000, 415]
        return found

    def wrong(first, last, value=9.0):
        def spoil(start, logits):
            rows = torch.arange(start, start + len(logits))
            return torch.where((rows >= first) & (rows < last), value, logits)

        return spoil

    assert failed(wrong(0, 0)) == []
    for first, last in ((1500, 1530), (999, 1000), (1000, 1001), (2414, 2415)):
        assert len(failed(wrong(first, last))) == 1, (first, last)
    assert "all 2,415 candidates" in failed(wrong(1501, 1502, float("nan")))[0], "one that is not among those compared"
    step = checks.compared(2415, 4000)
    step = step[(step > 8) & (step < 2400)]
    assert {int(one) % 8 for one in step} == set(range(8)) and set(step.diff().tolist()) == {13}


def test_graphs_that_are_run_again_reach_most_hits(gpu_modules, tiny_bundle, monkeypatch):
    import torch

    import trkx.runtime.cuda.engines.fused as fused
    import trkx.runtime.cuda.engines.table as table
    from trkx.runtime.engines.eager import load_networks

    checks, _ = gpu_modules
    bundle, event = Bundle.open(tiny_bundle), small_events(1)[0]
    device, hits = SimpleNamespace(torch=torch.device("cpu")), len(small_events(1)[0])
    pairs = torch.from_numpy(np.stack(np.triu_indices(hits, 1)).astype(np.int64))
    monkeypatch.setattr(checks, "radius_graph_cuda", lambda *given: SimpleNamespace(pairs=pairs))
    engine = Exact(load_networks(bundle))
    monkeypatch.setattr(table, "open_device_engine", lambda *given: engine)
    monkeypatch.setattr(fused, "open_engine", lambda *given, replay: engine)
    assert checks.repeatable_logits(device, bundle, "fp32", event, 2).holds
    assert all(check.holds for check in checks.replayed(device, bundle, "fp32", [event]))
    assert len(engine.graphs) == 2 + 4
    for graph in engine.graphs:
        assert 2 * hits < graph.shape[1] <= 4 * hits and graph.is_contiguous()
        assert len(graph.unique()) > 0.9 * hits > len(pairs[:, : 4 * hits][0].unique())
        assert bool((graph[0] * hits + graph[1]).diff().gt(0).all()), "sorted"
    assert torch.equal(checks.thinned(pairs[:, :7], 7), pairs[:, :7]) and checks.thinned(pairs[:, :8], 7).shape[1] == 4


def test_peers_get_the_chunks_of_the_pipeline(gpu_modules):
    import torch
    from gpu_times import judged

    from trkx.runtime.cuda.path import DEVICE_CHUNK

    def launches(together):
        edges = torch.zeros((2, 1), dtype=torch.int64).expand(2, DEVICE_CHUNK + 1)
        return judged(lambda part: torch.tensor([part.shape[1]]), edges, together).tolist()

    assert launches(False) == [DEVICE_CHUNK, 1] and launches(True) == [DEVICE_CHUNK + 1]
