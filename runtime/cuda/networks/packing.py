"""Weights of a chain as its kernels read them: padded to one tile or two, cast to the precision, in a few buffers on a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from trkx.errors import SpecError, unknown_name
from trkx.runtime.cuda.networks.chain_inputs import PAIR
from trkx.runtime.cuda.networks.chain_twins import rounded
from trkx.runtime.precision import PRECISIONS

if TYPE_CHECKING:
    from trkx.runtime.tiled.chains import Layer

Float = NDArray[np.float32]
SMALLEST = 16  # what a product of tiles needs
WIDEST = 1024  # 16 rows of 2048 columns spill registers: in fp32, in tf32, and with features of pairs in any precision
NARROW = {"fp32": 0, "tf32": 128, "fp16": 128, "bf16": 128}
"""Layers up to this width stay in registers from one to the next. In fp32 none do: without tensor cores, a product of registers
with a whole weight spills them."""
LATER = "later"
INNER = {"fp32": 32, "tf32": 32, "fp16": 64, "bf16": 64}  # inputs of a block that are multiplied at a time
FULL = 512  # of wider layers half as many inputs at a time: two or three stages of weights have to fit into shared memory
DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
IN_FLOAT32 = "bf16 in float32"
"""What kernels call bf16 where Triton's interpreter runs them, which multiplies bits of bf16 as if they were whole numbers."""


def held(precision: str) -> torch.dtype:
    """Return the type that rounded numbers are held in."""
    return torch.float32 if product_name(precision) == IN_FLOAT32 else DTYPES[precision]


def product_name(precision: str) -> str:
    """Return what kernels call products in a precision."""
    return IN_FLOAT32 if precision == "bf16" and triton.knobs.runtime.interpret else precision


def require_known(precision: str) -> None:
    """Raise SpecError unless there is such a precision."""
    if precision not in PRECISIONS:
        raise SpecError(unknown_name("precision", precision, PRECISIONS))


def power_of_2(width: int) -> int:
    """Return the power of 2, at least 16, that holds a width."""
    return max(SMALLEST, 1 << (width - 1).bit_length())


def padded(width: int) -> int:
    """Return the columns in which a width is held: a power of 2, at least 16, or one and a half of it."""
    whole = power_of_2(width)
    return whole // 4 * 3 if whole // 4 >= SMALLEST and width <= whole // 4 * 3 else whole


def first_tile(pad: int) -> int:
    """Return how many of a layer's padded columns its first tile holds: the largest power of 2 among them."""
    return 1 << (pad.bit_length() - 1)


@dataclass(frozen=True)
class Packed:
    """Layers that one launch runs, see `chain_kernel`.

    widths, pads, steps, scales: of each layer. inputs, chunks: width of each block by name, and how much
    of it at a time. places: of blocks' weights by name; LATER is where those of later layers begin. weights: in the
    precision. features, vectors: float32. judges: a vector for the logit ends vectors.
    """

    widths: tuple[int, ...]
    pads: tuple[int, ...]
    steps: tuple[tuple[str, ...], ...]
    scales: tuple[int, ...]
    eps: float
    inputs: Mapping[str, int]
    places: Mapping[str, int]
    chunks: Mapping[str, int]
    precision: str
    reads_features: bool
    judges: bool
    weights: torch.Tensor = field(repr=False)
    features: torch.Tensor = field(repr=False)
    vectors: torch.Tensor = field(repr=False)


