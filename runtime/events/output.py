"""Tables as bytes, and whole files put in place at once: what every writer shares."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from trkx.errors import TrkxError


def parquet_bytes(columns: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Return a zstd-compressed Parquet file of the columns (arrays or Arrow arrays), with `metadata` in its schema."""
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    table = pa.table(dict(columns)).replace_schema_metadata(dict(metadata))
    parquet.write_table(table, sink, compression="zstd", use_dictionary=False)
    return bytes(sink.getvalue())


def csv_bytes(columns: Mapping[str, NDArray[Any]], header: bool = True) -> bytes:
    """Return numeric columns as CSV, unquoted; floats in the shortest form that reads back the same."""
    import pyarrow as pa
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    csv.write_csv(pa.table(dict(columns)), sink, csv.WriteOptions(include_header=False))
    return (",".join(columns).encode() + b"\n" if header else b"") + bytes(sink.getvalue())


def write_files(contents: Mapping[Path, bytes], stale: Iterable[Path] = ()) -> None:
    """Put files in place: all are written to temporary names beside them first, then renamed.

    Args:
        contents: path to content; folders are made.
        stale: files of an older version that must not outlive it; removed after the new ones are in place.

    Raises:
        TrkxError: no space, no permission, … ; the files that were there before are untouched, and nothing is left over.
    """
    temporary = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") for path in contents}
    path = next(iter(contents), Path())
    try:
        for path, data in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary[path].open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for path in contents:
            temporary[path].replace(path)
        for path in stale:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise TrkxError(
            f"{path}: could not be written ({error.strerror or error}); what was there is untouched. "
            "Free some space or choose another folder."
        ) from error
    finally:
        for left in temporary.values():
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
