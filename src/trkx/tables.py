"""Tables that fit where they are shown: columns without room stand below, beside the first column again; nothing is cut."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

PIPED = 80
"""Columns of a pipe or a file: the same whatever terminal it was started from; the variable COLUMNS says otherwise."""
GAP = 2
HEAD_LINES = 3
"""Lines that a head may have, where room is short."""
_UNBROKEN = re.compile(r"\S+(?: %)?")
FIRST = 0.4
"""Part of the width that words of the first column may have before they are wrapped."""
_GLUE = "\0"
COMMAND = re.compile(
    r"`[^`]+`|(?:trkx [a-z]+|export-models|(?:python -m )?pip install|apt(?:-get)? install|python -m \S+)\b"
    r"(?: (?:-{1,2}[\w-]+(?: (?!-)\S+)?|[\"'\[]\S+|\]|[A-Z][A-Z_…]+\S*|…\S*|\S*[/=\[…]\S*))*"
)
"""A command within a sentence: in backticks, or its name with options and what looks like a file, a value or a place for one."""
WORDS = 20
"""Columns below which a cell of words is rather put below."""


def output_console(markup: bool = False) -> Console:
    """Return a console on stdout: as wide as the terminal, else `PIPED` or what COLUMNS says."""
    from rich.console import Console

    found = Console(highlight=False, markup=markup)
    if found.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return found
    return Console(highlight=False, markup=markup, width=PIPED)


@dataclass(frozen=True)
class Column:
    """One column. name: the head. words: left and wrapped at words, not a number. starts: may be parted from what is before."""

    name: str
    words: bool = False
    starts: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a table. cells: text, or rich's. section: the heading that it and its neighbours stand under. style: rich's."""

    cells: Sequence[str | Text]
    section: str = ""
    style: str = ""


