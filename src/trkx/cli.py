"""The command line's root: a table of commands, each imported when it is asked for and not before."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from trkx import __version__
from trkx.errors import TrkxError, TrkxWarning, unknown_name

COMMANDS: dict[str, tuple[str, str]] = {
    "simulate": ("trkx.runtime.commands.simulate", "Make simulated events: Pythia 8 and ACTS Fatras."),
    "export": ("trkx.export.commands.export", "Turn checkpoints into one verified bundle."),
    "lint": ("trkx.export.commands.lint", "Say what is wrong with a model file, ours or not."),
    "repair": ("trkx.export.commands.repair", "Rewrite what is provably wrong in an ONNX file."),
    "validate": ("trkx.export.commands.validate", "Run a bundle or a model file on every engine, against float64."),
    "run": ("trkx.runtime.commands.run", "Turn the hits of events into tracks."),
    "evaluate": ("trkx.runtime.commands.evaluate", "Compare tracks with the truth."),
    "acts": ("trkx.runtime.commands.acts", "Run in ACTS's sequencer, with its own track finding beside."),
    "compare": ("trkx.runtime.commands.compare", "Compare precisions: time, scores, decisions, tracks."),
    "bench": ("trkx.runtime.commands.bench", "Measure stages against peers and against the machine."),
    "inspect": ("trkx.export.commands.inspect", "Say what a bundle, a model file or a checkpoint is."),
    "doctor": ("trkx.runtime.commands.doctor", "List every backend: there or not, and how to get it."),
}
"""Name of a command to the module that holds its function `command`, and one line of help."""


class HouseCommand(TyperCommand):
    """A command whose trkx errors are one message on stderr and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; `trkx --debug` or TRKX_DEBUG=1 let the traceback through."""
        debug = ctx.find_root().params.get("debug") or os.environ.get("TRKX_DEBUG", "") not in ("", "0")
        with warnings.catch_warnings():
            plain = warnings.showwarning

            def show(
                message: Warning | str,
                category: type[Warning],
                filename: str,
                lineno: int,
                file: TextIO | None = None,
                line: str | None = None,
            ) -> None:
                if issubclass(category, TrkxWarning) and not debug:
                    report("warning", str(message), "yellow")
                else:
                    plain(message, category, filename, lineno, file, line)

            warnings.showwarning = show
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                report("interrupted", "nothing half-written is left in place", "yellow")
                raise typer.Exit(130) from None
            except (BrokenPipeError, typer.Exit, typer.Abort):
                raise
            except (TrkxError, OSError) as error:
                if debug:
                    raise
                report("error", str(error), "bold red")
                raise typer.Exit(1) from None


class LazyGroup(TyperGroup):
    """A group that knows its commands from `COMMANDS` and imports one only to run it or to print its own help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command, or while the root's help is printed a stand-in that has the line of help."""
        if cmd_name not in COMMANDS:
            return ctx.fail(unknown_name("command", cmd_name, COMMANDS))
        if ctx.meta.get("trkx.listing") or ctx.resilient_parsing:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1], rich_markup_mode=None)
        return load(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help without importing any command."""
        ctx.meta["trkx.listing"] = True
        super().format_help(ctx, formatter)


def load(name: str, shown: str | None = None) -> Any:
    """Import a command's module and return it as a click command; `shown` is the name in its help, if not `name`."""
    function: Callable[..., None] = importlib.import_module(COMMANDS[name][0]).command
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    single.command(shown or name, cls=HouseCommand, context_settings=_HELP)(function)
    return typer.main.get_command(single)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def report(what: str, message: str, style: str) -> None:
    """Print "what: message" on stderr, coloured and wrapped at words on a terminal; commands and paths are not broken."""
    from rich.console import Console

    from trkx.tables import say

    plain = _COLOURS.sub("", message)  # messages of other libraries bring their own
    safe = "".join(character if character.isprintable() or character in "\n\t" else ascii(character)[1:-1] for character in plain)
    say(Console(stderr=True, highlight=False), safe, style, f"{what}: ")


_HELP = {"help_option_names": ["-h", "--help"]}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trkx {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=_HELP,
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """From trained tracking networks to verified model files, and from hits to tracks."""


def main() -> None:
    """Run `trkx`; the process ends with the command's exit code."""
    _run(lambda: app(prog_name="trkx"))


def export_models() -> None:
    """Run `export-models`, which is `trkx export`; the process ends with its exit code."""
    _run(lambda: load("export", "export-models")(prog_name="export-models"))


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # unwinds the stack, so that temporary files are removed


def _run(entry: Callable[[], object]) -> None:
    signal.signal(signal.SIGTERM, _terminated)
    try:
        entry()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # the reader (head, less) has gone: not an error, and nothing to say at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
