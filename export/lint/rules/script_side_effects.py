"""TRKX048: TorchScript code that prints, reads or writes files, or talks to the network."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of, distinct
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown

FILES = ("save", "from_file")
NETWORK = ("ops.rpc.", "ops.c10d.", "ops._c10d_functional.", "ops.prim.rpc_", "rpc_")
PRINTS = ("print", "torch._print", "torch.warn", "warn", "ops.aten.warn", "ops.prim.Print")


def check(subject: Subject) -> Iterator[Remark]:
    """Yield each such call, reached by `forward` or not. Assertions and exceptions are fine."""
    return distinct(_remarks(subject))


def _remarks(subject: Subject) -> Iterator[Remark]:
    for where, _, name in archive_of(subject).script.calls:
        namespace, _, base = name.rpartition(".")
        if base in FILES and namespace in ("torch", "ops.aten"):
            yield Remark(f"{shown(name)} opens a file", where)
        elif name.startswith(NETWORK):
            yield Remark(f"{shown(name)} talks to other processes", where)
        elif name in PRINTS:
            yield Remark(f"{shown(name)} writes to the terminal for every event", where, "warning")


RULE = Rule(
    id="TRKX048",
    name="script-side-effects",
    title="prints, opens files or talks to the network",
    severity="error",
    kinds=("torchscript",),
    reason=(
        "TorchScript is code, and runs with the rights of the program that loads it. A network of this kind computes and "
        "returns; one that opens files or connections was made to do something else."
    ),
    affected="all versions",
    fix="Remove the call from the network and export again; if the file is not yours, do not run it.",
    link="https://docs.pytorch.org/docs/stable/notes/serialization.html",
    check=check,
)
