"""ACTS particle ids: five columns (pv, sv, part, gen, subpart) in one positive int64, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.tables import Columns, DType, read_csv, read_header

FIELDS = ("particle_id_pv", "particle_id_sv", "particle_id_part", "particle_id_gen", "particle_id_subpart")
BITS = (12, 12, 16, 7, 16)  # 63 together; from the top. Old ACTS files hold 12, 12, 16, 8, 16 in one uint64.
OLD_BITS = (12, 12, 16, 8, 16)


def pack(barcode: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one id for each five-part barcode, int64 [N] >= 0; 0 only where all parts are 0 (no particle).

    Primary vertex 12 bits, secondary vertex 12, particle 16, generation 7, sub-particle 16, from the top.

    Args:
        barcode: pv, sv, part, gen, subpart; int64 [N, 5].

    Raises:
        InputError: a part that does not fit its bits (`fits` says so beforehand).
    """
    if not fits(barcode):
        limits = ", ".join(f"{name} < {1 << bits}" for name, bits in zip(FIELDS, BITS, strict=True))
        raise InputError(f"a particle id does not fit into 63 bits: expected {limits}, found {barcode.max(axis=0).tolist()}.")
    packed = np.zeros(len(barcode), dtype=np.int64)
    for column, bits in enumerate(BITS):
        packed = (packed << bits) | barcode[:, column]
    return packed


def unpack(particle_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return pv, sv, part, gen and subpart of ids that `pack` made, int64 [N, 5]."""
    return _split(particle_id, BITS)


def fits(barcode: NDArray[np.int64]) -> bool:
    """Return whether every part fits into the bits that `pack` has for it."""
    return bool(((barcode >= 0) & (barcode < np.left_shift(1, np.array(BITS)))).all())


def barcode_columns(path: Path, required: Mapping[str, DType], optional: Mapping[str, DType] | None = None) -> Columns:
    """Return columns of a CSV file and, as "barcode" int64 [N, 5], its particle ids: five columns, or one of old ACTS files."""
    if FIELDS[0] not in (names := read_header(path)) and "particle_id" in names:
        table = read_csv(path, {"particle_id": "uint64", **required}, optional)
        table["barcode"] = _split(table["particle_id"], OLD_BITS)
    else:
        table = read_csv(path, {**dict.fromkeys(FIELDS, "int64"), **required}, optional)
        table["barcode"] = np.stack([table[name] for name in FIELDS], axis=1)
        if (table["barcode"] < 0).any():
            raise InputError(f"{path}: the columns {', '.join(FIELDS)} must not be negative, found {table['barcode'].min()}.")
    return table


def packed_ids(*tables: Columns | None) -> list[NDArray[np.int64]]:
    """Return the particle ids of each table of one event, int64 [N]; the same barcode has the same id in all of them.

    Barcodes that `pack` can't hold are numbered instead: id i is row i - 1 of `numbered` over the same tables. So the
    ids can be turned back either way.
    """
    barcodes = [np.empty((0, 5), dtype=np.int64) if table is None else table["barcode"] for table in tables]
    if all(fits(barcode) for barcode in barcodes):
        return [pack(barcode) for barcode in barcodes]
    ids = np.unique(np.concatenate([np.zeros((1, 5), np.int64), *barcodes]), axis=0, return_inverse=True)[1].reshape(-1)
    ends = np.cumsum([1, *(len(barcode) for barcode in barcodes)])
    return [ids[start:end].astype(np.int64) for start, end in pairwise(ends)]


def numbered(*barcodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct barcodes of an event but for all zeros, in lexicographic order, int64 [P, 5]."""
    distinct = np.unique(np.concatenate(barcodes), axis=0)
    return distinct[distinct.any(axis=1)]


def _split(packed: NDArray[Any], bits: tuple[int, ...]) -> NDArray[np.int64]:
    rest = packed.astype(np.uint64)
    parts = []
    for width in reversed(bits):
        parts.append((rest & np.uint64((1 << width) - 1)).astype(np.int64))
        rest = rest >> np.uint64(width)
    return np.stack(parts[::-1], axis=1)