def packed(
    blocks: Mapping[str, Float], layers: Sequence[Layer], precision: str, device: torch.device, reads_features: bool = False,
    dot: Layer | None = None,
) -> Packed:  # fmt: skip
    """Return layers as kernels read them. blocks: weights of the first one, [out, width]. dot: a last layer of one column.

    Features of the block "pair" are multiplied in float32, as all blocks are if reads_features.

    Raises:
        SpecError: an unknown precision, weights that do not follow on each other, a layer too wide, norms that differ in eps.
    """
    require_known(precision)
    check_layers(blocks, layers, dot)
    widths = tuple(len(layer.bias) for layer in layers)
    pads = tuple(padded(width) for width in widths)
    places: dict[str, int] = {}
    chunks: dict[str, int] = {}
    features: list[Float] = []
    weights: list[Float] = []
    feature_count = weight_count = 0
    for name in sorted(blocks, key=lambda name: name != PAIR):
        weight = blocks[name]
        chunks[name] = min(INNER[precision] // (1 if pads[0] <= FULL else 2), power_of_2(weight.shape[1]))
        if name == PAIR or reads_features:
            places[name] = feature_count
            pair = name == PAIR
            features.append(_pair_table(weight, pads[0], precision) if pair else _filled(weight.T, weight.shape[1], pads[0]))
            feature_count += features[-1].size
        else:
            places[name] = weight_count
            weights.append(_filled(weight, pads[0], -(-weight.shape[1] // chunks[name]) * chunks[name]))
            weight_count += weights[-1].size
    places[LATER] = weight_count
    weights += [_filled(layer.weight, pad, before) for layer, before, pad in zip(layers[1:], pads, pads[1:], strict=False)]
    vectors = []
    halved = [precision == "bf16" and _ends_in_silu(layer) for layer in layers]
    for layer, pad, half in zip(layers, pads, halved, strict=True):
        parts = [part for pair in layer.scales for part in pair]
        parts = [*parts[:-2], *(np.float32(0.5) * part for part in parts[-2:])] if half else parts
        vectors += [_filled(vector[None], 1, pad) for vector in (layer.bias, *parts)]
    if dot is not None:
        vectors += [_filled(dot.weight, 1, pads[-1]), _filled(dot.bias[None], 1, SMALLEST)]
    words = (_words(layer) for layer in layers)
    steps = tuple((*some[:-1], "silu of half") if half else some for some, half in zip(words, halved, strict=True))
    return Packed(
        widths, pads, steps, tuple(len(layer.scales) for layer in layers), _eps(layers),
        {name: weight.shape[1] for name, weight in blocks.items()}, places, chunks, precision, reads_features, dot is not None,
        rounded(_buffer(weights, device), precision).to(held(precision)), _buffer(features, device), _buffer(vectors, device),
    )  # fmt: skip


def check_layers(blocks: Mapping[str, Float], layers: Sequence[Layer], dot: Layer | None) -> None:
    """Raise SpecError unless layers follow on each other, and kernels can run them. Arguments as in `packed`."""
    for name, block in blocks.items():
        if block.ndim != 2 or len(block) != len(layers[0].bias):
            raise SpecError(f"block '{name}': expected weights [{len(layers[0].bias)}, width], found {list(block.shape)}.")
    rest = [*layers[1:], *([] if dot is None else [dot])]
    for number, (before, layer) in enumerate(zip(layers, rest, strict=False), 1):
        wanted = [1 if layer is dot else len(layer.bias), len(before.bias)]
        if list(layer.weight.shape) != wanted:
            raise SpecError(f"layer {number} of a chain: expected weights {wanted}, found {list(layer.weight.shape)}.")
    for number, layer in enumerate(layers):
        if len(layer.bias) > WIDEST:
            raise SpecError(
                f"the fused kernels run layers of at most {WIDEST} columns, layer {number} has {len(layer.bias)}; "
                "choose another engine, such as torch-cuda."
            )
        kinds = [step.kind for step in layer.steps]
        lengths = {len(part) for pair in layer.scales for part in pair}
        if kinds.count("scale") != len(layer.scales) or not lengths <= {len(layer.bias)}:
            raise SpecError(f"layer {number} of a chain: expected two vectors of {len(layer.bias)} for each of its scales.")


def _words(layer: Layer) -> tuple[str, ...]:
    words = (step.activation if step.kind == "act" else step.kind for step in layer.steps)
    return tuple(word for word in words if word != "none")


def _ends_in_silu(layer: Layer) -> bool:
    """Whether a layer's last steps are a scale and SiLU, for which scales are halved: exactly, and at no cost."""
    return _words(layer)[-2:] == ("scale", "silu")


def _pair_table(weight: Float, pad: int, precision: str) -> Float:
    """Return weights of features of pairs as `added_pair` reads them: one table, or two in tf32."""
    whole = _filled(weight, pad, SMALLEST)
    if precision == "fp32":
        return whole
    near = rounded(torch.from_numpy(whole), "tf32")
    return torch.stack([near, rounded(torch.from_numpy(whole) - near, "tf32")]).numpy()


def _eps(layers: Sequence[Layer]) -> float:
    found = {step.eps for layer in layers for step in layer.steps if step.kind == "norm"} or {0.0}
    if len(found) > 1:
        raise SpecError(f"norms of one chain differ in eps: {sorted(found)}; choose another engine, such as torch-cuda.")
    return found.pop()


def _filled(values: Float, rows: int, columns: int) -> Float:
    found = np.zeros((rows, columns), np.float32)
    found[: values.shape[0], : values.shape[1]] = values
    return found


def _buffer(parts: Sequence[Float], device: torch.device) -> torch.Tensor:
    whole = np.concatenate([part.ravel() for part in parts]) if parts else np.zeros(SMALLEST, np.float32)
    return torch.from_numpy(whole).to(device)
