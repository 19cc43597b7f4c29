"""`trkx lint`: what is wrong with model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from trkx.backends import backend
from trkx.errors import ExportError, MissingExtraError


def command(
    paths: Annotated[list[Path] | None, typer.Argument(help="Model files, bundles, or folders of them.")] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Where they are to run; by default ort-cpu, libtorch or aoti.")
    ] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write the findings as JSON to a file, or - for stdout.")] = None,
    sarif: Annotated[Path | None, typer.Option("--sarif", help="Write them as SARIF 2.1.0 to a file, or - for stdout.")] = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Leave out a rule, by id or name; repeatable.")] = None,
    max_edges: Annotated[int | None, typer.Option("--max-edges", min=1, help="Edges of the largest event; 2000000.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    explain: Annotated[str | None, typer.Option("--explain", help="Say what a rule (id, name, all) is about, and stop.")] = None,
) -> None:
    """Read model files, ours or not, and say what is wrong with them for a target.

    Takes ONNX, TorchScript and AOTInductor files. Nothing in them is executed. The exit code is 1 if there is an error.
    """
    try:
        import onnx  # noqa: F401 - said here, once, with the command that installs it
    except ImportError:
        raise MissingExtraError(f"lint needs onnx: {backend('export', 'onnxsim').install}") from None
    from rich.console import Console

    from trkx.export.lint.opening import MAX_EDGES
    from trkx.export.lint.run import lint
    from trkx.export.lint.sarif import plain
    from trkx.export.lint.sarif import sarif as as_sarif
    from trkx.export.lint.table import ids_to_ignore
    from trkx.export.lint.text import report

    if explain is not None:
        _explain(explain)
        return
    if not paths:
        raise ExportError("give a model file, a bundle or a folder of models, or --explain RULE; found nothing.")
    if str(json_) == "-" == str(sarif):
        raise ExportError("--json - and --sarif - both write to stdout; give one of them a file.")
    ignored = ids_to_ignore(ignore or ())
    files = [file for path in paths for file in lint(path, target, max_edges or MAX_EDGES, ignored)]
    if "-" not in (str(json_), str(sarif)):
        console = Console(highlight=False)
        for line in report(files):
            console.print(line)
    if json_ is not None:
        _write(json_, plain(files))
    if sarif is not None:
        _write(sarif, as_sarif(files, Path.cwd()))
    if any(file.count("error") or (strict and file.count("warning")) for file in files):
        raise typer.Exit(1)


def _explain(word: str) -> None:
    from trkx.export.lint.explain import catalogue, explanation
    from trkx.export.lint.table import rule_of

    if word == "all":
        typer.echo(catalogue(), nl=False)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    text, console = explanation(rule_of(word)), Console()
    if console.is_terminal:
        console.print(Markdown(text, hyperlinks=False))
    else:
        typer.echo(text, nl=False)


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    if str(path) == "-":
        typer.echo(text, nl=False)
    else:
        path.write_text(text, encoding="utf-8")
