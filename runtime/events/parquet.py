"""Parquet events of trkx: `event<number>-hits.parquet` and, with truth, `event<number>-particles.parquet`.

Hits: hit_id, x, y, z [, volume, layer, module] [, particle_id, order [, weight]] [, cell features]. Particles: particle_id,
pdg, charge, vx, vy, vz (mm), px, py, pz (GeV). The schema's metadata holds `trkx.schema`, `trkx.event_id`, `trkx.cells`
(names of the cell features, comma-separated) and `trkx.producer` (JSON: who made the event, with which settings).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trkx.errors import InputError
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.events.output import parquet_bytes, write_files
from trkx.runtime.events.tables import SCHEMA, DType, hits_file, positions, read_parquet
from trkx.runtime.events.trackml import checked_particles

HITS: dict[str, DType] = {"hit_id": "int64", "x": "float32", "y": "float32", "z": "float32"}
MODULES: dict[str, DType] = {"volume": "int32", "layer": "int32", "module": "int32"}
TRUTH: dict[str, DType] = {"particle_id": "int64", "order": "float32", "weight": "float32"}
PARTICLES: dict[str, DType] = {
    "particle_id": "int64", "pdg": "int32", "charge": "float32",
    "vx": "float32", "vy": "float32", "vz": "float32", "px": "float32", "py": "float32", "pz": "float32",
}  # fmt: skip
CELLS = ("cell_count", "cell_val", "leta", "lphi", "lx", "ly", "lz", "geta", "gphi")  # looked for where no metadata says


def read(event_id: int, files: Mapping[str, Path]) -> Event:
    """Return the event that a hits file (and a particles file) holds.

    Args:
        event_id: number of the event (the file's name counts, as in the other formats).
        files: "hits" and, where there is one, "particles".

    Raises:
        InputError: a file that can't be read, a newer schema, a missing column, or what `Event.checked` refuses.
    """
    path = files["hits"]
    columns, metadata = _columns(path)
    truth = None
    if "particle_id" in columns:
        if "order" not in columns:
            raise InputError(f"{path}: missing column order; truth needs particle_id and order.")
        particles = _particles(files["particles"]) if "particles" in files else None
        truth = Truth(columns["particle_id"], columns["order"], columns.get("weight"), particles)
    return Event(
        event_id=event_id,
        hit_id=columns["hit_id"],
        position=positions(columns),
        volume=columns.get("volume"),
        layer=columns.get("layer"),
        module=columns.get("module"),
        cells={name: columns[name] for name in _cell_names(metadata) if name in columns},
        truth=truth,
        source=str(path),
    ).checked()


def write_event_parquet(folder: Path, event: Event, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write one event and return the path of its hits file; both files are put in place at once, old ones replaced.

    Args:
        folder: made if it is not there.
        event: particles are written where its truth lists them.
        metadata: who made the event and how; anything JSON can hold.

    Raises:
        InputError: a cell feature that has the name of another column.
        TrkxError: no space, no permission; what was there is untouched.
    """
    event.checked()
    path = folder / hits_file(event.event_id)
    other = folder / f"event{event.event_id:09d}-particles.parquet"
    taken = sorted(set(event.cells) & {*HITS, *MODULES, *TRUTH})
    if taken or any("," in name for name in event.cells):
        why = f"{', '.join(taken)} is the name of another column" if taken else "a name holds a comma"
        raise InputError(f"event {event.event_id}: cell features {list(event.cells)} can't be written: {why}; rename them.")
    keys = {
        "trkx.schema": str(SCHEMA),
        "trkx.event_id": str(event.event_id),
        "trkx.cells": ",".join(event.cells),
        "trkx.producer": json.dumps(dict(metadata or {}), sort_keys=True),
    }
    xyz = {name: np.ascontiguousarray(event.position[:, axis]) for axis, name in enumerate("xyz")}
    hits: dict[str, Any] = {"hit_id": event.hit_id, **xyz, "volume": event.volume, "layer": event.layer, "module": event.module}
    if event.truth is not None:
        hits |= {"particle_id": event.truth.particle_id, "order": event.truth.order, "weight": event.truth.weight}
    types = {**HITS, **MODULES, **TRUTH, **dict.fromkeys(event.cells, "float32")}
    hits = {name: np.asarray(values, types[name]) for name, values in {**hits, **event.cells}.items() if values is not None}
    contents = {path: parquet_bytes(hits, keys)}
    made = event.truth.particles if event.truth is not None else None
    if made is not None:
        contents = {other: parquet_bytes(_particle_columns(made), keys), **contents}
    write_files(contents, stale=[other] if made is None else [])
    return path


def producer(path: Path) -> dict[str, Any]:
    """Return what the file says of who made it (the `metadata` given to `write_event_parquet`); empty if it says nothing."""
    text = read_parquet(path, {})[1].get("trkx.producer", "{}")
    return dict(json.loads(text))


def _columns(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    _, metadata = read_parquet(path, {})
    cells: dict[str, DType] = dict.fromkeys(_cell_names(metadata), "float32")
    required = {**HITS, **cells} if "trkx.cells" in metadata else HITS
    return read_parquet(path, required, {**MODULES, **TRUTH, **cells})


def _cell_names(metadata: Mapping[str, str]) -> list[str]:
    if "trkx.cells" in metadata:
        return [name for name in metadata["trkx.cells"].split(",") if name]
    return list(CELLS)


def _particle_columns(particles: Particles) -> dict[str, Any]:
    parts = {f"v{name}": particles.vertex[:, axis] for axis, name in enumerate("xyz")}
    parts |= {f"p{name}": particles.momentum[:, axis] for axis, name in enumerate("xyz")}
    columns = {"particle_id": particles.particle_id, "pdg": particles.pdg, "charge": particles.charge, **parts}
    return {name: np.ascontiguousarray(columns[name], dtype) for name, dtype in PARTICLES.items()}


def _particles(path: Path) -> Particles:
    table, _ = read_parquet(path, PARTICLES)
    return checked_particles(
        path,
        Particles(
            particle_id=table["particle_id"],
            pdg=table["pdg"],
            charge=table["charge"],
            vertex=positions(table, ("vx", "vy", "vz")),
            momentum=positions(table, ("px", "py", "pz")),
        ),
    )
