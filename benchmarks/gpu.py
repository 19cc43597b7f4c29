"""Everything that must hold and be measured on a GPU, in one command: checks, times, peers, targets.

    python benchmarks/gpu.py --reference BUNDLE --wide BUNDLE-2021 --event EVENT --out benchmarks/results/gpu.json

--wide: a bundle of the sizes of 2021 (benchmarks/bundle_2021.py); left out, its rows are left out and said to be. --event: a
mu = 200 event, which is cut to sectors or overlaid with turned copies for other sizes. --parts runs some of it. Results are
written after each part, so that a run that is stopped keeps what it has; an existing file is added to. The exit status is 1
if a check does not hold or a part did not end, in this call or in an earlier one into the same file whose part was not run again
in full; a target that is missed is a measurement, not an error.

Without a GPU the same code runs in Triton's interpreter on a few hits, which tests it:

    TRITON_INTERPRET=1 python benchmarks/gpu.py --device cpu --sizes 40 --check-sizes 0 1 33 --rounds 1 --events 12 …
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import gpu_checks
import gpu_kernels
import gpu_times
from gpu_checks import Check
from gpu_device import opened
from gpu_results import Run
from gpu_targets import judged, table

from trkx.bundle import Bundle
from trkx.runtime.pipeline import Pipeline

PARTS = ("compile", "kernels", "twins", "events", "repeat", "replay", "stages", "alone", "networks", "growth")
ON_GPUS = ("onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt")
"""Engines that are not what their name says on a CPU."""
PRECISIONS = ("mixed", "bf16", "fp16", "tf32", "fp32")
"""What the targets read first: a run that is stopped has that."""
TESTS = ("neighbours", "components", "contraction", "chains", "graph", "path")
WAYS = {
    "trkx fp32": ("triton", "fp32"), "trkx tf32": ("triton", "tf32"), "trkx bf16": ("triton", "bf16"),
    "trkx fp16": ("triton", "fp16"), "trkx bf16, replayed": (gpu_times.REPLAYED, "bf16"),
    "PyTorch eager fp32": ("torch-cuda", "fp32"),
    "PyTorch eager AMP bf16": ("torch-cuda", "bf16"), "PyTorch eager AMP fp16": ("torch-cuda", "fp16"),
    "torch.compile fp32": ("torch-compile", "fp32"), "torch.compile bf16": ("torch-compile", "bf16"),
    "ONNX Runtime CUDA": ("onnxruntime-cuda", "fp32"), "TensorRT": ("tensorrt", "fp32"),
}


def compile_all(run: Run) -> None:
    """Compile the kernels of every bundle and precision, in processes at once: Triton's cache then serves this one."""
    if not run.device.real:
        return
    script = (
        "import sys; from trkx.runtime.pipeline import Pipeline; from trkx.runtime.events import open_events; "
        "from trkx.runtime.bench.sizes import resized; e = resized(open_events([sys.argv[2]])[0].read(), 3000); "
        "p = Pipeline.open(sys.argv[1], 'triton', precision=sys.argv[3]); p.warm_up(); p.run(e)"
    )
    started = {
        f"{bundle.name} in {precision}":
        subprocess.Popen([sys.executable, "-c", script, str(bundle), str(run.given.event), precision], env=os.environ)
        for bundle in run.bundles for precision in run.given.precisions
    }
    failed = [name for name, one in started.items() if one.wait() != 0]
    if failed:
        raise RuntimeError(f"not compiled, for the reasons above: {', '.join(failed)}")


def check_kernels(run: Run) -> None:
    """Kernels against references on random inputs."""
    seed = time.time_ns() % 2**32
    print(f"  seed {seed}", flush=True)
    run.check("kernels", gpu_checks.kernels(run.device, tuple(run.given.check_sizes), seed))


