"""Kernels of networks as `builds` compiles them: of chains, in the forms that the bundles at hand need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from trkx.runtime.cuda.builds import Case
from trkx.runtime.cuda.networks.chain import constants_of
from trkx.runtime.cuda.networks.chain_inputs import PAIR, PAIR_FEATURES
from trkx.runtime.cuda.networks.chain_kernel import chain_kernel
from trkx.runtime.cuda.networks.launches import HOPPER, launch_of
from trkx.runtime.cuda.networks.packing import DTYPES, packed, padded
from trkx.runtime.tiled.chains import Layer
from trkx.runtime.tiled.rows import Step

HIDDEN = (Step("norm"), Step("scale"), Step("act", "silu"))


def layer(inputs: int, outputs: int, steps: tuple[Step, ...] = HIDDEN) -> Layer:
    """Return a layer without values."""
    scales = tuple((np.ones(outputs, np.float32), np.zeros(outputs, np.float32)) for step in steps if step.kind == "scale")
    return Layer(np.zeros((outputs, inputs), np.float32), np.zeros(outputs, np.float32), steps, scales)


def chain_case(
    name: str, widths: Sequence[int], precision: str, architecture: int, blocks: Sequence[int] = (), gathers: int = 0,
    pair: bool = False, end: str = "state", residual: bool = False, features: bool = False, wide: bool = False,
    activation: str = "silu", halves: bool = False, steps: tuple[Step, ...] | None = None,
) -> Case:  # fmt: skip
    """Return a launch of `chain_kernel`.

    widths: of its layers. blocks: widths of blocks of rows, "next" of another launch if halves. gathers: products that are
    gathered. end: see the kernel; "logit" is one more layer. residual: the state is added. features: blocks are features.
    wide: rows of 64-bit indices.
    """
    after = (Step("norm"), Step("scale"), Step("act", activation)) if steps is None else steps  # type: ignore[arg-type]
    inputs = {f"block {number}": width for number, width in enumerate(blocks)} | ({PAIR: PAIR_FEATURES} if pair else {})
    weights = {block: np.zeros((widths[0], width), np.float32) for block, width in inputs.items()}
    last = len(widths) - 1
    bare = end == "state"
    layers = [
        layer(before, after_, () if bare and place == last and last else after)
        for place, (before, after_) in enumerate(zip((1, *widths), widths, strict=False))
    ]
    dot = layer(widths[-1], 1, ()) if end == "logit" else None
    group = packed(weights, layers, precision, torch.device("cpu"), features, dot)
    launch = launch_of(group, architecture)
    number = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}[DTYPES[precision]]
    whole, places = ("*i64" if wide else "*i32"), "*fp32" if pair else None
    types = {
        "rows": "i32", "blocks": tuple((number if halves else "*fp32") for _ in blocks),
        "products": ("*fp32",) * gathers, "indices": (whole,) * gathers,
        "r": places, "phi": places, "z": places, "source": whole if pair else None, "target": whole if pair else None,
        "r_scale": "fp32", "phi_scale": "fp32", "z_scale": "fp32", "weights": number, "features": "*fp32", "vectors": "*fp32",
        "out": number if end == "next" else "*fp32",
    }  # fmt: skip
    constants = constants_of(group, launch, [f"block {n}" for n in range(len(blocks))], end, gathers == 0, pair, residual)
    constants |= {
        "BLOCK_STEPS": tuple(padded(width) if halves else width for width in blocks),
        "PRODUCT_STEPS": (group.pads[0],) * gathers,
        "OUT_STEP": 1 if end in ("logit", "column") else group.pads[-1] if end == "next" else group.widths[-1],
    }
    pointers = tuple(argument for argument, kind in types.items() if str(kind).strip("('").startswith("*"))
    absent = {argument: None for argument, kind in types.items() if kind is None}
    return Case(f"{name}, {precision}", chain_kernel, types, constants | absent,
                {"num_warps": launch.warps, "num_stages": launch.stages, "enable_fp_fusion": True}, pointers)  # fmt: skip


def chain_cases(architecture: int = HOPPER, precisions: Sequence[str] = ("fp32", "tf32", "fp16", "bf16")) -> list[Case]:
    """Return launches of the reference bundle's networks, of the 2021 sizes and of WIDEST, as `DeviceChain` makes them."""
    return [case for precision in precisions for case in (*_narrow(precision, architecture), *_wide(precision, architecture))]


def few_cases(architecture: int = HOPPER) -> list[Case]:
    """Return some of them, each of its own kind: what a build without a GPU has time for."""
    if architecture < HOPPER:
        some = ("filter of 96, fp16", "layer of 512, fp16")
        return [case for case in chain_cases(architecture, ("fp16",)) if case.name in some]
    names = ("filter of 96", "edge network of 48", "edge network of 128", "first layer of 256", "first layer of 512",
             "layer of 512", "layer of 1024")
    found = [case for case in chain_cases(architecture, ("bf16",)) if case.name.removesuffix(", bf16") in names]
    return [*found, *(case for case in chain_cases(architecture, ("fp32",)) if case.name == "first layer of 48, fp32")]


def _narrow(precision: str, architecture: int) -> list[Case]:
    if precision == "fp32":  # each layer is a launch
        return [
            chain_case("first layer of 96", (96,), precision, architecture, (), 2, True, "next", features=True),
            chain_case("last layer of 96", (96,), precision, architecture, (96,), end="logit", halves=True),
            chain_case("first layer of 48", (48,), precision, architecture, (48,), 2, end="next"),
            chain_case("last layer of 48", (48,), precision, architecture, (48,), residual=True, halves=True, steps=()),
            chain_case("first layer of nodes of 48", (48,), precision, architecture, (48, 48, 48), end="next"),
            chain_case("first layer of 128", (128,), precision, architecture, (128,), 2, end="next"),
        ]
    return [
        chain_case("filter of 96", (96, 96, 96), precision, architecture, (), 2, True, "logit", features=True),
        chain_case("edge network of 48", (48, 48), precision, architecture, (48,), 2, residual=True),
        chain_case("node network of 48", (48, 48), precision, architecture, (48, 48, 48), residual=True),
        chain_case("classifier of 48", (48, 48), precision, architecture, (48,), 2, end="logit"),
        chain_case("edge network of 128", (128, 128, 128), precision, architecture, (128,), 2, residual=True),
        chain_case("node network of 128", (128, 128), precision, architecture, (128, 128, 128), residual=True),
    ]


def _wide(precision: str, architecture: int) -> list[Case]:
    return [
        chain_case("first layer of 256", (256,), precision, architecture, (), 2, True, "next", features=True),
        chain_case("first layer of 512", (512,), precision, architecture, (), 2, True, "next", features=True),
        chain_case("layer of 512", (512,), precision, architecture, (512,), end="next", halves=True),
        chain_case("last layer of 512", (512,), precision, architecture, (512,), end="logit", halves=True),
        chain_case("layer of 1024", (1024,), precision, architecture, (1024,), end="next", halves=True),
    ]
