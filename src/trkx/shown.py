"""Text from a foreign file, made safe to print."""

from __future__ import annotations

import re

WIDTH = 120
_MARKUP = re.compile(r"\[(?=[a-zA-Z/@#!$])")


def shown(text: str, width: int = WIDTH) -> str:
    """Return text from a file as one short line that no terminal and no rich console can mistake for a command.

    As `visible`; and `[` is escaped where rich would read a tag.
    """
    return _MARKUP.sub(r"\\x5b", visible(text, width))


def visible(text: str, width: int = WIDTH) -> str:
    """Return text from a file as one short line whose characters can all be seen; for a page it is yet to be escaped.

    Control characters, changes of writing direction and lone surrogates are escaped, and what is longer than `width` is cut in
    the middle.
    """
    if len(text) > width:
        half = (width - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
