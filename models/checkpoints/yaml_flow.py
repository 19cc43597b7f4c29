"""YAML inside of a line: a cursor over the text, quotes, brackets, anchors and aliases."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from trkx.errors import CheckpointError
from trkx.models.checkpoints.yaml_scalars import resolved, unescaped
from trkx.shown import shown

DEEPEST = 40
LISTS = ("!!python/tuple", "!!seq", "!!map")
"""Tags that change nothing."""
SCALARS = ("!!int", "!!float", "!!bool", "!!null", "!!str")
"""Tags before quotes, as PyYAML writes them where every scalar is to be quoted."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TAG = re.compile(r"!(?:<[^>\s]{1,200}>|[^\s,\[\]{}]{0,200})")
_FLOW = ",[]{}"
_IN_FLOW = re.compile(r"(?:[^,\[\]{}:#\n\t]|:(?![\s,\[\]{}])|(?<! )#)*")
_NO_START = tuple("|>%@`&*!?-\"'")


class Flow:
    """A place in a text, and the anchors that were met before it. text: ends with a line break."""

    def __init__(self, text: str, where: str) -> None:
        self.text, self.where = text, where
        self.place = 0
        self.anchors: dict[str, Any] = {}

    def fault(self, what: str) -> CheckpointError:
        """Return the error for what stands here."""
        line = self.text.count("\n", 0, self.place) + 1
        return CheckpointError(f"{self.where}, line {line}: {what}, which is not in the part of YAML that trkx reads; convert "
                               "the file to JSON and give that.")

    def at(self, *starts: str) -> bool:
        """Return whether one of some texts stands here."""
        return self.text.startswith(starts, self.place)

    def spaces(self) -> None:
        """Go over spaces."""
        while self.at(" "):
            self.place += 1

    def comment(self) -> None:
        """Go over spaces and a comment to the end of the line, or to the next token on it."""
        self.spaces()
        if self.at("#") and (self.place == 0 or self.text[self.place - 1] in " \n"):
            self.place = self.text.index("\n", self.place)

    def gap(self) -> None:
        """Go to the next token, over comments and empty lines."""
        self.comment()
        while self.at("\n"):
            self.place += 1
            self.comment()
        if self.at("\t"):
            raise self.fault("a tab between values")

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        """Return what matches here and go past it."""
        found = pattern.match(self.text, self.place)
        if found is None:
            raise self.fault(what)
        self.place = found.end()
        return found.group()

    def meaning(self, text: str) -> Any:
        """Return what a plain scalar means."""
        try:
            return resolved(text)
        except ValueError as error:
            raise self.fault(str(error)) from None

    def key_of(self, text: str) -> str | int:
        """Return a plain scalar as a key: a whole number, or text."""
        number = self.meaning(text)
        return number if isinstance(number, int) and not isinstance(number, bool) else text

    def properties(self) -> tuple[str, str]:
        """Return anchor and tag before a value, "" for one that is not there."""
        anchor = tag = ""
        while self.at("&", "!"):
            if anchor if self.at("&") else tag:
                raise self.fault("two anchors or tags before one value")
            if self.at("&"):
                self.place += 1
                anchor = self.match(_NAME, "an anchor without a name")
            else:
                tag = self.match(_TAG, "a tag of that form")
            if not self.at("\n", " ", *_FLOW):
                raise self.fault("an anchor or tag of that form")
            self.spaces()
        return anchor, tag

    def kept(self, found: Any, anchor: str, tag: str) -> Any:
        """Return a value after its tag, remembered under its anchor."""
        if tag in SCALARS and isinstance(found, str):
            value = found if tag == "!!str" else self.meaning(found)
        elif tag == "!!str":
            raise self.fault("the tag !!str before something without quotes")
        else:
            value = found if not tag or tag in LISTS or tag in SCALARS else f"<{shown(tag, 80)}>"
        if anchor:
            self.anchors[anchor] = value
        return value

    def put(self, table: dict[Any, Any], key: str | int, value: Callable[[], Any]) -> None:
        """Put a value, which is read now, into a table."""
        if key in table or key == "<<":
            raise self.fault(f"key '{shown(str(key), 60)}', merged or there twice")
        table[key] = value()

    def quoted(self) -> str:
        """Return the text in quotes that begins here; a line break in it is a space, an empty line a line break."""
        start, quote = self.place, self.text[self.place]
        self.place += 1
        parts: list[str] = []
        while True:
            if self.place >= len(self.text):
                self.place = start
                raise self.fault("a quote that is never closed")
            letter = self.text[self.place]
            self.place += 1
            if letter == quote:
                if quote == '"' or not self.at("'"):
                    return "".join(parts)
                self.place += 1
                parts.append("'")
            elif letter == "\n":
                while parts and parts[-1] in (" ", "\t"):
                    parts.pop()
                parts += self.breaks() or [" "]
            elif letter == "\\" and quote == '"':
                self.escape(parts)
            else:
                parts.append(letter)

    def breaks(self) -> list[str]:
        """Go over the empty lines that follow a line break, return them."""
        found = []
        self.spaces()
        while self.at("\n"):
            found.append("\n")
            self.place += 1
            self.spaces()
        return found

    def escape(self, parts: list[str]) -> None:
        """Read what follows a backslash: a sign, or a line break that is none."""
        if self.at("\n"):
            self.place += 1
            parts += self.breaks()
            return
        try:
            letter, self.place = unescaped(self.text, self.place)
        except ValueError as error:
            raise self.fault(str(error)) from None
        parts.append(letter)

    def flow(self, depth: int) -> Any:
        """Return the value that begins here, inside of brackets or in quotes or brackets itself, or an alias."""
        if depth > DEEPEST:
            raise self.fault(f"values nested more than {DEEPEST} deep")
        anchor, tag = self.properties()
        if self.at("*"):
            self.place += 1
            name = self.match(_NAME, "an alias without a name")
            if name not in self.anchors or anchor or tag:
                raise self.fault(f"alias '{shown(name)}' of nothing before it")
            return self.anchors[name]
        if self.at("'", '"'):
            found: Any = self.quoted()
        elif self.at("["):
            found = self.flow_list(depth)
        elif self.at("{"):
            found = self.flow_table(depth)
        else:
            found = self.meaning(self.flow_plain())
        return self.kept(found, anchor, tag)

    def flow_plain(self) -> str:
        """Return the plain scalar that begins here, "" if there is none."""
        text = self.match(_IN_FLOW, "").rstrip()
        if text.startswith(_NO_START) and not re.match(r"-[^\s]", text):
            raise self.fault("a sign that begins no value")
        return text

    def flow_list(self, depth: int) -> list[Any]:
        """Return the list in brackets that begins here."""
        self.place += 1
        items: list[Any] = []
        while not self.closes("]"):
            if self.at(",", "}"):
                raise self.fault("a list with a missing item")
            items.append(self.flow(depth + 1))
            self.separated("]")
        self.place += 1
        return items

    def flow_table(self, depth: int) -> dict[Any, Any]:
        """Return the table in braces that begins here."""
        self.place += 1
        found: dict[Any, Any] = {}
        while not self.closes("}"):
            key = self.quoted() if self.at("'", '"') else self.key_of(self.flow_plain())
            self.gap()
            if key == "" or not self.at(":"):
                raise self.fault("an entry without a key or colon")
            self.place += 1
            self.gap()
            self.put(found, key, lambda: None if self.at(",", "}") else self.flow(depth + 1))
            self.separated("}")
        self.place += 1
        return found

    def closes(self, bracket: str) -> bool:
        """Return whether the next token closes a bracket."""
        self.gap()
        return self.at(bracket)

    def separated(self, bracket: str) -> None:
        """Go past the comma after an item, unless the bracket closes."""
        if not self.closes(bracket):
            if not self.at(","):
                raise self.fault("a bracket that is never closed, or a missing comma")
            self.place += 1
