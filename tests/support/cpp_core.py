"""Questions to core_tool, the program through which tests see the core of the C++ library."""

from __future__ import annotations

import subprocess
from pathlib import Path


def answer(tools: Path, *question: str | Path) -> tuple[bool, str]:
    """Return whether core_tool answered, and what it wrote; fail the test if it ended in another way than by an error of trkx."""
    done = subprocess.run([tools / "core_tool", *question], capture_output=True, timeout=60)
    assert done.returncode in (0, 1), (question, done.returncode, done.stderr)
    return done.returncode == 0, (done.stderr if done.returncode else done.stdout).decode(errors="replace")
