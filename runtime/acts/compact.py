"""JSON for people: objects by line, lists of numbers and rows of a table on one line each."""

from __future__ import annotations

import json
from typing import Any


def compact_json(value: Any, depth: int = 0) -> str:
    """Return JSON, ASCII, indented by one space: what holds no further list or object is one line, if it is in a list or is one.

    Reads back as `json.dumps` of the same value does.

    Raises:
        ValueError: NaN or infinity, which JSON has not.
    """
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(str(key))}: {compact_json(one, depth + 1)}" for key, one in value.items()]
        return "{" + inner + f",{inner}".join(rows) + outer + "}"
    if isinstance(value, (list, tuple)) and any(_nested(one) for one in value):
        rows = [_line(one) if _is_row(one) else compact_json(one, depth + 1) for one in value]
        return "[" + inner + f",{inner}".join(rows) + outer + "]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))


def _is_row(value: Any) -> bool:
    """Return whether a value of a list is flat: a row of a table."""
    return isinstance(value, dict) and not any(_nested(one) for one in value.values())
