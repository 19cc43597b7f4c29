"""What the script of the GPU has found so far, in a file that later calls add to: checks, rows, and parts that did not end."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpu_checks import Check
from gpu_device import Device

from trkx.bundle import Bundle
from trkx.runtime.events import Event, open_events

Row = dict[str, Any]
STOPPED = "was stopped before its end"
SCOPE = ("precisions", "sizes", "peer_size", "check_sizes", "events")
"""Options that say how much of a part is run."""


class Run:
    """One run of the script: options, device, what was found so far.

    Raises:
        SystemExit: two bundles in folders of one name, or a file that has results of another device or other bundles.
    """

    def __init__(self, given: argparse.Namespace, device: Device) -> None:
        self.given = given
        self.device = device
        self.bundles: list[Path] = [path for path in (given.reference, given.wide) if path is not None]
        if len({bundle.name for bundle in self.bundles}) < len(self.bundles):
            raise SystemExit(f"--reference and --wide are both in a folder named {given.wide.name}, which names them in the "
                             "results: rename one of them.")
        self.event: Event = open_events([given.event])[0].read()
        self.found: dict[str, Any] = {}
        if given.out.exists():
            self.found = json.loads(given.out.read_text(encoding="utf-8"))
            before = self.found.get("machine", {}).get("device")
            if before != device.facts["device"]:
                raise SystemExit(f"{given.out} has results of {before}, this is {device.facts['device']}: choose another --out.")
        self._require_same_bundles()
        self.found |= {"machine": device.facts, "matrix_rates": device.rates, "copy_rate": device.copy}

    def _require_same_bundles(self) -> None:
        """Take down what each folder holds; refuse another bundle, or the other role, under a name that has results."""
        known = self.found.setdefault("bundles", {})
        for bundle in self.bundles:
            opened = Bundle.open(bundle)
            content = repr(opened.spec) + opened.entry("all", "safetensors").sha256
            here = {"wide": self.is_wide(bundle), "content": hashlib.sha256(content.encode()).hexdigest()}
            if known.setdefault(bundle.name, here) != here:
                raise SystemExit(f"{self.given.out} has results of another bundle named {bundle.name}, or of it in the other "
                                 "place of --reference and --wide: choose another --out.")

    def is_wide(self, bundle: Path) -> bool:
        """Whether this is the bundle of the sizes of 2021."""
        return bool(bundle == self.given.wide)

    def check(self, part: str, checks: Iterable[Check]) -> None:
        """Take down checks of a part, and print them as they come; one whose name comes twice in a call fails."""
        held = self.found.setdefault("checks", {}).setdefault(part, [])
        seen: set[str] = set()
        for one in checks:
            if one.name in seen:
                one = Check(one.name, f"{one.found}: a second check of this name, which would hide the first", False)
            seen.add(one.name)
            held[:] = [row for row in held if row["name"] != one.name]
            held.append({"name": one.name, "found": one.found, "holds": one.holds})
            print(f"  {'holds' if one.holds else 'FAILS'}  {one.name}: {one.found}", flush=True)
        self.write()

    @property
    def failed(self) -> list[str]:
        """Checks that do not hold and parts that did not end, those of earlier calls into the same file included."""
        checks = [row["name"] for rows in self.found.get("checks", {}).values() for row in rows if not row["holds"]]
        return checks + [f"part {row['part']} {row['why']}" for row in self.found.get("broken", [])]

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run a part in the block. It counts as broken from its begin to its end, so that one that is killed does too.

        What breaks it is raised. An earlier break of the part is forgotten when a call that runs at least as much of it ends.
        """
        scope = {key: _listed(getattr(self.given, key)) for key in SCOPE} | {"folders": [one.name for one in self.bundles]}
        row: Row = {"part": name, "why": STOPPED, "scope": scope}
        broken: list[Row] = self.found.setdefault("broken", [])
        broken.append(row)
        self.write()
        try:
            yield
        except Exception as error:
            row["why"] = f"broke off: {error!r}"[:300]
            raise
        else:
            broken[:] = [one for one in broken if one["part"] != name or not _covers(scope, one["scope"])]
        finally:
            self.write()

    def add(self, part: str, bundle: Path, keys: tuple[str, ...], *rows: Row) -> None:
        """Write rows of a part, all with the same keys, in the place of what there is of these keys and this bundle."""
        named = [row | {"folder": bundle.name, "wide": self.is_wide(bundle), "at": int(time.time())} for row in rows]
        same = {key: named[0][key] for key in ("folder", "wide", *keys)}
        held: list[Row] = self.found.setdefault(part, [])
        held[:] = [one for one in held if any(one.get(key) != value for key, value in same.items())] + named
        self.write()

    def write(self) -> None:
        """Write what was found so far."""
        temporary = self.given.out.with_suffix(".part")
        temporary.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self.given.out)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _covers(scope: dict[str, list[Any]], other: dict[str, list[Any]]) -> bool:
    """Whether a call ran at least what another did."""
    return all(set(other[key]) <= set(scope.get(key, ())) for key in other)
