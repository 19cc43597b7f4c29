"""`trkx inspect`: what a bundle or a model file is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trkx.errors import BundleError
from trkx.identity import PREFIX
from trkx.runtime.describe import Description, describe, spec_of
from trkx.spec import PipelineSpec

if TYPE_CHECKING:
    from rich.console import Console


def command(
    path: Annotated[Path, typer.Argument(help="A bundle, a folder with pipeline.toml, an .onnx, .pt or .safetensors file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every weight as well.")] = False,
) -> None:
    """Say what a bundle or a model file is.

    Stages, tensors, features and scales, cuts, provenance, validation, and whether every file is as it was written.
    Nothing that a file holds is executed. The exit code is 1 if a file of a bundle is missing, truncated or edited.
    """
    found = describe(path)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        _print(found, tensors)
    bad = [f"{file['path']} {file['state']}" for file in found.get("files", ()) if file["state"] != "ok"]
    if bad:
        raise BundleError(f"{path}: {'; '.join(bad)}.")


def _print(found: Description, tensors: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=120)
    metadata = found.get("metadata", {})
    title = " ".join(str(part) for part in (found["kind"], found.get("name", ""), metadata.get(PREFIX + "stage", "")) if part)
    console.print(f"{found['path']}: {title}", style="bold", soft_wrap=True)
    spec = spec_of(found)
    if spec:
        _print_spec(console, spec)
    if "files" in found:
        columns = ("path", "stage", "format", "precision", "opset", "bytes", "sha256", "state")
        rows = [[_short(key, file.get(key, "")) for key in columns] for file in found["files"]]
        _table(console, "Files", columns, rows)
    for part in (found, *({"path": file["path"], **file["content"]} for file in found.get("files", ()))):
        _print_content(console, part, tensors)
    if found.get("strangers"):
        console.print(f"Not part of the bundle: {', '.join(found['strangers'])}", style="yellow")
    for key in ("provenance", "validation"):
        if found.get(key):
            _table(console, key.capitalize(), ("what", "value"), [[name, value] for name, value in _flat(found[key])])
    if found["kind"] == "onnx" and metadata:
        _table(console, "Metadata", ("key", "value"), [[k, v] for k, v in metadata.items() if k != PREFIX + "spec"])


def _print_spec(console: Console, spec: PipelineSpec) -> None:
    rows = [[f.name, f"{f.scale:g}", _number(f.low), _number(f.high)] for f in spec.features]
    _table(console, "Features (value / scale; mm and radians in)", ("feature", "scale", "low", "high"), rows)
    stages = []
    for name in ("embedding", "graph", "filter", "gnn", "cuts", "labelling"):
        values = spec.to_dict()[name]
        stages.append([name, ", ".join(f"{key} {value}" for key, value in values.items())])
    _table(console, "Stages", ("stage", "settings"), stages)


def _print_content(console: Console, part: Description, tensors: bool) -> None:
    if "unread" in part:
        console.print(part["unread"], style="yellow")
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


def _table(console: Console, title: str, columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    used = [i for i in range(len(columns)) if not rows or any(row[i] != "" for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i in used:
        table.add_column(Text(columns[i]), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row[i])) for i in used))
    console.print()
    console.print(title, style="bold")
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
            return [(f"{prefix} {file}", _worst([row for row in values if row["file"] == file])) for file in _unique(values)]
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
