"""What a chain reads beside blocks of rows: products of hits, and positions of the ends of pairs; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from trkx.errors import InputError

if TYPE_CHECKING:
    from trkx.runtime.tiled.chains import Chain

PAIR_FEATURES = 11
PAIR = "pair"  # the block that features of pairs make


class PairInputs(NamedTuple):
    """Positions of hits. r, phi, z: float32 [N], as they stand in x; times `scales` they are m, radians, m."""

    r: torch.Tensor
    phi: torch.Tensor
    z: torch.Tensor
    scales: tuple[float, float, float]


class Gather(NamedTuple):
    """A block of hits that was multiplied once per hit. product: float32 [N, stride]. index: int64 or int32 [rows], which hit."""

    product: torch.Tensor
    index: torch.Tensor  # type: ignore[assignment] # instead of the method of tuples


Pair = tuple[PairInputs, torch.Tensor, torch.Tensor]
"""Positions of hits, and the two hits of each row: int64 or int32 [rows] each, source and target."""


def check_inputs(
    chain: Chain, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather], pair: Pair | None,
    dtype: torch.dtype = torch.float32, stride: int | None = None,
) -> None:  # fmt: skip
    """Raise InputError unless a chain can read these: a kernel would read beyond them.

    dtype: of products. stride: columns of products that are read; those of the first layer if not given.
    """
    given = {*blocks} | ({PAIR} if pair is not None else set())
    width = stride or len(chain.layers[0].bias)
    if len(given) + len(gathers) != len(chain.blocks) or not given <= {*chain.blocks}:
        raise InputError(
            f"a chain's first layer reads the blocks {', '.join(chain.blocks)}; found {', '.join(sorted(given)) or 'none'} and "
            f"{len(gathers)} gathered products. Give each block once."
        )
    for name, values in blocks.items():
        wanted = chain.blocks[name].shape[1]
        if values.dtype != torch.float32 or values.shape != (rows, wanted):
            raise InputError(f"block '{name}': expected float32 [{rows}, {wanted}], found {values.dtype} {list(values.shape)}.")
    for product, index in gathers:
        if product.dtype != dtype or product.ndim != 2 or product.shape[1] < width or product.stride(1) != 1:
            raise InputError(
                f"a gathered product: expected float32 [N, {width} or more], found {product.dtype} {list(product.shape)}; "
                "make it with DeviceChain.product."
            )
        _check_index(index, rows)
    if pair is not None:
        if chain.blocks[PAIR].shape[1] != PAIR_FEATURES:
            raise InputError(f"a pair has {PAIR_FEATURES} features, the chain's block reads {chain.blocks[PAIR].shape[1]}.")
        for values in pair[0][:3]:
            if values.dtype != torch.float32 or values.ndim != 1 or not values.is_contiguous():
                raise InputError(f"r, phi, z: expected float32 [N], contiguous, found {values.dtype} {list(values.shape)}.")
        _check_index(pair[1], rows)
        _check_index(pair[2], rows)


def _check_index(index: torch.Tensor, rows: int) -> None:
    if index.dtype not in (torch.int64, torch.int32) or index.shape != (rows,):
        raise InputError(f"an index: expected int64 or int32 [{rows}], found {index.dtype} {list(index.shape)}.")


def check_out(chain: Chain, rows: int, out: torch.Tensor | None, residual: bool) -> None:
    """Raise InputError unless states can be written to `out`."""
    if out is None and residual:
        raise InputError("a residual chain adds to states that are there: give `out`.")
    if out is not None and (out.dtype != torch.float32 or out.shape != (rows, chain.out) or out.stride(1) != 1):
        raise InputError(f"out: expected float32 [{rows}, {chain.out}], rows contiguous, found {out.dtype} {list(out.shape)}.")
