"""Every option in `acts.json` against one that is made anew: what a user may set is left to them, within its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from trkx.export.acts.config import Sizes, config_bytes, configuration
from trkx.spec import PipelineSpec


def _whole(least: int) -> Callable[[Any, Any], bool]:
    return lambda found, made: type(found) is int and found >= least


def _profile(found: Any, made: Any) -> bool:
    """Return whether the sizes of an engine's profile are whole numbers that grow from min to opt to max."""
    try:
        rows = [(found[name]["hits"], found[name]["edges"]) for name in ("min", "opt", "max")]
    except (KeyError, TypeError):
        return False
    columns = list(zip(*rows, strict=True))
    return all(type(size) is int and size > 0 for row in rows for size in row) and all(list(c) == sorted(c) for c in columns)


FREE: Mapping[str, Callable[[Any, Any], bool]] = {
    "device": lambda found, made: isinstance(found, str) and re.fullmatch(r"cpu|cuda(:\d+)?", found) is not None,
    "knnVal": lambda found, made: type(found) is int and found >= made,
    "nChunks": _whole(1),
    "numExecutionContexts": _whole(1),
    "gpuDevice": _whole(0),
    "gpuBlocks": _whole(1),
    "profile": _profile,
}
"""Options that a user may set, and whether a value (found, as exported) can be: chunks are free for a filter alone."""


def every_option(config: Mapping[str, Any], spec: PipelineSpec, targets: Collection[str]) -> list[str]:
    """Return where acts.json differs from one that is made anew of the specification and of what it says was measured.

    Only what a user may set is left to them (FREE), within its limits.
    """
    graph = config.get("graph") or {}
    sizes = Sizes(graph.get("measured_neighbours", 0), graph.get("measured_on", ""))
    try:
        made = json.loads(config_bytes(configuration(spec, targets, sizes if spec.embedding is not None else None,
                                                     config.get("components"))))
    except (KeyError, TypeError, ValueError) as error:
        return [f"what was measured can't be read: {type(error).__name__} {error}"]
    problems = list(_differing("", config, made))
    more = [f"and {len(problems) - 4} more"] if len(problems) > 4 else []
    return [*problems[:4], *more]


def _differing(path: str, found: Any, made: Any) -> Iterator[str]:
    """Say what differs, with the path of each value."""
    if isinstance(made, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*made, *found]):
            inner = f"{path}.{key}".lstrip(".")
            if key not in found:
                yield f"{inner} is missing"
            elif key not in made:
                yield f"{inner} is no option of ACTS that trkx sets"
            else:
                free = FREE.get(key)
                if key == "nChunks" and made.get("network") != "filter":
                    free = None
                yield from _free(inner, found[key], made[key], free) if free else _differing(inner, found[key], made[key])
    elif isinstance(made, list) and isinstance(found, list) and len(made) == len(found):
        for place, (one, other) in enumerate(zip(found, made, strict=True)):
            yield from _differing(f"{path}[{place}]", one, other)
    elif type(found) is not type(made) or found != made:
        yield f"{path} is {_brief(found)}, expected {_brief(made)}"


def _free(path: str, found: Any, made: Any, allowed: Callable[[Any, Any], bool]) -> Iterator[str]:
    if not allowed(found, made):
        yield f"{path} is {_brief(found)}, which can't be; as exported it was {_brief(made)}"


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