@dataclass(frozen=True)
class FittedTable:
    """A table for rich's print. columns: the first names the lines and stands in every part. title, note: above and below."""

    columns: Sequence[Column]
    lines: Sequence[Line]
    title: str = ""
    note: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the parts for the width at hand."""
        from rich.text import Text

        if self.title:
            yield Text(self.title, style="bold")
        for number, part in enumerate(self.parts(options.max_width)):
            if number:
                yield Text("")
            yield from self._drawn(part)
        if self.note:
            yield Text(self.note, style="dim")

    def width(self) -> int:
        """Return the columns of a terminal that the whole needs."""
        plain = self._plain()
        return sum(plain) + GAP * (len(plain) - 1)

    def _plain(self) -> list[int]:
        plain = [max(len(column.name), self._widest(place)) for place, column in enumerate(self.columns)]
        plain[0] = max(len(self.columns[0].name), max(map(len, self._first(10_000)), default=0))
        return plain

    def parts(self, width: int) -> list[dict[int, int]]:
        """Return the parts that fit into a width: in each, place of a column to its width, the first column first."""
        plain = self._plain()
        if self.width() <= width:
            return [dict(enumerate(plain))]
        least = [max(head_width(column.name), self._least(place)) for place, column in enumerate(self.columns)]
        beside = width - GAP - max(least[1:], default=0)  # up to there names of the first column are not broken
        most = max(int(FIRST * width), min(self._longest_word(), max(width // 2, beside)))
        first = max(len(line) for text in (*self._first(most), self.columns[0].name) for line in text.split("\n"))
        room = width - first
        found: list[dict[int, int]] = [{0: first}]
        for group in self._groups():
            whole = sum(least[place] + GAP for place in group)
            for place in group:
                used = sum(wide + GAP for wide in list(found[-1].values())[1:])
                need = whole if place == group[0] and whole <= room else least[place] + GAP
                if used + need > room and len(found[-1]) > 1:
                    found.append({0: first})
                found[-1][place] = least[place]
        return [self._spread(part, width) for part in found]

    def _spread(self, part: dict[int, int], width: int) -> dict[int, int]:
        """Give room that is left to cells of words, then to heads, so that they need fewer lines."""
        left = width - sum(part.values()) - GAP * (len(part) - 1)
        for place in part:
            if place and self.columns[place].words:
                more = min(left, max(0, self._widest(place) - part[place]))
                part[place] += more
                left -= more
        for lines in range(HEAD_LINES - 1, 0, -1):
            for place in part:
                more = max(0, head_width(self.columns[place].name, lines) - part[place])
                if more <= left:
                    part[place] += more
                    left -= more
        return part

    def _groups(self) -> list[list[int]]:
        groups: list[list[int]] = []
        for place, column in enumerate(self.columns):
            if place and (column.starts or not groups):
                groups.append([])
            if place:
                groups[-1].append(place)
        return groups

    def _texts(self, place: int) -> list[str]:
        return [str(line.cells[place]) for line in self.lines]

    def _widest(self, place: int) -> int:
        return max((len(one) for text in self._texts(place) for one in text.split("\n")), default=0)

    def _least(self, place: int) -> int:
        widest = self._widest(place)
        return min(widest, WORDS) if self.columns[place].words else widest

    def _longest_word(self) -> int:
        return max((len(word) + 2 for text in self._texts(0) for word in text.split()), default=0)

    def _first(self, width: int) -> list[str]:
        """Return the first cells, wrapped at words: what goes on is indented, and so is what stands under a heading."""
        return [_hung(str(line.cells[0]), width, "  " if line.section else "") for line in self.lines]

    def _drawn(self, part: dict[int, int]) -> Iterable[Table | Text]:
        from rich.text import Text

        yield self._table(part, [], head=True)
        first = self._first(part[0])
        shown = [
            (line, name) for line, name in zip(self.lines, first, strict=True)
            if 1 in part or any(str(line.cells[place]) for place in part if place)
        ]
        for section, held in groupby(shown, key=lambda one: one[0].section):
            if section:
                yield Text(section, style="bold")
            yield self._table(part, list(held), head=False)

    def _table(self, part: dict[int, int], held: Sequence[tuple[Line, str]], head: bool) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=head, header_style="dim")
        for place, width in part.items():
            column = self.columns[place]
            table.add_column(
                Text(column.name), width=width, overflow="fold", justify="left" if column.words or not place else "right",
                vertical="bottom" if head else "top",
            )
        for line, name in held:
            cells = [name, *(line.cells[place] for place in part if place)]
            table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells), style=line.style)
        return table


def head_width(name: str, lines: int = HEAD_LINES) -> int:
    """Return the least width at which a head needs no more than so many lines and breaks no word."""
    for width in range(max(map(len, _UNBROKEN.findall(name)), default=0), len(name)):
        if len(textwrap.wrap(name, width, break_long_words=False)) <= lines:
            return width
    return len(name)


def wrapped(text: str, width: int) -> str:
    """Return lines wrapped at words to a width; what goes on stands two columns to the right of where its line begins."""
    found = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        found.append(_hung(line, width, indent))
    return "\n".join(found)


def say(console: Console, text: str, style: str = "", head: str = "") -> None:
    """Print text as `told` has it, after a head in a style ("failed: ") if there is one, all of it in the style otherwise."""
    from rich.text import Text

    line = Text(told(console, head + text))
    line.stylize(style, 0, len(head) or len(line))
    console.print(line, soft_wrap=True, highlight=False)


def told(console: Console, text: str) -> str:
    """Return text as it is printed: on a terminal wrapped at words, with commands and paths whole; for a pipe as it is."""
    if not console.is_terminal:
        return text
    return "\n".join(_whole(line, console.width) for line in text.split("\n"))


def _whole(line: str, width: int) -> str:
    """Return one line wrapped; a line that is a command is left to the terminal, which breaks it without changing a copy."""
    indent = line[: len(line) - len(line.lstrip())]
    if COMMAND.fullmatch(line.strip()):
        return line
    kept = COMMAND.sub(lambda found: found[0].replace(" ", _GLUE), line)
    return _hung(kept, width, indent, long_words=False).replace(_GLUE, " ")


def _hung(text: str, width: int, indent: str, long_words: bool = True) -> str:
    lines = textwrap.wrap(
        text.strip(), max(width, 8), initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False,
        break_long_words=long_words,
    )
    return "\n".join(lines)
