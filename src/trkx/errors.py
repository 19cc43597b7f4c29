"""Errors of trkx: one base class, and one subclass for each kind of thing that can be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TrkxError(Exception):
    """Base of every error that trkx raises on purpose.

    The message says what was expected, what was found, in which file or tensor, and what to do next.
    The command line prints it without a traceback and exits with 1.
    """


class InputError(TrkxError):
    """Event data that can't be read or makes no sense (missing column, NaN, duplicate hit id, truncated file)."""


class SpecError(TrkxError):
    """A specification with an unknown key, a missing key or a value out of range."""


class BundleError(TrkxError):
    """A bundle that is incomplete, edited, corrupted, or of a newer schema."""


class CheckpointError(TrkxError):
    """A checkpoint that can't be read or does not fit its specification."""


class ExportError(TrkxError):
    """A model file that is not right, and therefore does not leave."""


class MissingExtraError(TrkxError):
    """An optional part that is not installed; the message holds the command that installs it."""


class TrkxWarning(UserWarning):
    """Something that is legitimate but probably not what was meant."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name, listing the known ones and the nearest of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'.{hint} Known: {', '.join(names) if names else 'none'}."
