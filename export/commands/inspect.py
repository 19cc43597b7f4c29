"""`trkx inspect`: what a bundle or a model file is."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trkx.bundle import MANIFEST_NAME
from trkx.errors import BundleError, CheckpointError, SpecError, TrkxWarning
from trkx.identity import PREFIX
from trkx.runtime.describe import Description, describe, is_torchscript, ours, spec_of
from trkx.spec import PipelineSpec
from trkx.tables import Column, FittedTable, Line, output_console, say

if TYPE_CHECKING:
    from rich.console import Console


def command(
    path: Annotated[Path, typer.Argument(help="A bundle, a folder with pipeline.toml, a model file or a checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every weight as well.")] = False,
    family: Annotated[str | None, typer.Option(help="What the checkpoint is, where it does not say so itself.")] = None,
    hparams: Annotated[Path | None, typer.Option(help="Hyper-parameters of the checkpoint (YAML, JSON or TOML).")] = None,
    sample: Annotated[
        Path | None, typer.Option(help="A table of scaled features (CSV), to compare with the ranges of a bundle.")
    ] = None,
) -> None:
    """Say what a bundle, a model file or a checkpoint is.

    Of a bundle: stages, tensors, features and scales, cuts, provenance, validation, and whether every file is as it was written.
    Of a checkpoint, whoever wrote it: family, layers, parameters, features, and what an export would still ask for.
    Nothing that a file holds is executed. The exit code is 1 if a file of a bundle is missing, truncated or edited, or if a
    checkpoint is none that can be exported.
    """
    found = _described(path, family, hparams)
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
    elif found["kind"] == "checkpoint":
        _print_checkpoint(found, tensors)
    else:
        _print(found, tensors)
    if sample is not None:
        _compare(found, sample)
    if found.get("refused"):
        raise CheckpointError(found["refused"])
    bad = [f"{file['path']} {file['state']}" for file in found.get("files", ()) if file["state"] != "ok"]
    if bad:
        raise BundleError(f"{path}: {'; '.join(bad)}.")


def _described(path: Path, family: str | None, hparams: Path | None) -> Description:
    from trkx.export.describing import SUFFIXES, describe_checkpoint, describe_foreign_folder

    folder = path.parent if path.name == "pipeline.toml" else path
    if not (folder / MANIFEST_NAME).is_file() and (foreign := describe_foreign_folder(folder)) is not None:
        return foreign
    asked = family is not None or hparams is not None
    if asked or (path.is_file() and path.suffix in SUFFIXES and not ours(path)):
        found = describe_checkpoint(path, family, hparams)
        if asked or "family" in found or not is_torchscript(path):
            return found
    return describe(path)  # TorchScript of no known family is described as a model file


def _compare(found: Description, sample: Path) -> None:
    """Warn if a sample of scaled features contradicts the features of a bundle."""
    from trkx.runtime.scaled_sample import read_sample, scale_problem

    spec = spec_of(found)
    if spec is None:
        raise SpecError(f"{found['path']}: says nothing of features and scales to compare {sample} with; inspect a bundle.")
    problem = scale_problem(read_sample(sample, spec.features), spec.features)
    if problem:
        warnings.warn(f"{sample}: {problem}.", TrkxWarning, stacklevel=2)
    else:
        typer.echo(f"{sample}: nothing speaks against the scales of the features.")


def _print_checkpoint(found: Description, tensors: bool) -> None:
    """Print what a checkpoint is, and last what is missing for an export."""
    console = output_console()
    title = f"{found['path']}: {found.get('stage', 'checkpoint')} {found.get('family', '')}".rstrip()
    console.print(title, style="bold", soft_wrap=True)
    rows = [["file", found["container"] + (f", class {found['class']}" if found["class"] else "")]]
    if "family" in found:
        rows += [["code base", found["title"]], ["computes", found["forward"]], ["layers", found["summary"]],
                 ["reads", f"{found['inputs']} columns of x"], ["parameters", f"{found['parameters']:,}"],
                 ["page", f"docs/families/{found['page']}"]]
        rows += [[name.replace("_", " "), _fact(value)] for name, value in found["facts"].items()]
    if found["hyper_source"]:
        rows.append(["hyper-parameters", f"{len(found['hyper_parameters'])}, {found['hyper_source']}"])
    _table(console, "Checkpoint", ("what", "value"), rows)
    for title, key in (("Notes", "notes"), ("Assumed", "assumed"), ("Not read", "unused"), ("Missing for an export", "missing")):
        if found.get(key):
            console.print()
            console.print(title, style="bold")
            for line in found[key]:
                console.print(f"  {line}")
    _print_content(console, {"path": found["path"], "tensors": found["tensors"]}, tensors)
    if tensors:
        _table(console, "Hyper-parameters", ("name", "value"), [[k, v] for k, v in found["hyper_parameters"].items()])


def _fact(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _print(found: Description, tensors: bool) -> None:
    console = output_console()
    metadata = found.get("metadata", {})
    title = " ".join(str(part) for part in (found["kind"], found.get("name", ""), metadata.get(PREFIX + "stage", "")) if part)
    console.print(f"{found['path']}: {title}", style="bold", soft_wrap=True)
    spec = spec_of(found)
    if spec:
        _print_spec(console, spec)
    if "files" in found:
        columns = ("path", "stage", "format", "precision", "opset", "bytes", "sha256", "state")
        rows = [[_short(key, file.get(key, "")) for key in columns] for file in found["files"]]
        _table(console, "Files", columns, rows, spare=("sha256", "bytes", "precision"))
    for part in (found, *({"path": file["path"], **file["content"]} for file in found.get("files", ()))):
        _print_content(console, part, tensors)
    if found.get("strangers"):
        say(console, f"Not part of the bundle: {', '.join(found['strangers'])}", "yellow")
    for key in ("provenance", "validation"):
        if found.get(key):
            values = {name: value for name, value in found[key].items() if name != "not_checked"}
            _table(console, key.capitalize(), ("what", "value"), [[name, value] for name, value in _flat(values)])
    _print_not_checked(console, found)
    if found["kind"] == "onnx" and metadata:
        _table(console, "Metadata", ("key", "value"), [[k, v] for k, v in metadata.items() if k != PREFIX + "spec"])


def _print_not_checked(console: Console, found: Description) -> None:
    """Print what the export could not check, once for each reason; --json has every line as it was."""
    validation = found.get("validation")
    if not isinstance(validation, dict):
        return
    lines = validation.get("not_checked")
    if not isinstance(lines, list) or not lines:
        return
    from trkx.export.lint.apply import printable
    from trkx.export.validation.reasons import reasons_of_lines

    checks = [row for row in validation.get("checks") or () if isinstance(row, dict)]
    ran = [(str(row.get("file", "")), str(row.get("engine", ""))) for row in checks]
    console.print()
    for reason in reasons_of_lines(map(str, lines), [file["path"] for file in found.get("files", ())], ran):
        say(console, printable(str(reason)), "yellow", "not checked: ")


def _print_spec(console: Console, spec: PipelineSpec) -> None:
    rows = [[f.name, f"{f.scale:g}", _number(f.low), _number(f.high)] for f in spec.features]
    _table(console, "Features (value / scale; mm and radians in)", ("feature", "scale", "low", "high"), rows)
    stages = []
    for name in ("embedding", "graph", "filter", "gnn", "cuts", "labelling"):
        values = spec.to_dict()[name]
        if values:
            stages.append([name, ", ".join(f"{key} {_short_value(value)}" for key, value in values.items() if value is not None)])
    _table(console, "Stages", ("stage", "settings"), stages)


def _short_value(value: Any) -> str:
    """Return a value of a specification on one line: of a chain of layers its widths and activation."""
    if isinstance(value, dict) and "widths" in value:
        return f"({', '.join(map(str, value['widths']))} {value['activation']})"
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return f"({', '.join(str(item.get('name')) for item in value)})"
    return str(value)


def _print_content(console: Console, part: Description, tensors: bool) -> None:
    if "unread" in part:
        say(console, part["unread"], "yellow")
    if "inputs" in part:
        doors = [["input", _shape(t)] for t in part["inputs"]] + [["output", _shape(t)] for t in part["outputs"]]
        opsets = ", ".join(f"{domain} {opset}" for domain, opset in part.get("opset", {}).items())
        versions = f"opset {opsets}, IR {part['ir_version']}" if opsets else "opset unknown, the onnx package tells it"
        _table(console, f"{part['path']}: {versions}", ("door", "tensor"), doors)
        if tensors and "operators" in part:
            _table(console, "Operators", ("operator", "nodes"), [[k, v] for k, v in part["operators"].items()])
    if "signature" in part:
        console.print(part["signature"])
    if "tensors" in part:
        count = sum(math.prod(t["shape"]) for t in part["tensors"])
        console.print(f"{part['path']}: {len(part['tensors'])} tensors, {count} values")
        if tensors:
            _table(console, "Tensors", ("name", "dtype", "shape"), [[t["name"], t["dtype"], t["shape"]] for t in part["tensors"]])


def _table(
    console: Console, title: str, columns: tuple[str, ...], rows: list[list[Any]], spare: tuple[str, ...] = (),
) -> None:
    """Print a table without empty columns. spare: columns that go, in order, if it is too wide."""
    used = [i for i in range(len(columns)) if not rows or any(row[i] != "" for row in rows)]

    def made(left_out: tuple[str, ...]) -> FittedTable:
        kept = [i for i in used if columns[i] not in left_out]
        lines = [Line([str(row[i]) for i in kept]) for row in rows]
        return FittedTable([Column(columns[i], words=True) for i in kept], lines, title)

    tables = (made(spare[:count]) for count in range(len(spare) + 1))
    table = next((one for one in tables if one.width() <= console.width), made(spare))
    console.print()
    console.print(table)


def _shape(tensor: Description) -> str:
    return f"{tensor['name']} {tensor['dtype']} [{', '.join(str(d) for d in tensor['shape'])}]"


def _short(key: str, value: object) -> object:
    return f"{str(value)[:12]}…" if key == "sha256" and value else value


def _flat(values: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested tables as dotted names and values; comparisons as one line for each file, other lists of tables in full."""
    if isinstance(values, dict):
        return [row for key, value in values.items() for row in _flat(value, f"{prefix}.{key}" if prefix else str(key))]
    if isinstance(values, list) and values and all(isinstance(value, dict) for value in values):
        if all({"file", "graph", "difference"} <= row.keys() for row in values):
            own = {file: [row for row in values if row["file"] == file] for file in _unique(values)}
            return [(f"{prefix} {file or 'the whole chain'}", _worst(rows)) for file, rows in own.items()]
        return [(f"{prefix}[{i}]", ", ".join(f"{k} {v}" for k, v in row.items())) for i, row in enumerate(values)]
    return [(prefix, str(values))]


def _unique(rows: list[Description]) -> list[str]:
    return list(dict.fromkeys(row["file"] for row in rows))


def _worst(rows: list[Description]) -> str:
    """Say how many comparisons there are of one file, and which is nearest to its tolerance."""
    worst = max(rows, key=lambda row: (row["difference"] or 0.0) / (row.get("tolerance") or math.inf))
    tolerance = f", tolerance {worst['tolerance']:.1e}" if worst.get("tolerance") else ""
    many = f"{len(rows)} comparisons" if len(rows) > 1 else "1 comparison"
    return f"{many}, nearest to its tolerance: {worst['graph']}, difference {worst['difference'] or 0.0:.1e}{tolerance}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
