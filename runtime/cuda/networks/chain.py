"""One MLP on a GPU: its weights there, and the launches of `chain_kernel` that run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from trkx.errors import InputError
from trkx.runtime.cuda.launch import require_device
from trkx.runtime.cuda.networks.chain_inputs import Gather, Pair, PairInputs, check_inputs, check_out
from trkx.runtime.cuda.networks.chain_kernel import chain_kernel
from trkx.runtime.cuda.networks.launches import HOPPER, Launch, launch_of
from trkx.runtime.cuda.networks.packing import (
    LATER,
    NARROW,
    Packed,
    check_layers,
    first_tile,
    held,
    packed,
    padded,
    require_known,
)
from trkx.runtime.cuda.networks.steps import CODES
from trkx.runtime.cuda.rows import aligned

if TYPE_CHECKING:
    from trkx.runtime.tiled.chains import Chain, Layer

__all__ = ["DeviceChain", "Gather", "Pair", "PairInputs"]

WHO = "a chain"
HELD = 1 << 27  # bytes of activations between launches, in two such buffers: launching takes longer than computing fewer rows
FEWEST = 1024  # rows of a launch, at least
MOST = (1 << 31) - 1024  # rows at once: kernels count them in 32 bits


class DeviceChain:
    """A chain with its weights on a device. All tensors are on it; sums are float32, hidden layers read rounded numbers."""

    def __init__(self, chain: Chain, precision: str, device: torch.device) -> None:
        self.chain, self.precision, self.device = chain, precision, device
        require_known(precision)
        self._dot = chain.layers[-1] if chain.judges and len(chain.layers) > 1 and not chain.layers[-1].steps else None
        layers = chain.layers if self._dot is None else chain.layers[:-1]
        check_layers(chain.blocks, layers, self._dot)
        groups = _grouped(layers, NARROW[precision])
        self._groups: list[Packed] = []
        for number, group in enumerate(groups):
            blocks = chain.blocks if number == 0 else {"": group[0].weight}
            dot = self._dot if number == len(groups) - 1 else None
            self._groups.append(packed(blocks, group, precision, device, chain.reads_features and number == 0, dot))
        self._products: dict[str, Packed] = {}
        self._forms: dict[tuple[Any, ...], tuple[Launch, dict[str, Any]]] = {}
        self._architecture = HOPPER
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            self._architecture = 10 * major + minor

    @classmethod
    def of(cls, chain: Chain, precision: str, device: torch.device) -> DeviceChain:
        """Return a chain on a device, in one of `trkx.runtime.precision.PRECISIONS`.

        Raises:
            SpecError: an unknown precision; layers that these kernels do not run.
        """
        return cls(chain, precision, device)

    @property
    def stride(self) -> int:
        """Columns of a product."""
        return self._groups[0].pads[0]

    def product(self, block: str, values: torch.Tensor, with_bias: bool) -> torch.Tensor:
        """Return the product of a block of hits, once per hit, float32 [N, stride], for rows to gather.

        block: its name. values: float32 [N, width]. with_bias: add the first layer's bias, which one of the
        gathered products brings.
        """
        wanted = self.chain.blocks[block].shape[1]
        if values.dtype != torch.float32 or values.ndim != 2 or values.shape[1] != wanted:
            raise InputError(f"block '{block}': expected float32 [N, {wanted}], found {values.dtype} {list(values.shape)}.")
        if block not in self._products:
            self._products.setdefault(block, self._packed_product(block))  # whichever thread comes first: forms go by identity
        out = torch.empty((len(values), self.stride), dtype=torch.float32, device=self.device)
        require_device(out, WHO)
        if len(values):
            self._launch(self._products[block], len(values), {block: values}, (), None, out, "next", with_bias)
        return out

    def _packed_product(self, block: str) -> Packed:
        from trkx.runtime.tiled.chains import Layer

        first = Layer(self.chain.blocks[block], self.chain.layers[0].bias, (), ())
        return packed({block: first.weight}, [first], self.precision, self.device, self.chain.reads_features)

    def states(
        self,
        rows: int,
        blocks: Mapping[str, torch.Tensor],
        gathers: Sequence[Gather] = (),
        pair: Pair | None = None,
        out: torch.Tensor | None = None,
        residual: bool = False,
        squash: bool = False,
    ) -> torch.Tensor:
        """Return the chain's output, float32 [rows, out].

        Args:
            rows: of the output.
            blocks: those that have a row for each row of the output, by name, float32 [rows, width].
            gathers: products of blocks of hits; one of them brings the bias.
            pair: positions and pairs of which the block "pair" is computed.
            out: where to write; may be one of the blocks.
            residual: add to what `out` holds.
            squash: take the sigmoid in the end.

        Raises:
            InputError: a block that is missing or has another shape.
        """
        check_out(self.chain, rows, out, residual)
        if self._dot is not None:
            raise InputError("this chain ends in a logit: call logits.")
        if out is None:
            out = torch.empty((rows, self.chain.out), dtype=torch.float32, device=self.device)
        self._run(rows, blocks, gathers, pair, out, "state", residual, squash)
        return out

    def logits(
        self, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather] = (), pair: Pair | None = None
    ) -> torch.Tensor:
        """Return the chain's one column, float32 [rows]; arguments as in `states`."""
        if self.chain.out != 1:
            raise InputError(f"a chain of {self.chain.out} columns has no logits: call states.")
        out = torch.empty(rows, dtype=torch.float32, device=self.device)
        self._run(rows, blocks, gathers, pair, out, "column" if self._dot is None else "logit", False, False)
        return out

    def _run(
        self, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather], pair: Pair | None, out: torch.Tensor,
        end: str, residual: bool, squash: bool,
    ) -> None:  # fmt: skip
        check_inputs(self.chain, rows, blocks, gathers, pair, stride=self.stride)
        require_device(out, WHO)
        if rows > MOST:
            raise InputError(f"{WHO}: expected at most {MOST} rows at once, found {rows}; give them in parts.")
        if not rows:
            return
        if len(self._groups) == 1:
            self._launch(self._groups[0], rows, blocks, gathers, pair, out, end, not gathers, residual, squash)
            return
        dtype, widest = held(self.precision), max(group.pads[-1] for group in self._groups[:-1])
        step = min(rows, max(FEWEST, HELD // (widest * dtype.itemsize)))
        buffers = torch.empty((2, step, widest), dtype=dtype, device=self.device)
        for start in range(0, rows, step):
            part, count = slice(start, start + step), min(step, rows - start)
            here = {name: values[part] for name, values in blocks.items()}
            some = [Gather(product, index[part]) for product, index in gathers]
            ends = None if pair is None else (pair[0], pair[1][part], pair[2][part])
            bias = not gathers
            for number, group in enumerate(self._groups[:-1]):
                to = buffers[number % 2][:, : group.pads[-1]]
                self._launch(group, count, here, some, ends, to, "next", bias)
                here, some, ends, bias = {"": to[:, : group.widths[-1]]}, [], None, True
            self._launch(self._groups[-1], count, here, some, ends, out[part], end, bias, residual, squash)

    def _launch(
        self, group: Packed, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather], pair: Pair | None,
        out: torch.Tensor, end: str, bias: bool, residual: bool = False, squash: bool = False,
    ) -> None:  # fmt: skip
        launch, constants = self._form(group, (tuple(blocks), end, bias, pair is not None, residual, squash))
        inputs, source, target = (None, None, None) if pair is None else pair
        r, phi, z, scales = (None, None, None, (0.0, 0.0, 0.0)) if inputs is None else inputs
        values = [block if block.stride(1) == 1 else block.contiguous() for block in blocks.values()]
        indices = [aligned(index) for _, index in gathers]
        source, target = (None if one is None else aligned(one) for one in (source, target))
        chain_kernel[(-(-rows // launch.rows),)](
            rows, tuple(values), tuple(product for product, _ in gathers), tuple(indices), r, phi, z, source, target, *scales,
            group.weights, group.features, group.vectors, out,
            BLOCK_STEPS=tuple(block.stride(0) for block in values),
            PRODUCT_STEPS=tuple(product.stride(0) for product, _ in gathers), OUT_STEP=out.stride(0),
            **constants, num_warps=launch.warps, num_stages=launch.stages,
        )  # fmt: skip

    def _form(self, group: Packed, form: tuple[Any, ...]) -> tuple[Launch, dict[str, Any]]:
        """Return the launch and constants of a group in a form, the arguments of `constants_of`; found once, in any thread."""
        key = (id(group), form)  # groups live as long as the chain
        if key not in self._forms:
            launch = launch_of(group, self._architecture)
            self._forms[key] = launch, constants_of(group, launch, *form)
        return self._forms[key]


def constants_of(
    group: Packed, launch: Launch, blocks: Sequence[str], end: str, bias: bool, pair: bool, residual: bool = False,
    squash: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return the compile-time arguments of `chain_kernel`. blocks: names of those given as rows, in their order."""
    return {
        "INPUTS": tuple(group.inputs[name] for name in blocks),
        "PLACES": (*(group.places[name] for name in blocks), group.places[LATER]),
        "WIDTHS": group.widths,
        "PADS": group.pads,
        "LOWS": tuple(first_tile(pad) for pad in group.pads),
        "STEPS": tuple(CODES[word] for words in group.steps for word in words),
        "BEGINS": tuple(accumulate((len(words) for words in group.steps), initial=0)),
        "SCALES": group.scales,
        "EPS": group.eps,
        "PRECISION": launch.product,
        "EXACT": launch.exact,
        "READS_FEATURES": group.reads_features,
        "BIAS": bias,
        "PAIR": pair,
        "END": end,
        "RESIDUAL": residual,
        "SQUASH": squash,
        "CHUNKS": tuple(group.chunks[name] for name in blocks),
        "TILE": launch.rows,
    }


def _grouped(layers: Sequence[Layer], most: int) -> list[list[Layer]]:
    """Return layers that one launch runs together: those of at most `most` columns that follow each other, or one wide one."""
    groups: list[list[Layer]] = []
    for layer in layers:
        narrow = padded(len(layer.bias)) <= most
        if groups and narrow and padded(len(groups[-1][-1].bias)) <= most:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups
