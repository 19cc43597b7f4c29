"""How kernels are declared, and on which tensors they run.

With TRITON_INTERPRET=1 in the environment when Triton is first imported, kernels run on CPU tensors, lane by lane in numpy: slow,
and the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton

from trkx.errors import InputError


def kernel(*varying: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a Triton kernel of a function.

    varying: whole-number arguments that differ from event to event; Triton would else compile anew for 1 and for multiples of 16.
    """
    return lambda function: triton.jit(function, do_not_specialize=list(varying) or None)


def require_device(tensor: torch.Tensor, who: str) -> None:
    """Raise InputError unless kernels can run on the tensor. who: what the message begins with."""
    if not (tensor.is_cuda or triton.knobs.runtime.interpret):
        raise InputError(
            f"{who}: expected a tensor on a CUDA device, found one on {tensor.device}; move it there with .to('cuda'), use a CPU "
            "backend, or set TRITON_INTERPRET=1 before Python starts to run the kernels, slowly, on the CPU."
        )
