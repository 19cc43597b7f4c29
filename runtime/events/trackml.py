"""TrackML events: `event<number>-{hits,cells,truth,particles}.csv` or `.csv.gz`; only hits are needed to read one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.events.output import csv_bytes, write_files
from trkx.runtime.events.tables import cell_sums, positions, read_csv, rows_of

STEMS = ("hits", "cells", "truth", "particles")


def read(event_id: int, files: Mapping[str, Path]) -> Event:
    """Return the event that a set of TrackML files holds.

    Cells give the features `cell_count` and `cell_val` (sums over the cells of a hit) and nothing else: cluster shapes
    would need the detector's geometry file. TrackML knows no times, so `truth.order` is the distance of the true hit
    from the particle's production vertex (from the origin where the particle is not listed), in mm.

    Args:
        event_id: number of the event.
        files: "hits" and, where there are any, "cells", "truth", "particles".

    Raises:
        InputError: a file that can't be read, a missing column, a hit without a row in the truth, or what
            `Event.checked` refuses.

    Source: the TrackML challenge's data description, arXiv:1904.06778.
    """
    path = files["hits"]
    hits = read_csv(
        path,
        {"hit_id": "int64", "x": "float32", "y": "float32", "z": "float32"},
        {"volume_id": "int32", "layer_id": "int32", "module_id": "int32"},
    )
    hit_id = hits["hit_id"]
    position = positions(hits)
    particles = _particles(files["particles"]) if "particles" in files else None
    return Event(
        event_id=event_id,
        hit_id=hit_id,
        position=position,
        volume=hits.get("volume_id"),
        layer=hits.get("layer_id"),
        module=hits.get("module_id"),
        cells=cell_sums(files["cells"], hit_id, "hit_id") if "cells" in files else {},
        truth=_truth(files["truth"], hit_id, position, particles) if "truth" in files else None,
        source=str(path),
    ).checked()


def write_event_trackml(folder: Path, event: Event) -> Path:
    """Write an event's hits and what is known of its truth and particles as TrackML CSV, and return the path of its hits file.

    `read` gives the same event, but for `truth.order`: TrackML has no column for times, so it becomes a distance. True positions
    and momenta of hits (tx … tpz) are not in an `Event` and are left out. Files are put in place at once, old ones replaced.

    Args:
        folder: made if it is not there.
        event: without cell features, which TrackML's cells file can't hold.

    Raises:
        InputError: an event with cell features, or one that is not sound.
        TrkxError: no space, no permission; what was there is untouched.
    """
    event.checked()
    if event.cells:
        raise InputError(
            f"event {event.event_id}: TrackML's files hold cells, no features of them, found {', '.join(event.cells)}; "
            "write Parquet."
        )
    modules = {"volume_id": event.volume, "layer_id": event.layer, "module_id": event.module}
    tables: dict[str, dict[str, NDArray[Any] | None]] = {}
    tables["hits"] = {"hit_id": event.hit_id, **_axes("xyz", event.position), **modules}
    truth = event.truth
    if truth is not None:
        tables["truth"] = {"hit_id": event.hit_id, "particle_id": truth.particle_id, "weight": truth.weight}
        if truth.particles is not None:
            tables["particles"] = _particle_columns(truth.particles, truth.particle_id)
    path = {stem: folder / f"event{event.event_id:09d}-{stem}.csv" for stem in STEMS}
    contents = {
        path[stem]: csv_bytes({name: column for name, column in table.items() if column is not None})
        for stem, table in tables.items()
    }
    # an older event's files would be read along with these
    packed = [one.with_name(f"{one.name}.gz") for one in path.values()]
    write_files(contents, stale=[*packed, *(one for stem, one in path.items() if stem not in tables)])
    return path["hits"]


def _axes(names: Iterable[str], values: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    return {name: np.ascontiguousarray(values[:, axis]) for axis, name in enumerate(names)}


def _particle_columns(particles: Particles, of_hit: NDArray[np.int64]) -> dict[str, NDArray[Any] | None]:
    hits = np.bincount(rows_of(particles.particle_id, of_hit) + 1, minlength=len(particles) + 1)[1:]
    return {
        "particle_id": particles.particle_id, "particle_type": particles.pdg, **_axes(("vx", "vy", "vz"), particles.vertex),
        **_axes(("px", "py", "pz"), particles.momentum), "q": particles.charge, "nhits": hits,
    }  # fmt: skip


def _particles(path: Path) -> Particles:
    table = read_csv(
        path,
        {"particle_id": "int64", "q": "float32", **dict.fromkeys(("vx", "vy", "vz", "px", "py", "pz"), "float32")},
        {"particle_type": "int64"},
    )
    rows = np.flatnonzero(table["particle_id"] != 0)  # some data sets list noise as particle 0
    return checked_particles(
        path,
        Particles(
            particle_id=table["particle_id"][rows],
            pdg=table.get("particle_type", np.zeros(len(table["q"]), np.int64))[rows].astype(np.int32),
            charge=table["q"][rows],
            vertex=positions(table, ("vx", "vy", "vz"))[rows],
            momentum=positions(table, ("px", "py", "pz"))[rows],
        ),
    )


def checked_particles(path: Path, particles: Particles) -> Particles:
    """Return the particles, or raise InputError: ids that are negative or stand more than once."""
    ids = np.sort(particles.particle_id)
    wrong = ids[ids <= 0] if len(ids) and ids[0] <= 0 else ids[1:][ids[1:] == ids[:-1]]
    if len(wrong):
        found = f"{int(wrong[0])}{'' if wrong[0] <= 0 else ' twice'}"
        raise InputError(f"{path}: particle ids must be above 0 and unique, found {found}.")
    return particles


def _truth(path: Path, hit_id: NDArray[np.int64], position: NDArray[np.float32], particles: Particles | None) -> Truth:
    table = read_csv(
        path,
        {"hit_id": "int64", "particle_id": "int64"},
        {"tx": "float32", "ty": "float32", "tz": "float32", "weight": "float32"},
    )
    rows = rows_of(table["hit_id"], hit_id)
    if (rows < 0).any():
        raise InputError(
            f"{path}: {int((rows < 0).sum())} hit(s) have no row, the first is hit_id {int(hit_id[rows < 0][0])}; "
            "the truth must belong to the same event and list every hit."
        )
    particle_id = table["particle_id"][rows]
    place = positions(table, ("tx", "ty", "tz"))[rows] if {"tx", "ty", "tz"} <= table.keys() else position
    if particles is not None and len(particles):
        at = rows_of(particles.particle_id, particle_id)
        place = place - np.where(at[:, None] >= 0, particles.vertex[at], np.float32(0))
    return Truth(
        particle_id=particle_id,
        order=np.linalg.norm(place, axis=1).astype(np.float32),
        weight=table["weight"][rows] if "weight" in table else None,
        particles=particles,
    )
