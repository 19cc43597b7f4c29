"""The part of YAML that files of hyper-parameters use: tables, lists, scalars, quotes, aliases. Anything else is refused by line.

Tags build nothing: a value with one becomes a text such as "<!!python/object:a.B>"; tuples become lists.
"""

from __future__ import annotations

import re
from typing import Any

from trkx.models.checkpoints.yaml_flow import DEEPEST, Flow

_END = re.compile(r"\n\.\.\.\s*\Z")
_COLON = re.compile(r":(?= |$)")
_NO_PLAIN = ("|", ">", "%", "@", "`", "&", "!", "]", "}", ",", "? ", "- ", "-\n")


def read_yaml(text: str, where: str) -> Any:
    """Return what a file of the subset holds. Parts that are aliases of each other are shared, so copy it with a bound.

    Raises:
        CheckpointError: something that is not in the subset, with its line.
    """
    reader = _Reader(_END.sub("", text.removeprefix("\ufeff").replace("\r\n", "\n")) + "\n", where)
    bad = next((place for place, letter in enumerate(reader.text) if letter not in "\n\t" and not letter.isprintable()), None)
    if bad is not None:
        reader.place = bad
        raise reader.fault("a control character")
    reader.gap()
    if reader.at("---\n", "--- "):
        reader.place += 3
    value = reader.value(-1, 0)
    reader.gap()
    if reader.place < len(reader.text):
        raise reader.fault("text after the value, or an indentation that fits nothing")
    return value


class _Reader(Flow):
    """Reads values by their indentation."""

    @property
    def column(self) -> int:
        """Letters before this place on its line."""
        return self.place - self.text.rfind("\n", 0, self.place) - 1

    def line(self) -> str:
        """Return the rest of the line, without a comment."""
        return self.text[self.place:self.text.index("\n", self.place)].split(" #")[0].rstrip()

    def ended(self) -> bool:
        """Return whether nothing is left."""
        return self.place >= len(self.text)

    def value(self, parent: int, depth: int, after_key: bool = False) -> Any:
        """Return the value that follows a key, a dash or nothing. parent: column of the key or dash."""
        if depth > DEEPEST:
            raise self.fault(f"values nested more than {DEEPEST} deep")
        self.spaces()
        anchor, tag = self.properties()
        self.comment()
        if self.ended() or self.at("\n"):
            self.gap()
            inside = not self.ended() and (self.column > parent or (after_key and self.column == parent and self.dash()))
            found = self.block(depth, self.column - 1) if inside else None
        elif after_key or anchor or tag:
            found = self.inline(parent, depth)
        else:
            found = self.block(depth, parent)
        return self.kept(found, anchor, tag)

    def dash(self) -> bool:
        """Return whether an item of a list begins here."""
        return self.at("- ", "-\n")

    def block(self, depth: int, parent: int) -> Any:
        """Return the list, table or scalar that begins here."""
        column, start = self.column, self.place
        if self.dash():
            return self.sequence(column, depth)
        key = self.key()
        self.place = start
        return self.inline(parent, depth) if key is None else self.mapping(column, depth)

    def sequence(self, column: int, depth: int) -> list[Any]:
        """Return the list whose dashes stand in a column."""
        items = []
        while not self.ended() and self.column == column and self.dash():
            self.place += 1
            items.append(self.value(column, depth + 1))
            self.gap()
        return items

    def mapping(self, column: int, depth: int) -> dict[Any, Any]:
        """Return the table whose keys begin in a column."""
        found: dict[Any, Any] = {}
        while not self.ended() and self.column == column and not self.dash():
            key = self.key()
            if key is None:
                raise self.fault("a line without a key")
            self.put(found, key, lambda: self.value(column, depth + 1, after_key=True))
            self.gap()
        return found

    def key(self) -> str | int | None:
        """Return the key that begins here and go past its colon; None if there is none on this line."""
        if self.at("? ", "?\n"):
            raise self.fault("a key behind a question mark")
        if self.at("'", '"'):
            found: str | int = self.quoted()
            self.spaces()
            if not self.at(": ", ":\n"):
                return None
        else:
            line = self.line()
            colon = _COLON.search(line)
            if colon is None or colon.start() == 0 or line[0] in "[{&*!|>%@`":
                return None
            self.place += colon.start()
            found = self.key_of(line[:colon.start()].rstrip())
        self.place += 1
        return found

    def inline(self, parent: int, depth: int) -> Any:
        """Return the scalar, alias or bracket that begins here, and go to the end of its line."""
        found = self.flow(depth) if self.at("[", "{", "'", '"', "*") else self.plain(parent)
        self.comment()
        if not self.ended() and not self.at("\n"):
            raise self.fault("text after a value")
        return found

    def plain(self, parent: int) -> Any:
        """Return the scalar without quotes that begins here; further lines of it are indented more than its key."""
        if self.at(*_NO_PLAIN):
            raise self.fault("a block of text, or a sign that begins no value")
        parts = [self.part()]
        while breaks := self.continues(parent):
            parts += [" " if breaks == 1 else "\n" * (breaks - 1), self.part()]
        return self.meaning("".join(parts))

    def part(self) -> str:
        """Return what of a plain scalar is on this line."""
        content = self.line()
        if _COLON.search(content) or "\t" in content:
            raise self.fault("a table that begins behind a value, or a tab")
        self.place += len(content)
        return content

    def continues(self, parent: int) -> int:
        """Go to the next line that belongs to a plain scalar and return the line breaks before it; 0 if there is none."""
        start, breaks = self.place, 0
        self.spaces()
        while self.at("\n"):
            self.place += 1
            breaks += 1
            self.spaces()
        if breaks and not self.ended() and self.column > parent and not self.at("#", "\t"):
            return breaks
        self.place = start
        return 0
