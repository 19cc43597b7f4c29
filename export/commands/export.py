"""`trkx export`, `export-models`: checkpoints to one verified bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from trkx.backends import require
from trkx.errors import SpecError
from trkx.export.commands.exported import print_report
from trkx.spec import FeatureSpec


def command(
    source: Annotated[Path | None, typer.Argument(help="Pipeline folder with pipeline.toml and its checkpoints.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle folder to write.")] = Path("bundle"),
    embedding: Annotated[Path | None, typer.Option(help="Checkpoint of the embedding (.ckpt, .pt, .safetensors).")] = None,
    filter_: Annotated[Path | None, typer.Option("--filter", help="Checkpoint of the edge filter.")] = None,
    gnn: Annotated[Path | None, typer.Option(help="Checkpoint of the graph network.")] = None,
    spec: Annotated[Path | None, typer.Option(help="Specification (TOML or JSON) for checkpoints given one by one.")] = None,
    event: Annotated[Path | None, typer.Option(help="Event to check the files with; a simulated one otherwise.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Files for these targets too (repeatable, or with commas): acts (acts-torch and "
                     "acts-onnx), acts-tensorrt, tensorrt, ort-cuda, exatrkx-2021, triton, aoti. Files for ort-cpu and "
                     "libtorch are always written."),
    ] = None,
    lowering: Annotated[
        list[str] | None,
        typer.Option(help="How the ONNX files of a target sum over edges (repeatable), tensorrt=scatter: buckets, scatter, "
                     "segments, prefix64, doubling. A name alone is of the only target of this export that takes it."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", help="ONNX in half precision too (repeatable), in the words of trkx run: fp16, bf16, mixed "
                     "(filter and GNN in bf16), or of each network: filter=fp16,gnn=fp16."),
    ] = None,
    profile_events: Annotated[
        list[Path] | None,
        typer.Option(help="Events (repeatable) that TensorRT's profiles are measured from; else the one to check with."),
    ] = None,
    profile_headroom: Annotated[
        float | None, typer.Option(help="What the largest of them is multiplied by, 1 to 100; default: 1.5.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Export the reference pipeline that ships with trkx.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and warnings.")] = False,
    features: Annotated[
        str | None,
        typer.Option(help='Columns of x and what each is divided by: "r=1000 phi=pi z=1000".'),
    ] = None,
    embedding_features: Annotated[str | None, typer.Option(help="The same, of the embedding alone.")] = None,
    filter_features: Annotated[str | None, typer.Option(help="The same, of the filter alone.")] = None,
    gnn_features: Annotated[str | None, typer.Option(help="The same, of the GNN alone.")] = None,
    radius: Annotated[float | None, typer.Option(help="Distance in the embedding that makes an edge.")] = None,
    k_max: Annotated[int | None, typer.Option(help="Neighbours that a hit keeps, itself not counted.")] = None,
    direction: Annotated[str | None, typer.Option(help="Which end is the source: by_radius or by_index.")] = None,
    filter_cut: Annotated[float | None, typer.Option(help="Score that an edge must exceed.")] = None,
    gnn_cut: Annotated[float | None, typer.Option(help="Score that an edge must exceed.")] = None,
    undirected: Annotated[
        bool | None,
        typer.Option("--undirected/--directed", help="Edges in both directions; default: as trained."),
    ] = None,
    embedding_family: Annotated[str | None, typer.Option(help="What the file is, where it does not say so itself.")] = None,
    filter_family: Annotated[str | None, typer.Option(help="The same, of the filter.")] = None,
    gnn_family: Annotated[str | None, typer.Option(help="The same, of the graph network.")] = None,
    embedding_hparams: Annotated[Path | None, typer.Option(help="Its hyper-parameters (YAML, JSON, TOML).")] = None,
    filter_hparams: Annotated[Path | None, typer.Option(help="The same, of the filter.")] = None,
    gnn_hparams: Annotated[Path | None, typer.Option(help="The same, of the graph network.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the pipeline.")] = None,
    sample: Annotated[
        Path | None,
        typer.Option(help="Scaled features of training hits (CSV): checked, and their ranges kept."),
    ] = None,
) -> None:
    """Turn checkpoints into one verified bundle.

    Writes each network as ONNX and as TorchScript, with weights, bundle.json and model card. Every file is compared with
    the float64 network on an event and on graphs made to find faults; if one differs, nothing is written and the exit code is 1.

    Checkpoints of Exa.TrkX, Tracking-ML and acorn (Lightning .ckpt, state dicts, safetensors, TorchScript) are recognised: give
    one to three of --embedding, --filter, --gnn. What they do not say is asked for; `trkx inspect FILE` tells.
    """
    files = {"embedding": embedding, "filter": filter_, "gnn": gnn}
    _check_source(source, spec, files, reference)
    targets = _targets(target or ())
    if "tensorrt" not in targets and (profile_events or profile_headroom is not None):
        raise SpecError("--profile-events and --profile-headroom are for TensorRT's profiles; add --target tensorrt.")
    require("export", "onnx")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading torch", total=1)
        from trkx.export.assembling import Given
        from trkx.export.build import export_models, steps_of
        from trkx.export.pipeline_folder import open_source, with_sample
        from trkx.export.sample import check_event, reference_folder
        from trkx.export.tensorrt.profiles import HEADROOM
        from trkx.runtime.events import open_events
        from trkx.tables import say

        told = Given(
            _there({"embedding": embedding_family, "filter": filter_family, "gnn": gnn_family}),
            _there({"embedding": embedding_hparams, "filter": filter_hparams, "gnn": gnn_hparams}),
            _columns({"": features, "embedding": embedding_features, "filter": filter_features, "gnn": gnn_features}),
            _there({
                "name": name,
                "graph": _there({"radius": radius, "k_max": k_max, "direction": direction}),
                "cuts": _there({"filter": filter_cut, "gnn": gnn_cut}),
            }),
            undirected,
        )
        pipeline = open_source(reference_folder() if reference else source, spec, files, told)
        if told != Given() and not pipeline.readings:
            raise SpecError(f"{pipeline.origin} describes its networks itself; change it there, without these options.")
        pipeline, hits = with_sample(pipeline, sample)
        for note in pipeline.notes:
            say(console, note)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not console.is_terminal:  # no bar there: a line for each step
                console.print(f"{done + 1}/{total} {what}", highlight=False)

        checked = hits if hits is not None and event is None else check_event(pipeline.spec, event)
        report = export_models(
            pipeline, out, checked, overwrite, targets, lowering or (), tell, precision or (),
            (found.read() for found in open_events(profile_events)) if profile_events else (),
            HEADROOM if profile_headroom is None else profile_headroom,
        )
        total = steps_of(pipeline.spec, targets, precision or ())
        bar.update(task, completed=total, total=total)
    if not quiet:
        print_report(report, [note for note in pipeline.notes if "contradicted" in note])


def _check_source(source: Path | None, spec: Path | None, files: Mapping[str, Path | None], reference: bool) -> None:
    """Raise SpecError unless it is clear what is to be exported."""
    alone = source is None and spec is None and any(files.values())
    choices = {"SOURCE": source is not None, "--spec": spec is not None, "--reference": reference, "checkpoints": alone}
    given = [choice for choice, chosen in choices.items() if chosen]
    if not given or (reference and len(given) > 1):
        found = " and ".join(given) if given else "nothing"
        raise SpecError(
            "give a pipeline folder, or checkpoints (--embedding, --filter, --gnn FILE, with --spec FILE if they are ours), or "
            f"--reference alone; found {found}."
        )


def _targets(words: Sequence[str]) -> tuple[str, ...]:
    """Return the targets that are asked for, each once; a word may hold several, with commas, or be that of a group."""
    from trkx.export.targets import expanded

    return expanded(part.strip() for word in words for part in word.split(",") if part.strip())


def _columns(texts: Mapping[str, str | None]) -> dict[str, tuple[FeatureSpec, ...]]:
    """Return what the options --features and --STAGE-features say, "" for that of all stages."""
    from trkx.export.assembling import features_from

    return {stage: features_from(text, f"--{stage}-features" if stage else "--features") for stage, text in _there(texts).items()}


def _there(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that were given."""
    return {key: value for key, value in values.items() if value is not None and value != {}}
