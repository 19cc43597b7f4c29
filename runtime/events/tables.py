"""Columns out of CSV and Parquet files: what every reader shares. pyarrow is imported on first use."""

from __future__ import annotations

import contextlib
import gzip
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError, TrkxWarning

DType = Literal["int64", "uint64", "int32", "float32", "float64"]
Columns = dict[str, NDArray[Any]]
SCHEMA = 1  # of the Parquet files that trkx writes


def hits_file(event_id: int) -> str:
    """Return the name of an event's Parquet file of hits, `event<number>-hits.parquet`."""
    return f"event{event_id:09d}-hits.parquet"


def read_csv(
    path: Path,
    required: Mapping[str, DType],
    optional: Mapping[str, DType] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Columns:
    """Return the named columns of a CSV or CSV.gz file with a header row, one array a column; others are not parsed.

    Args:
        path: the file; `.gz` is unpacked, and its length and checksum are verified.
        required: column name to dtype.
        optional: columns that are left out of the result where the file lacks them.
        aliases: other name to our name, for columns that changed their name between versions.

    Raises:
        InputError: unreadable, truncated, a required column is missing, a value is not a number, an integer is empty, a
            header that ends in a carriage return alone (old Mac). An empty cell of a float column is NaN.

    Warns:
        TrkxWarning: the file does not end with a line break, as one that was cut inside its last number.
    """
    import pyarrow as pa
    from pyarrow import csv

    data = _content(path)
    end = data.find(b"\n")
    names = header_names(data if end < 0 else data[:end], path)
    for other, name in (aliases or {}).items():
        if name not in names and other in names:
            names[names.index(other)] = name
    types = _wanted(path, names, required, optional)
    if end < 0 or not data[end:].strip():
        _warn_if_cut(path, data)
        return {name: np.empty(0, dtype) for name, dtype in types.items()}
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(column_names=names, skip_rows=1),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.type_for_alias(dtype) for name, dtype in types.items()}, include_columns=list(types)
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path}: {error}; columns are {', '.join(names)}. The file may be truncated: write it again.") from None
    _warn_if_cut(path, data)
    return _arrays(path, table, types)


def header_names(line: bytes, path: Path) -> list[str]:
    """Return the column names that a CSV file's first line holds; InputError if it holds none, or a lone carriage return."""
    try:
        text = line.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InputError(f"{path}: expected a CSV header in UTF-8, found binary data.") from None
    if not (text := text.strip(" \t")):
        raise InputError(f"{path}: expected a CSV header, found an empty file; write it again.")
    if "\r" in text:
        raise InputError(
            f"{path}: expected lines that end in LF or CRLF, found a carriage return alone in the header (old Mac line ends); "
            "convert the line ends to LF."
        )
    return [name.strip().strip('"') for name in text.split(",")]


def read_header(path: Path) -> list[str]:
    """Return the column names of a CSV or CSV.gz file, reading no more than its beginning."""
    with _readable(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        line = file.readline(1 << 16)
    return header_names(line, path)


def read_parquet(
    path: Path, required: Mapping[str, DType], optional: Mapping[str, DType] | None = None
) -> tuple[Columns, dict[str, str]]:
    """Return the named columns of a Parquet file and its metadata; arguments and errors are those of `read_csv`."""
    import pyarrow as pa
    from pyarrow import parquet

    data = _content(path)
    try:
        file = parquet.ParquetFile(pa.BufferReader(data))
        metadata = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
        schema = int(metadata.get("trkx.schema", SCHEMA))
        if schema > SCHEMA:
            raise InputError(f"{path}: schema version {schema} is newer than {SCHEMA}, the newest known here; upgrade trkx.")
        types = _wanted(path, file.schema_arrow.names, required, optional)
        table = file.read(columns=list(types))
        fields = [(name, pa.type_for_alias(dtype)) for name, dtype in types.items()]
        table = table.select(list(types)).cast(pa.schema(fields))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); it may be truncated: write it again.") from None
    return _arrays(path, table, types), metadata


def rows_of(ids: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Return the row of `ids` at which each wanted id stands, -1 where it is absent; int64, as long as `wanted`.

    Of ids that stand more than once, the first row counts.
    """
    if len(ids) == len(wanted) and np.array_equal(ids, wanted):
        ordered = np.diff(ids) > 0
        if ordered.all():
            return np.arange(len(ids), dtype=np.int64)
    if len(ids) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    rows = order[place].astype(np.int64)
    return np.where(ids[rows] == wanted, rows, np.int64(-1))


def positions(columns: Mapping[str, NDArray[Any]], names: tuple[str, str, str] = ("x", "y", "z")) -> NDArray[np.float32]:
    """Return three columns as one array, float32 [N, 3]."""
    return np.stack([columns[name] for name in names], axis=1).astype(np.float32, copy=False)


def cell_sums(path: Path, ids: NDArray[Any], id_column: str) -> dict[str, NDArray[np.float32]]:
    """Return what a cells file says of each hit: `cell_count`, number of cells, and `cell_val`, sum of their values.

    Both are float32 [N]; a hit without cells has 0. Cells of hits that are not in `ids` are ignored.
    """
    cells = read_csv(path, {id_column: "int64", "value": "float32"})
    rows = rows_of(ids, cells[id_column])
    known = rows >= 0
    count = np.bincount(rows[known], minlength=len(ids))
    value = np.bincount(rows[known], weights=cells["value"][known], minlength=len(ids))
    return {"cell_count": count.astype(np.float32), "cell_val": value.astype(np.float32)}


def _warn_if_cut(path: Path, data: bytes) -> None:
    if not data.endswith((b"\n", b"\r")):
        warnings.warn(f"{path}: does not end with a line break: it may be truncated; compare it with its source.", TrkxWarning, 3)


def _content(path: Path) -> bytes:
    with _readable(path):
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: truncated or damaged gzip file ({error}); copy or write it again.") from None
    except OSError as error:
        raise InputError(f"{path}: could not be read ({error.strerror or error}).") from None


def _wanted(
    path: Path, names: list[str], required: Mapping[str, DType], optional: Mapping[str, DType] | None
) -> dict[str, DType]:
    missing = [name for name in required if name not in names]
    if missing:
        which = f"column{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
        raise InputError(f"{path}: missing {which}; found {', '.join(names)}.")
    twice = [name for name in {*required, *(optional or {})} if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column {sorted(twice)[0]} stands more than once; found {', '.join(names)}.")
    return {**required, **{name: dtype for name, dtype in (optional or {}).items() if name in names}}


def _arrays(path: Path, table: Any, types: Mapping[str, DType]) -> Columns:
    columns: Columns = {}
    for name, dtype in types.items():
        column = table.column(name)
        if column.null_count and not dtype.startswith("float"):
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise InputError(f"{path}: column {name} must hold integers, but is empty in row {row + 1} (the first is 1).")
        columns[name] = column.to_numpy().astype(dtype, copy=False)
    return columns
