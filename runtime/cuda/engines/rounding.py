"""How torch itself multiplies inside a block of code: TF32 on or off, half types by autocast; as before it afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SETTING = threading.RLock()  # torch has one such setting for the whole process


@contextmanager
def multiplying(precision: str, device: torch.device) -> Iterator[None]:
    """Let torch multiply float32 matrices in a precision: "fp32" exactly (TF32 off), "tf32", or "bf16" and "fp16" by autocast.

    Whether TF32 is used is a setting of the process in torch; blocks in other threads wait for one another, so that none runs in
    another's precision, and the setting is as before after the block.
    """
    with ExitStack() as stack:
        stack.enter_context(_SETTING)
        stack.enter_context(_tf32(precision == "tf32"))
        if precision in HALVES:
            stack.enter_context(torch.autocast(device.type, HALVES[precision], cache_enabled=False))
        else:
            stack.enter_context(torch.autocast(device.type, enabled=False))  # a caller's autocast ends here
        yield


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before, own = torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.fp32_precision
    word = "high" if wanted else "highest"
    if before == word:
        yield
        return
    torch.set_float32_matmul_precision(word)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cuda.matmul.fp32_precision = own
