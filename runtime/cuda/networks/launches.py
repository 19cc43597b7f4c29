"""How a chain's kernel is launched: rows to a program, warps, and stages of loads that are under way."""

from __future__ import annotations

from typing import NamedTuple

from trkx.runtime.cuda.networks.packing import Packed, power_of_2, product_name

HOPPER = 90
ROOMY = (80, 87, 90, 100, 103, 110)
"""Compute capabilities whose programs have 163 KiB of shared memory or more; others (8.6, 8.9, 12.0) have 99."""


class Launch(NamedTuple):
    """rows: of a program. warps: of a program. stages: of loads. product: what the kernel calls the precision of products."""

    rows: int
    warps: int
    stages: int
    product: str
    exact: str = "tf32x3"


def launch_of(packed: Packed, architecture: int = HOPPER) -> Launch:
    """Return the launch of packed layers on an NVIDIA architecture: 80 for A100, 90 for H100 and H200, 89 for an RTX 4090."""
    widest, exact = power_of_2(max(packed.pads)), packed.precision == "fp32"
    product, kind = product_name(packed.precision), "ieee" if exact else "tf32x3"
    if exact:
        return Launch(min(32, max(16, 4096 // widest)), 4 if widest <= 128 else 8, 2, product, kind)
    on_ampere = architecture < HOPPER and packed.precision == "tf32"  # where weights of tf32 take twice the registers
    if widest <= 128:
        return Launch(32 if on_ampere and widest > 64 else 64, 4, 2, product, kind)
    if packed.reads_features:
        return Launch(min(32, max(16, 16384 // widest)), 8, 2, product, kind)
    roomy = architecture in ROOMY
    stages = 1 if not roomy else 3 if architecture >= HOPPER else 2  # of 64 kB or more of weights each
    return Launch(max(16, (32768 if roomy and not on_ampere else 16384) // widest), 8, stages, product, kind)
