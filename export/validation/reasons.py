"""Why something was not checked: once for each reason, in words, with the files after it; the report's rows keep the raw text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from trkx.export.validation.report import Row
from trkx.export.validation.summary import SHORT

EMULATED = "emulated "
"""How engines are called that run a file here because no other one loads it."""
NO_TWIN = "a file on its own has no float32 twin"
"""How a half-precision file's reason begins where nothing shows that casts alone were added."""
_TYPE = re.compile(r"\.(bf16|fp16)\.")
_RAW = re.compile(r"\[ONNXRuntimeError\] : \d+ : (\w+) : ")


@dataclass(frozen=True)
class Missing:
    """One check that was not made. engine: "" if it is about none. file: "" if not about one. group: of a report, or ""."""

    engine: str
    file: str
    why: str
    group: str = ""


@dataclass(frozen=True)
class Reason:
    """One reason with what it is about: engines, files, short names of groups, and how many checks of them."""

    engines: tuple[str, ...]
    why: str
    files: tuple[str, ...]
    groups: tuple[str, ...]
    count: int

    def __str__(self) -> str:
        about = [f"{_counted(self.count, 'check')}: {', '.join(self.groups).lower()}"] if self.groups else []
        about += [f"{_counted(len(self.files), 'file')}: {', '.join(self.files)}"] if self.files else []
        who = f"{', '.join(self.engines)}: " if self.engines else ""
        return f"{who}{self.why}" + (f" ({'; '.join(about)})" if about else "")


def reasons(rows: Iterable[Row]) -> list[Reason]:
    """Return what of a report was not checked, in the order of its rows."""
    rows = list(rows)
    missing = [_of_row(row) for row in rows if row.status == "not checked"]
    return gathered(missing, not_run((row.file, row.engine) for row in rows))


def reasons_of_lines(lines: Iterable[str], files: Iterable[str], ran: Iterable[tuple[str, str]]) -> list[Reason]:
    """Return what an export could not check, which it keeps as lines: "engine: reason" or "engine: file: reason".

    Args:
        lines: of the export.
        files: names of the bundle's files.
        ran: (file, engine) of the comparisons that it made.
    """
    longest = sorted(files, key=len, reverse=True)  # "tensorrt/gnn.onnx" holds "gnn.onnx"
    missing = [_of_line(line, longest) for line in lines]
    return gathered(missing, not_run([*ran, *((item.file, item.engine) for item in missing)]))


def not_run(ran: Iterable[tuple[str, str]]) -> set[str]:
    """Return the files that were emulated, as is done where no engine here loads one. ran: (file, engine)."""
    return {file for file, engine in ran if file and engine.startswith(EMULATED)}


def gathered(missing: Iterable[Missing], unrun: Collection[str]) -> list[Reason]:
    """Return each reason once: first all files of an engine together, then the engines that say the same of the same files."""
    missing = list(missing)
    alone = {item.file for item in missing if item.why.startswith(NO_TWIN)}
    own: dict[tuple[str, str], list[Missing]] = {}
    for item in missing:
        said = in_words(item, unrun, alone)
        own.setdefault((said.engine, said.why), []).append(said)
    found: dict[tuple[str, tuple[str, ...], bool], list[Missing]] = {}
    for (engine, why), items in own.items():
        files = tuple(dict.fromkeys(item.file for item in items if item.file))
        found.setdefault((why, files, bool(engine)), []).extend(items)
    return [
        Reason(
            tuple(dict.fromkeys(item.engine for item in items if item.engine)), why, files,
            tuple(dict.fromkeys(SHORT[item.group] for item in items if item.group)), len(items),
        )
        for (why, files, _), items in found.items()
    ]


def in_words(item: Missing, unrun: Collection[str], alone: Collection[str] = ()) -> Missing:
    """Return a check with its reason in words. unrun: files that no engine here loads. alone: those without a float32 twin."""
    type_ = _TYPE.search(item.file)
    if "NOT_IMPLEMENTED" in item.why and type_:
        if item.file not in unrun:
            return replace(item, why=f"runs no {type_[1]} files")
        how = "structure" if item.file in alone else "structure and casts"
        return replace(item, engine="", why=f"no engine here runs {type_[1]} files: checked by {how}")
    why = _RAW.sub(lambda raw: f"{raw[1].lower().replace('_', ' ')}: ", item.why)
    return replace(item, why=why.removeprefix(f"{item.engine} ").rstrip(".") or "no reason given")


def row_in_words(row: Row, unrun: Collection[str]) -> Row:
    """Return a row that was not checked with its reason in words, as a reader of the page is told it."""
    missing = _of_row(row)
    said = in_words(missing, unrun)
    return row if said.why == missing.why else replace(row, detail=said.why)


def _of_row(row: Row) -> Missing:
    """Return what a row says; its file only if the reason is about it, not one that holds for all files."""
    about = row.detail.startswith(f"{row.file}: ") or "can't load" in row.detail or row.detail.startswith(NO_TWIN)
    return Missing(row.engine, row.file if about else "", row.detail.removeprefix(f"{row.file}: "), row.group)


def _of_line(line: str, longest: Iterable[str]) -> Missing:
    name = next((name for name in longest if line.startswith(f"{name}: ") or f": {name}: " in line), "")
    if name:
        before, _, why = line.partition(f"{name}: ")
        return Missing(before.removesuffix(": "), name, why)
    engine, colon, why = line.partition(": ")
    return Missing(engine, "", why) if colon else Missing("", "", line)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"
