"""The way to a Dask scheduler: its address or file, a short wait for an answer, and what does not fit said at once."""

from __future__ import annotations

import asyncio
import json
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trkx.backends import require
from trkx.errors import TrkxError, TrkxWarning

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 5  # s, to reach the scheduler


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of the Dask scheduler at an address ("tcp://host:8786", "host:8786") or in a scheduler file.

    Raises:
        MissingExtraError: distributed is not installed.
        TrkxError: no such file, no scheduler that answers within 5 s, another version of Python there.
    """
    require("cluster", "dask")
    import dask
    from distributed import Client

    scheduler = _in_file(address)
    _probe(scheduler, address)
    # An event may be larger than what Dask takes for a mistake.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TB"}):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            client = Client(scheduler, timeout=TIMEOUT, set_as_default=False, name="trkx")
        try:
            for one in said:
                warnings.warn(f"Dask cluster {address}: {one.message}", TrkxWarning, stacklevel=3)
            _check(client, address)
            yield client
        finally:
            client.close()


def _in_file(address: str) -> str:
    """Return the address that a scheduler file holds; an address as it is."""
    path = Path(address)
    if "://" in address or not (path.exists() or path.suffix == ".json"):
        return address
    if not path.is_file():
        raise TrkxError(f"{path}: no such scheduler file; `dask scheduler --scheduler-file {path}` writes it.")
    try:
        return str(json.loads(path.read_text("utf-8"))["address"])
    except (ValueError, KeyError, TypeError):
        raise TrkxError(f"{path}: expected a scheduler file, JSON with an address, as `dask scheduler` writes it.") from None


def _probe(scheduler: str, address: str) -> None:
    """Raise TrkxError unless a Dask scheduler answers; a Client would wait without end for what speaks another protocol."""
    from distributed.core import rpc
    from distributed.security import Security

    async def identity() -> str:
        async with rpc(scheduler, timeout=TIMEOUT, connection_args=Security().get_connection_args("client")) as node:
            return str((await asyncio.wait_for(node.identity(), TIMEOUT))["type"])

    try:
        kind = asyncio.run(identity())
        why = "" if kind == "Scheduler" else f"it is the address of a {kind.lower()}"
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        why = str(error) or f"no answer in {TIMEOUT} s"
    if why:
        raise TrkxError(
            f"{address}: no Dask scheduler answers there ({why}). Expected the address that `dask scheduler` prints "
            "(tcp://host:8786), or the file that it writes with --scheduler-file."
        )


def _check(client: Client, address: str) -> None:
    """Refuse other versions of Python, between which code can't travel; warn where nobody works yet."""
    here = platform.python_version_tuple()[:2]
    seen: Any = client.get_versions(check=False)
    nodes = {"the scheduler": seen["scheduler"], **{f"worker {name}": one for name, one in seen["workers"].items()}}
    for name, one in nodes.items():
        found = one["host"]["python"].split(".")
        if tuple(found[:2]) != here:
            raise TrkxError(
                f"{address}: {name} runs Python {'.'.join(found[:3])}, here runs {platform.python_version()}; use one version."
            )
    if not seen["workers"]:
        warnings.warn(
            f"{address}: the Dask cluster has no workers yet; waiting for one (`dask worker {address}`; Ctrl-C ends it).",
            TrkxWarning,
            stacklevel=4,
        )
