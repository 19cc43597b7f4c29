"""TRKX052: debug records in a TorchScript file that name source files of the machine that made it."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.code import archive_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.shown import shown

SHOWN = 3


def check(subject: Subject) -> Iterator[Remark]:
    """Yield one remark with the first paths."""
    paths = archive_of(subject).debug
    if paths:
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        yield Remark(f"names {', '.join(shown(path, 80) for path in paths[:SHOWN])}{more}", "*.debug_pkl")


RULE = Rule(
    id="TRKX052",
    name="script-debug-paths",
    title="debug records name source files",
    severity="note",
    kinds=("torchscript",),
    reason=(
        "They tell readers of the file the folders, and sometimes the user name, of the machine that made it. Nothing "
        "needs them to run."
    ),
    affected="all versions of torch.jit.save",
    fix="`export-models` writes files without them; deleting the members *.debug_pkl from the archive removes them too.",
    link="https://docs.pytorch.org/docs/stable/jit.html",
    check=check,
)
