"""One MLP as tiles run it: its weights in one form, whichever declaration they come from, and the code for them.

The first layer is split by block: blocks of hits are multiplied once per hit ("products", which edges then gather), blocks
of rows are multiplied where they stand. In a reduced precision what layers read of hidden states is rounded, and so
are their weights; features, sums, biases, norms, states and logits stay float32.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import BundleError
from trkx.runtime.tiled.emit import INT32, Value
from trkx.runtime.tiled.gemm import gemm, packed, packed_rounded, rounded_gemm, rounded_stride, rounding, stride, widened
from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.program import Tile
from trkx.runtime.tiled.rows import Step, dotted, gathered, row_steps
from trkx.spec import Activation, ChainSpec

Float = NDArray[np.float32]
Weights = Mapping[str, Float]


@dataclass(frozen=True)
class Layer:
    """A linear layer and what follows it. weight: [out, in]; scales: (factor, summand), [out] each, one for each "scale"."""

    weight: Float
    bias: Float
    steps: tuple[Step, ...]
    scales: tuple[tuple[Float, Float], ...]


@dataclass(frozen=True)
class Chain:
    """Layers; the first one's weight is split into `blocks` (name to [out, width]) in the order of the concatenation.

    judges: its one column is a logit, which write_logits writes. reads_features: the first layer reads features of hits or edges,
    which no precision rounds.
    """

    blocks: Mapping[str, Float]
    layers: tuple[Layer, ...]
    judges: bool = False
    reads_features: bool = False

    @property
    def out(self) -> int:
        """Columns of the output."""
        return len(self.layers[-1].bias)

    @property
    def widest(self) -> int:
        """The widest layer's columns."""
        return max(len(layer.bias) for layer in self.layers)


def tensor(weights: Weights, name: str, *shape: int) -> Float:
    """Return a tensor by name; BundleError if it is not there or has another shape: machine code would read beyond it."""
    if name not in weights:
        raise BundleError(f"the weights lack '{name}': they do not fit the specification. Export the bundle again.")
    if weights[name].shape != shape:
        raise BundleError(
            f"the weights' '{name}' has shape {list(weights[name].shape)}, the specification says {list(shape)}. "
            "Export the bundle again."
        )
    return np.ascontiguousarray(weights[name], np.float32)


def chain_of_mlp(
    weights: Weights,
    prefix: str,
    blocks: Mapping[str, int],
    hidden: int,
    layers: int,
    activation: Activation,
    layer_norm: bool,
    out: int | None,
) -> Chain:
    """Return the chain of a trkx.models BlockMLP whose tensors begin with `prefix`; BundleError where they do not fit."""
    steps = (*((Step("norm"), Step("scale")) if layer_norm else ()), *_act(activation))
    made: list[Layer] = []
    place = 0  # in the nn.Sequential
    linear, inputs = f"{prefix}first", sum(blocks.values())
    for _ in range(layers):
        weight, bias = tensor(weights, f"{linear}.weight", hidden, inputs), tensor(weights, f"{linear}.bias", hidden)
        inputs = hidden
        scales: tuple[tuple[Float, Float], ...] = ()
        if layer_norm:
            norm = f"{prefix}rest.{place}"
            scales = ((tensor(weights, f"{norm}.weight", hidden), tensor(weights, f"{norm}.bias", hidden)),)
            place += 1
        made.append(Layer(weight, bias, steps, scales))
        place += 1
        linear = f"{prefix}rest.{place}"
        place += 1
    if out is not None:
        made.append(Layer(tensor(weights, f"{linear}.weight", out, hidden), tensor(weights, f"{linear}.bias", out), (), ()))
    return Chain(_split(made[0].weight, blocks), tuple(made))


