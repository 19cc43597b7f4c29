"""A measurement in a process of its own: its peak memory is its own, and it can be stopped when it takes too long."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from trkx.errors import TrkxError
from trkx.runtime.bench.measure import NotHereError


class TimeLimitError(TrkxError):
    """A measurement that was stopped because it took longer than it may."""


def run_fresh(function: str, arguments: dict[str, Any], limit: float | None = None, threads: int | None = None) -> Any:
    """Call a function in a fresh Python process and return what it returns.

    Args:
        function: "module:name"; takes the arguments by name, returns something that JSON can hold.
        arguments: plain containers.
        limit: seconds, after which the process is killed; None for none.
        threads: OMP_NUM_THREADS of the process (BLAS, torch); None leaves it as it is.

    Raises:
        TimeLimitError: stopped at the limit.
        NotHereError: the function raised that; it can't run here.
        TrkxError: the process failed; the message ends with what it said last.
    """
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "trkx.runtime.bench.child", function, json.dumps(arguments), str(answer)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit, env=environment)
        except subprocess.TimeoutExpired:
            raise TimeLimitError(f"{function}: stopped after {limit:g} s.") from None
        if not answer.is_file():
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            how = f"was killed by signal {-done.returncode} (memory?)" if done.returncode < 0 else f"failed: {said}"
            raise TrkxError(f"{function}: the process {how}; call the function in this process to see where.")
        found = json.loads(answer.read_text(encoding="utf-8"))
    if "not_here" in found:
        raise NotHereError(found["not_here"])
    return found["result"]


def _refuse(why: str) -> None:
    """Stand for a function that can't run here."""
    raise NotHereError(why)


def main() -> None:
    """Run the function that the command line names and write its result, as JSON, to the file that it names."""
    function, arguments, answer = sys.argv[1:]
    module, name = function.split(":")
    try:
        found = {"result": getattr(importlib.import_module(module), name)(**json.loads(arguments))}
    except NotHereError as error:
        found = {"not_here": str(error)}
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
