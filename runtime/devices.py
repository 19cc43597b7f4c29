"""Words of `--device`: on which GPUs engines run. Loads no torch; whether a GPU is there is seen when a pipeline is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from trkx.errors import SpecError, unknown_name
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.engines import ENGINES

DEFAULT = "cuda"
"""The current GPU, for engines on one."""
INTERPRETER = "TRITON_INTERPRET"
"""Variable of the environment with which Triton runs kernels on the CPU, slowly."""
_NUMBERED = re.compile(r"cuda:(0|[1-9]\d*)")
_EXPECTED = "expected cuda, or cuda:0, cuda:1 … of several GPUs, with commas between them"


def chosen_devices(engine: str, said: str | None) -> tuple[str, ...]:
    """Return the devices that an engine shall run on, words for `Pipeline.open`: none for an engine on the CPU.

    Args:
        engine: its name.
        said: "cuda:1", or several as in "cuda:0,cuda:1"; None for the current GPU.

    Raises:
        SpecError: an unknown engine; a device for an engine on the CPU; no such word; one of several that is there twice or has
            no number; the CPU for an engine on a GPU, unless Triton's interpreter is on.
    """
    if engine not in DEVICE_ENGINES:
        if engine not in ENGINES:
            raise SpecError(unknown_name("engine", engine, (*ENGINES, *DEVICE_ENGINES)))
        if said not in (None, "cpu"):
            raise SpecError(
                f"--device {said}: engine '{engine}' runs on the CPU; leave --device out, or choose an engine on a GPU: "
                f"{', '.join(DEVICE_ENGINES)}."
            )
        return ()
    words = tuple(word.strip() for word in (DEFAULT if said is None else said).split(","))
    strange = next((word for word in words if word not in (DEFAULT, "cpu") and not _NUMBERED.fullmatch(word)), None)
    if strange is not None:
        raise SpecError(f"--device {said}: '{strange}' is no device; {_EXPECTED}.")
    if len(words) > 1:
        _require_several(words, str(said))
    elif words == ("cpu",) and not _interpreted():
        raise SpecError(
            f"--device cpu: engine '{engine}' runs on an NVIDIA GPU; leave --device out, or choose an engine on the CPU: "
            f"{', '.join(ENGINES)}."
        )
    return words


def one_device(engines: Sequence[str], said: str | None) -> str | None:
    """Return the device of those of the engines that run on a GPU, as `chosen_devices`; None if there are none.

    Raises:
        SpecError: as `chosen_devices`; or more than one device, for a command that uses one.
    """
    on_gpus = [name for name in engines if name in DEVICE_ENGINES]
    words = chosen_devices((on_gpus or list(engines))[0], said)
    if len(words) > 1:
        raise SpecError(f"--device {said}: expected one device, such as {words[0]}; `trkx run` spreads events over several.")
    return words[0] if words else None


def _require_several(words: Sequence[str], said: str) -> None:
    if unnumbered := [word for word in words if not _NUMBERED.fullmatch(word)]:
        raise SpecError(f"--device {said}: '{unnumbered[0]}' has no number; of several GPUs each needs one: cuda:0,cuda:1.")
    if twice := [word for word in words if words.count(word) > 1]:
        raise SpecError(f"--device {said}: {twice[0]} stands there twice; name each once, and say --workers for more at a time.")


def _interpreted() -> bool:
    return os.environ.get(INTERPRETER, "").lower() in ("1", "true", "on", "yes", "y")