def chain_of_spec(weights: Weights, prefix: str, blocks: Mapping[str, int], spec: ChainSpec) -> Chain:
    """Return the chain of a trkx.models BlockChain whose tensors begin with `prefix`; batch norms must have stored statistics."""
    made: list[Layer] = []
    inputs = sum(blocks.values())
    for place, width in enumerate(spec.widths):
        norm, batch_norm, activation = spec.after(place)
        steps: list[Step] = []
        scales: list[tuple[Float, Float]] = []
        if norm != "none":
            steps.append(Step("norm"))
        if norm == "affine":
            steps.append(Step("scale"))
            name = f"{prefix}norms.{place}"
            scales.append((tensor(weights, f"{name}.weight", width), tensor(weights, f"{name}.bias", width)))
        if batch_norm != "none":
            steps.append(Step("scale"))
            name = f"{prefix}batch_norms.{place}."
            scales.append(_stored_norm(weights, name, width, spec.batch_norm_eps, batch_norm.endswith("affine")))
        steps = [*_act(activation), *steps] if spec.activation_first else [*steps, *_act(activation)]
        linear = f"{prefix}linears.{place}"
        weight, bias = tensor(weights, f"{linear}.weight", width, inputs), tensor(weights, f"{linear}.bias", width)
        made.append(Layer(weight, bias, tuple(steps), tuple(scales)))
        inputs = width
    return Chain(_split(made[0].weight, blocks), tuple(made))


def judging(chain: Chain) -> Chain:
    """Return a chain of one output column whose end is written as logits."""
    return dataclasses.replace(chain, judges=True)


def reading_features(chain: Chain) -> Chain:
    """Return a chain whose first layer is multiplied in float32 in every precision."""
    return dataclasses.replace(chain, reads_features=True)


def _act(activation: Activation) -> tuple[Step, ...]:
    return () if activation == "none" else (Step("act", activation),)


def _stored_norm(weights: Weights, prefix: str, width: int, eps: float, affine: bool) -> tuple[Float, Float]:
    mean, variance = (tensor(weights, f"{prefix}{name}", width).astype(np.float64) for name in ("running_mean", "running_var"))
    factor = 1.0 / np.sqrt(variance + eps)
    if affine:
        factor = factor * tensor(weights, f"{prefix}weight", width)
    summand = -mean * factor + (tensor(weights, f"{prefix}bias", width) if affine else 0.0)
    return factor.astype(np.float32), summand.astype(np.float32)


def _split(weight: Float, blocks: Mapping[str, int]) -> dict[str, Float]:
    ends = np.cumsum(list(blocks.values()))[:-1]
    return dict(zip(blocks, np.split(weight, ends, axis=1), strict=True))


