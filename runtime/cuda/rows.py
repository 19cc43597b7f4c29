"""Whole numbers by rows, as kernels want them: Triton compiles a kernel anew for a row that begins at no multiple of 16 bytes."""

from __future__ import annotations

import torch

ALIGNMENT = 16  # bytes; what Triton looks at, and what loads of four numbers need


def empty_pairs(count: int, device: torch.device) -> torch.Tensor:
    """Return room for pairs or edges, int64 [2, count]: rows are contiguous, and each begins at a multiple of 16 bytes.

    For an odd count the rows are one number apart: `contiguous()` of the whole would undo it.
    """
    return torch.empty((2, count + count % 2), dtype=torch.int64, device=device)[:, :count]


def aligned(row: torch.Tensor) -> torch.Tensor:
    """Return a row of numbers, [N], contiguous and at a multiple of 16 bytes: itself if it is, else a copy."""
    return row if row.is_contiguous() and row.data_ptr() % ALIGNMENT == 0 else row.clone(memory_format=torch.contiguous_format)