def check_twins(run: Run) -> None:
    """Kernels of networks on random inputs; on a GPU also the tests that otherwise run in the interpreter."""
    seed = time.time_ns() % 2**32
    print(f"  seed {seed}", flush=True)
    run.check("twins", gpu_kernels.kernels(run.device, tuple(run.given.check_sizes), tuple(run.given.precisions), seed))
    if run.device.real:
        run.check("tests", tests(run.given.reference))


def tests(bundle: Path) -> Iterable[Check]:
    """Run tests/runtime/interpreted_*.py with compiled kernels."""
    folder = Path(__file__).parents[1] / "tests" / "runtime"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    for name in TESTS:
        command = [sys.executable, "-m", "pytest", str(folder / f"interpreted_{name}.py")]
        environment["TRKX_TEST_BUNDLE"] = str(bundle.resolve())
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR")) or " passed" in line]
        yield Check(f"tests of {name} on the GPU", "; ".join(said)[-600:] or done.stderr[-300:], done.returncode == 0)


def check_events(run: Run) -> None:
    """Every stage on real events; with the sizes of 2021 not beyond 10^5 hits, which a CPU judges for minutes."""
    named = tuple(precision for precision in run.given.precisions if precision != "mixed")
    for bundle in run.bundles:
        sizes = tuple(size for size in run.given.check_sizes if size and (bundle == run.given.reference or size <= 100_000))
        run.check("events", (
            Check(f"{bundle.name}: {one.name}", one.found, one.holds)
            for one in gpu_checks.event_checks(run.device, Bundle.open(bundle), run.event, sizes, named)
        ))