def bindings(chain: Chain, name: str, target: Host) -> dict[str, NDArray[Any]]:
    """Return the arrays that a chain's code reads, under names that begin with `name`."""
    first = packed_rounded if target.rounds and not chain.reads_features else packed
    later = packed_rounded if target.rounds else packed
    arrays: dict[str, NDArray[Any]] = {f"{name}.{block}": first(weight, target) for block, weight in chain.blocks.items()}
    for place, layer in enumerate(chain.layers):
        last = place == len(chain.layers) - 1
        if last and _ends_in_dot(chain):
            row = np.zeros(-(-layer.weight.shape[1] // target.lanes) * target.lanes, np.float32)
            row[: layer.weight.shape[1]] = layer.weight[0]
            arrays[f"{name}.{place}"], arrays[f"{name}.{place}.bias"] = row, layer.bias
            continue
        if place:
            arrays[f"{name}.{place}"] = later(layer.weight, target)
        arrays[f"{name}.{place}.bias"] = widened(layer.bias, target)
        if layer.scales:
            arrays[f"{name}.{place}.scales"] = np.concatenate([widened(part, target) for pair in layer.scales for part in pair])
    if chain.judges and not _ends_in_dot(chain):
        arrays[f"{name}.one"] = np.zeros(target.lanes, np.float32)
        arrays[f"{name}.one"][0] = 1.0
        arrays[f"{name}.zero"] = np.zeros(1, np.float32)
    return arrays


def _ends_in_dot(chain: Chain) -> bool:
    """Whether the last layer is one product of two vectors a row, with nothing behind it."""
    return chain.judges and len(chain.layers) > 1 and not chain.layers[-1].steps


@dataclass(frozen=True)
class Rows:
    """A block that has a row for each of the tile's rows: where it begins, and the distances of rows and of columns."""

    block: str
    place: Value
    row_step: int
    column_step: int = 1


@dataclass(frozen=True)
class Gathered:
    """Products of a block that stand in an array of hits, read through an array of int32 indices of the tile's rows."""

    products: str
    index: str


def write_chain(tile: Tile, chain: Chain, name: str, rows: Sequence[Rows], gathers: Sequence[Gathered] = ()) -> tuple[Value, int]:
    """Write a chain over a tile; return where its output stands, and the distance of its rows.

    Gathered products bring the first layer's bias with them. A chain that judges is ended by `write_logits`.
    """
    module = tile.module
    product = _Product(tile, chain)
    width = len(chain.layers[0].bias)
    step = stride(width, module.target)
    here = tile.scratch(step)
    if gathers:
        pointers = [p for g in gathers for p in (tile.whole(g.products), tile.row(g.index, 1, INT32))]
        tile.call(gathered(module, step, len(gathers), False), here, tile.rows, *pointers)
    bias = tile.whole(f"{name}.0.bias")
    for number, block in enumerate(rows):
        inputs = chain.blocks[block.block].shape[1]
        onto = number > 0 or len(gathers) > 0
        product.write(inputs, width, block, onto, tile.whole(f"{name}.{block.block}"), bias, here, not chain.reads_features)
    there: Value = None
    is_rounded = False  # whether the layer's rows stand in product.rows already
    for place, layer in enumerate(chain.layers):
        if place:
            if place == len(chain.layers) - 1 and _ends_in_dot(chain):
                break
            inputs, width = layer.weight.shape[1], layer.weight.shape[0]
            before, step = step, stride(width, module.target)
            there = tile.scratch(step) if there is None or step != before else there
            weights, bias = tile.whole(f"{name}.{place}"), tile.whole(f"{name}.{place}.bias")
            product.write(inputs, width, Rows("", here, before), False, weights, bias, there, is_rounded=is_rounded)
            here, there = there, here if step == before else None
        is_rounded = False
        if layer.steps:
            scales = tile.whole(f"{name}.{place}.scales") if layer.scales else here
            is_rounded = product.rows is not None and place + 1 < len(chain.layers) - int(_ends_in_dot(chain))
            function = row_steps(module, width, step, layer.steps, is_rounded)
            tile.call(function, here, scales, tile.rows, product.rows if is_rounded else here)
    return here, step


def write_logits(tile: Tile, chain: Chain, name: str, end: tuple[Value, int], out: str, squash: bool = False) -> None:
    """Write the one column of a chain's output to the array `out`, float32 [rows]; `end` is what write_chain returned.

    squash: the sigmoids of the logits.
    """
    place, step = end
    if _ends_in_dot(chain):
        last = len(chain.layers) - 1
        width = chain.layers[-1].weight.shape[1]
        weights, bias = tile.whole(f"{name}.{last}"), tile.whole(f"{name}.{last}.bias")
    else:
        width, weights, bias = 1, tile.whole(f"{name}.one"), tile.whole(f"{name}.zero")
    tile.call(dotted(tile.module, width, step, squash), place, weights, bias, tile.row(out), tile.rows)


def write_product(tile: Tile, chain: Chain, name: str, block: Rows, bias: str, out: str) -> None:
    """Write the products of one block of hits, once per hit, to the array `out`; pieces must end at whole tiles."""
    outputs, inputs = chain.blocks[block.block].shape
    place = tile.row(out, stride(outputs, tile.module.target))
    weights = tile.whole(f"{name}.{block.block}")
    _Product(tile, chain).write(inputs, outputs, block, False, weights, tile.whole(bias), place, not chain.reads_features)


class _Product:
    """Writes products of a tile's rows, in the module's precision; in a reduced one through one buffer of rounded rows."""

    def __init__(self, tile: Tile, chain: Chain) -> None:
        self._tile = tile
        target = tile.module.target
        inputs = [0 if chain.reads_features else max(weight.shape[1] for weight in chain.blocks.values())]
        inputs += [layer.weight.shape[1] for layer in chain.layers[1:]]
        self.rows = tile.scratch(rounded_stride(max(inputs), target)) if target.rounds else None

    def write(
        self, inputs: int, outputs: int, block: Rows, onto: bool, weights: Value, bias: Value, out: Value, hidden: bool = True,
        is_rounded: bool = False,
    ) -> None:
        """Write out = bias + block W, or out + block W if onto.

        hidden: in the module's precision; else in float32. is_rounded: the rows stand in `rows` already.
        """
        tile, module = self._tile, self._tile.module
        if self.rows is None or not hidden:
            function = gemm(module, inputs, outputs, block.row_step, block.column_step, onto)
            tile.call(function, block.place, weights, bias, out, tile.rows)
            return
        assert block.column_step == 1, "columns are features, which are not rounded"
        if not is_rounded:
            tile.call(rounding(module, inputs, block.row_step), block.place, self.rows, tile.rows)
        tile.call(rounded_gemm(module, inputs, outputs, onto), self.rows, weights, bias, out, tile.rows)
