"""Processes that tests start."""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """Let a process be interrupted: one that is started in the background of a shell ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