def check_replay(run: Run) -> None:
    """The GNN as CUDA graphs."""
    events = [gpu_times.resized(run.event, min(run.given.sizes) // part) for part in (1, 2, 3)]
    run.check("replay", (
        Check(f"{bundle.name}: {one.name}", one.found, one.holds)
        for bundle in run.bundles
        for precision in run.given.precisions
        if precision in ("fp32", "bf16")
        for one in gpu_checks.replayed(run.device, Bundle.open(bundle), precision, events)
    ))


def check_repeat(run: Run) -> None:
    """The same bits again."""
    def checks() -> Iterable[Check]:
        sized = gpu_times.resized(run.event, min(run.given.sizes))
        for bundle in run.bundles:
            for precision in run.given.precisions:
                pipeline = Pipeline.open(bundle, "triton", precision=precision, device=str(run.device.torch))
                one = gpu_checks.repeatable(pipeline, sized, 5)
                yield Check(f"{bundle.name} in {precision}: {one.name}", one.found, one.holds)
                if precision != "mixed":
                    one = gpu_checks.repeatable_logits(run.device, Bundle.open(bundle), precision, sized, 5)
                    yield Check(f"{bundle.name}: {one.name}", one.found, one.holds)

    run.check("repeat", checks())


def measure_stages(run: Run) -> None:
    """Stage times, memory, rates."""
    for bundle in run.bundles:
        for precision in run.given.precisions:
            for size in run.given.sizes:
                key = {"precision": precision, "wanted": size}
                try:
                    row = gpu_times.stages(run.device, bundle, run.event, size, precision, run.given.rounds) | key
                except Exception as error:  # too many pairs, no memory: a result, after which the others count all the more
                    run.add("stages", bundle, ("precision", "wanted"), key | {"hits": size, "error": repr(error)[:300]})
                    print(f"  {bundle.name} {precision} {size:,} hits: {error!r}"[:200], flush=True)
                    continue
                run.add("stages", bundle, ("precision", "wanted"), row)
                stages = ", ".join(f"{name} {1e3 * taken:.2f}" for name, taken in row["seconds"].items())
                print(f"  {bundle.name} {precision} {row['hits']:,} hits: {1e3 * row['total_seconds']:.2f} ms ({stages}), "
                      f"peak {row['peak_bytes'] / 1e6:.0f} MB", flush=True)


def measure_alone(run: Run) -> None:
    """Neighbours and components by themselves."""
    for bundle in run.bundles:
        for row in gpu_times.alone(run.device, Bundle.open(bundle), run.event, run.given.peer_size, run.given.rounds):
            print(f"  {bundle.name} {row['what']}: {1e3 * row['seconds']:.3f} ms, {row['edges']:,} edges", flush=True)
            run.add("alone", bundle, ("what", "hits"), row)


def measure_networks(run: Run) -> None:
    """Filter and GNN by themselves, ours and others'."""
    without = [*run.given.without, *([] if run.device.real else ON_GPUS)]
    for bundle in run.bundles:
        found = gpu_times.networks(
            run.device, Bundle.open(bundle), run.event, run.given.peer_size, run.given.rounds,
            {name: way for name, way in WAYS.items() if way[1] in run.given.precisions and way[0] not in without},
        )
        for row in found:
            off = row.get("relative_to_ours_in_fp32")
            said = row.get("error") or f"{1e3 * row['seconds']:.2f} ms" + ("" if off is None else f", off by {off:.1e}")
            print(f"  {bundle.name} {row['stage']} {row['way']}: {said}", flush=True)
        for name in dict.fromkeys(row["way"] for row in found):  # an error takes the place of both stages, and they of it
            run.add("networks", bundle, ("way", "hits"), *(row for row in found if row["way"] == name))


def check_growth(run: Run) -> None:
    """No growth of memory over many events."""
    pipeline = Pipeline.open(run.given.reference, "triton", precision=run.given.precisions[-1], device=str(run.device.torch))
    check, found = gpu_checks.growth(run.device, pipeline, gpu_times.resized(run.event, min(run.given.sizes)), run.given.events)
    run.add("growth", run.given.reference, (), found)
    run.check("growth", [check])


WORK: dict[str, Callable[[Run], None]] = {
    "compile": compile_all, "kernels": check_kernels, "twins": check_twins, "events": check_events, "repeat": check_repeat,
    "replay": check_replay, "stages": measure_stages, "alone": measure_alone, "networks": measure_networks,
    "growth": check_growth,
}


def _folder(text: str) -> Path:
    """Return a bundle's folder with its name, which "." is not."""
    return Path(text).resolve()


def options() -> argparse.ArgumentParser:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=_folder, required=True)
    parser.add_argument("--wide", type=_folder)
    parser.add_argument("--event", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 30_000, 60_000, 130_000, 300_000, 500_000])
    parser.add_argument("--peer-size", type=int, default=100_000, help="hits of the event that others run too")
    parser.add_argument("--check-sizes", type=int, nargs="+", default=[0, 1, 1237, 100_000, 300_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--events", type=int, default=1000, help="events of the part growth")
    parser.add_argument("--without", nargs="*", default=[], help="engines of others to leave out, such as torch-compile")
    return parser


def main() -> None:
    """Run the parts, print the targets."""
    given = options().parse_args()
    for name in ("precisions", "sizes", "check_sizes"):
        setattr(given, name, list(dict.fromkeys(getattr(given, name))))
    device = opened(given.device)
    run = Run(given, device)
    rates = ", ".join(f"{name} {rate / 1e12:.1f}" for name, rate in device.rates.items())
    print(f"{device.facts['device']}: TFLOP/s {rates}; copy {device.copy / 1e12:.2f} TB/s", flush=True)
    for part in PARTS:
        if part in given.parts:
            start = time.perf_counter()
            print(part, flush=True)
            try:
                with run.part(part):
                    WORK[part](run)
            except Exception:  # what the other parts find is worth having; the file says that this one broke off
                traceback.print_exc()
            print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    targets = judged(run.found)
    run.found["targets"] = targets
    run.write()
    print(table(targets))
    for name in run.failed:
        print(f"  fails: {name}")
    if run.found["broken"]:
        print("  (a part counts until a call with at least these bundles, precisions and sizes runs it to its end)")
    print(f"{len(run.failed)} checks or parts fail." if run.failed else "Every check that was run holds.")
    raise SystemExit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
