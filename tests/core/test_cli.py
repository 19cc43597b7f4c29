"""The command line's root: lazy, one message for an error, the right exit code."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer
from support.processes import hear_interrupts
from typer.testing import CliRunner

from trkx import __version__, cli
from trkx.bundle import Bundle, write_manifest
from trkx.errors import InputError, TrkxWarning

runner = CliRunner()


def command(
    how: Annotated[str, typer.Argument(help="What happens, in [brackets].")],
) -> None:
    """Fail as asked.

    Mind pip install "trkx[export]" here.
    """
    if how == "trkx":
        raise InputError("event 3: expected [N, 3], found [red]nothing[/red]; look again.")
    if how == "os":
        raise PermissionError(13, "Permission denied", "folder/file")
    if how == "bug":
        raise ZeroDivisionError
    if how == "ctrl-c":
        raise KeyboardInterrupt
    if how == "warn":
        warnings.warn("feature r looks like metres.", TrkxWarning, stacklevel=1)
    typer.echo("done")


@pytest.fixture(autouse=True)
def one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("commands_of_test_cli")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.COMMANDS, "try", (module.__name__, "Fail as asked."))
    monkeypatch.delenv("TRKX_DEBUG", raising=False)


CASES = [
    ("trkx", 1, "error: event 3: expected [N, 3], found [red]nothing[/red]; look again.\n"),
    ("os", 1, "error: [Errno 13] Permission denied: 'folder/file'\n"),
    ("ctrl-c", 130, "interrupted: nothing half-written is left in place\n"),
    ("well", 0, ""),
]


@pytest.mark.parametrize(("how", "code", "stderr"), CASES, ids=[case[0] for case in CASES])
def test_exit_code_and_message(how: str, code: int, stderr: str) -> None:
    result = runner.invoke(cli.app, ["try", how])
    assert (result.exit_code, result.stderr) == (code, stderr)
    assert result.stdout == ("done\n" if code == 0 else "")


def test_a_long_message_is_not_broken_over_lines() -> None:
    result = runner.invoke(cli.app, ["inspect", "x" * 200])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_a_bug_is_not_hidden() -> None:
    result = runner.invoke(cli.app, ["try", "bug"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("arguments", [["--debug", "try", "trkx"], ["try", "trkx"]])
def test_debug_shows_the_traceback(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "--debug" not in arguments:
        monkeypatch.setenv("TRKX_DEBUG", "1")
    assert isinstance(runner.invoke(cli.app, arguments).exception, InputError)


def test_a_warning_is_one_line() -> None:
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = runner.invoke(cli.app, ["try", "warn"])
    assert (result.exit_code, result.stderr) == (0, "warning: feature r looks like metres.\n")
    assert warnings.showwarning is before


def test_brackets_in_help_are_kept() -> None:
    text = runner.invoke(cli.app, ["try", "--help"]).stdout
    assert '"trkx[export]"' in text
    assert "in [brackets]" in text


def test_version() -> None:
    assert runner.invoke(cli.app, ["--version"]).stdout == f"trkx {__version__}\n"


def test_the_root_lists_commands_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load", lambda name: pytest.fail(f"{name} was imported"))
    for arguments in ([], ["--help"], ["-h"]):
        result = runner.invoke(cli.app, arguments)
        assert all(f"  {name} " in result.output and line in result.output for name, (_, line) in cli.COMMANDS.items())


def test_an_unknown_command_lists_the_known_ones() -> None:
    result = runner.invoke(cli.app, ["inspcet"])
    assert result.exit_code == 2
    assert "Did you mean 'inspect'?" in result.stderr
    assert all(name in result.stderr for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_each_command_has_a_module_with_help(name: str) -> None:
    module = importlib.import_module(cli.COMMANDS[name][0])
    result = runner.invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0
    assert module.command.__doc__.splitlines()[0] in " ".join(result.stdout.split())


def test_export_models_is_named_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.COMMANDS, "export", cli.COMMANDS["try"])
    monkeypatch.setattr(sys, "argv", ["export-models", "--help"])
    with pytest.raises(SystemExit) as raised:
        cli.export_models()
    assert raised.value.code == 0
    assert "Usage: export-models " in capsys.readouterr().out


def run(*arguments: str, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": hear_interrupts}
    return subprocess.Popen([sys.executable, *arguments], text=True, **pipes, **options)  # type: ignore[call-overload,no-any-return]


def test_a_closed_pipe_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "trkx", "doctor", "--json"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert process.stderr == ""


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import sys, time, types; from trkx import cli\n"
        "def command() -> None:\n    'Wait.'\n    print('ready', flush=True); time.sleep(600)\n"
        "sys.modules['m'] = types.ModuleType('m'); sys.modules['m'].command = command\n"
        "cli.COMMANDS['wait'] = ('m', 'Wait.'); sys.argv = ['trkx', 'wait']; cli.main()"
    )
    process = run("-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert err.startswith("interrupted:")
    assert "Traceback" not in err


def test_doctor_prints_every_row() -> None:
    from trkx.backends import BACKENDS

    rows = json.loads(runner.invoke(cli.app, ["doctor", "--json"]).stdout)["backends"]
    assert [(row["kind"], row["name"]) for row in rows] == [(row.kind, row.name) for row in BACKENDS]
    assert all(row["available"] == (row["why_not"] == "") for row in rows)
    table = runner.invoke(cli.app, ["doctor"]).stdout
    assert all(row.name in table for row in BACKENDS)


def test_inspect_of_a_bundle(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("x")
    (bundle / "weights.safetensors").unlink()  # the fixture's bytes are no real weights
    manifest = Bundle.open(bundle, check=False).manifest
    write_manifest(bundle, replace(manifest, files=tuple(file for file in manifest.files if file.format == "torchscript")))
    result = runner.invoke(cli.app, ["inspect", str(bundle)])
    assert result.exit_code == 0, result.stderr
    assert "Not part of the bundle: embedding.onnx, notes.txt" in result.stdout
    for expected in ("bundle tiny", "radius 0.1", "gnn 0.5", "1000", "versions.trkx", "rows[0]"):
        assert expected in result.stdout
    (bundle / "gnn.pt").write_bytes(b"contenTgnn.pt")
    result = runner.invoke(cli.app, ["inspect", str(bundle), "--json"])
    assert result.exit_code == 1
    assert "edited or corrupted" in result.stderr
    found = json.loads(result.stdout)
    assert not found["ok"]
    assert "edited" in found["files"][0]["state"]
