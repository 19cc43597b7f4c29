"""ACTS events: the CSV files of ACTS's examples, `event<number>-{spacepoint,measurements,hits,…}.csv`.

Columns are those that ACTS 48 writes (CsvSpacePointWriter, CsvMeasurementWriter, CsvSimHitWriter, CsvParticleWriter), with
the names of older versions where they differ. Lengths are mm, momenta GeV.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.barcodes import barcode_columns, packed_ids
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.events.reader import ACTS_HITS
from trkx.runtime.events.tables import Columns, DType, cell_sums, positions, read_csv, rows_of
from trkx.runtime.events.trackml import checked_particles

PARTICLES = ("particles_simulated", "particles_initial", "particles", "particles_generated", "particles_selected")
ALIASES = {
    "measurement_id_1": "measurement_id", "geometry_id_1": "geometry_id",
    "sp_x": "x", "sp_y": "y", "sp_z": "z", "global_x": "x", "global_y": "y", "global_z": "z",
}  # fmt: skip
XYZ: dict[str, DType] = {"x": "float32", "y": "float32", "z": "float32"}
SIMHIT: dict[str, DType] = {"tx": "float32", "ty": "float32", "tz": "float32", "tt": "float32"}


def read(event_id: int, files: Mapping[str, Path]) -> Event:
    """Return the event that a set of ACTS CSV files holds.

    The hits are, in this order of preference, the space points, the measurements (their global positions), or the
    simulated hits: an event of true positions. `hit_id` is the measurement's id, or the row of the simulated hit.
    Truth goes from measurement to particle through `measurement-simhit-map` and the simulated hits; where several of
    them share a measurement the first listed counts; a measurement without one is noise. `truth.order` is the column
    `tt` as written (ns by ACTS's documentation; ACTS 48.1 writes mm of light path). Particle ids are packed by
    `trkx.runtime.events.barcodes`. Cells give `cell_count` and `cell_val`.

    Args:
        event_id: number of the event.
        files: one of ACTS_HITS and, where there are any, "measurement-simhit-map", "cells", one of PARTICLES.

    Raises:
        InputError: a file that can't be read, a missing column, a map that names a hit which does not exist, or what
            `Event.checked` refuses.
    """
    kind = next(name for name in ACTS_HITS if name in files)
    simulated = next((name for name in ("simhits", "hits") if name in files), None)
    listed = next((name for name in PARTICLES if name in files), None)
    simhits = _simhits(files[simulated]) if simulated else None
    particles = _particle_table(files[listed]) if listed else None
    simhit_ids, particle_ids = packed_ids(simhits, particles)
    made = _particles(files[listed], particles, particle_ids) if listed and particles is not None else None

    if kind == simulated and simhits is not None:
        hit_id = np.arange(len(simhits["tx"]), dtype=np.int64)
        geometry, position = simhits.get("geometry_id"), positions(simhits, ("tx", "ty", "tz"))
        truth: Truth | None = Truth(particle_id=simhit_ids, order=simhits["tt"], particles=made)
    else:
        hit_id, geometry, position = _measured(files[kind])
        truth = None
        if simhits is not None and "measurement-simhit-map" in files:
            rows = _simhit_rows(files["measurement-simhit-map"], hit_id, len(simhits["tx"]))
            particle_id, order = np.append(simhit_ids, 0)[rows], np.append(simhits["tt"], np.float32(0))[rows]
            truth = Truth(particle_id=particle_id, order=order, particles=made)
    volume, layer, module = (None, None, None) if geometry is None else geometry_parts(geometry)
    return Event(
        event_id=event_id,
        hit_id=hit_id,
        position=position,
        volume=volume,
        layer=layer,
        module=module,
        cells=cell_sums(files["cells"], hit_id, "measurement_id") if "cells" in files and kind != simulated else {},
        truth=truth,
        source=str(files[kind]),
    ).checked()


def geometry_parts(geometry_id: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return volume, layer and module (sensitive) of ACTS geometry identifiers, int32 [N] each.

    Bits from the top: volume 8, boundary 8, layer 12, approach 8, sensitive 20, extra 8
    (Acts::GeometryIdentifier).
    """
    parts = ((56, 0xFF), (36, 0xFFF), (8, 0xFFFFF))
    volume, layer, module = (((geometry_id >> np.uint64(shift)) & np.uint64(mask)).astype(np.int32) for shift, mask in parts)
    return volume, layer, module


def _measured(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint64] | None, NDArray[np.float32]]:
    table = read_csv(path, {"measurement_id": "int64", **XYZ}, {"geometry_id": "uint64"}, ALIASES)
    ids = np.sort(table["measurement_id"])
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise InputError(
            f"{path}: measurement {int(repeated[0])} is part of more than one hit, as in space points made of two strips, "
            "which can't be told apart in the output; read the measurements file instead."
        )
    return table["measurement_id"], table.get("geometry_id"), positions(table)


def _simhits(path: Path) -> Columns:
    return barcode_columns(path, SIMHIT, {"geometry_id": "uint64"})


def _particle_table(path: Path) -> Columns:
    floats: dict[str, DType] = dict.fromkeys(("vx", "vy", "vz", "px", "py", "pz", "q"), "float32")
    return barcode_columns(path, {"particle_type": "int64", **floats})


def _particles(path: Path, table: Columns, particle_id: NDArray[np.int64]) -> Particles:
    return checked_particles(
        path,
        Particles(
            particle_id=particle_id,
            pdg=table["particle_type"].astype(np.int32),
            charge=table["q"],
            vertex=positions(table, ("vx", "vy", "vz")),
            momentum=positions(table, ("px", "py", "pz")),
        ),
    )


def _simhit_rows(path: Path, hit_id: NDArray[np.int64], count: int) -> NDArray[Any]:
    """Return the row of the simulated hit behind each measurement, -1 for none."""
    table = read_csv(path, {"measurement_id": "int64", "hit_id": "int64"})
    beyond = table["hit_id"][(table["hit_id"] < 0) | (table["hit_id"] >= count)]
    if len(beyond):
        raise InputError(
            f"{path}: names simulated hit {int(beyond[0])}, but there are {count} (rows 0 to {count - 1}); "
            "the files must belong to the same event."
        )
    rows = rows_of(table["measurement_id"], hit_id)
    return np.append(table["hit_id"], -1)[rows]
