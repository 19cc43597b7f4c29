"""The kernel of chains: a tile of rows through one layer or several, from what the first one gathers to logits or states.

Chains of narrow layers are one launch, and nothing between layers leaves the registers. Of wide ones each layer is a launch, and
a row of it is whole in one program, which norms need. Weights stand as in torch, outputs by inputs, filled with zeros.
"""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel
from trkx.runtime.cuda.networks.pair_features import added_feature, added_pair
from trkx.runtime.cuda.networks.steps import multiplied, sigmoid, stepped


@kernel("rows")
def chain_kernel(
    rows: tl.tensor, blocks: tl.tensor, products: tl.tensor, indices: tl.tensor, r: tl.tensor, phi: tl.tensor, z: tl.tensor,
    source: tl.tensor, target: tl.tensor, r_scale: tl.tensor, phi_scale: tl.tensor, z_scale: tl.tensor, weights: tl.tensor,
    features: tl.tensor, vectors: tl.tensor, out: tl.tensor, BLOCK_STEPS: tl.constexpr, PRODUCT_STEPS: tl.constexpr,
    OUT_STEP: tl.constexpr, INPUTS: tl.constexpr, PLACES: tl.constexpr, WIDTHS: tl.constexpr, PADS: tl.constexpr,
    STEPS: tl.constexpr, BEGINS: tl.constexpr, SCALES: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
    EXACT: tl.constexpr, READS_FEATURES: tl.constexpr, BIAS: tl.constexpr, PAIR: tl.constexpr, END: tl.constexpr,
    RESIDUAL: tl.constexpr, SQUASH: tl.constexpr, CHUNKS: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Program p: rows from p TILE on.

    blocks: pointers to float32, or what "next" wrote, [rows, INPUTS[i]], whose rows are BLOCK_STEPS[i] apart. products,
    indices: see `Gather`. weights: of blocks, from PLACES[i] on, then of later layers, from PLACES[-1] on. features: weights
    that stay float32, by input; of the pair first, or of blocks if READS_FEATURES. vectors: of each layer its bias, then
    factor and summand of its SCALES[l] scales. STEPS: codes, of layer l from BEGINS[l] on. BIAS: add the first layer's.
    EXACT: how features of pairs are multiplied. END: "logit", the product with one more vector, and a bias; "column", the
    first column; "state", added to what is there if RESIDUAL, then a sigmoid if SQUASH; "next", in the type of `out`, with
    zeros from WIDTHS[-1] on. CHUNKS: inputs at a time.
    """
    row = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    live = row < rows
    here = first_product(
        row, live, blocks, products, indices, weights, features, vectors, BLOCK_STEPS, PRODUCT_STEPS,
        INPUTS, PLACES, PADS[0], PRECISION, READS_FEATURES, BIAS, CHUNKS, TILE,
    )  # fmt: skip
    if PAIR:
        a, b = tl.load(source + row, mask=live, other=0).to(tl.int64), tl.load(target + row, mask=live, other=0).to(tl.int64)
        columns = tl.arange(0, PADS[0])
        here = added_pair(here, r, phi, z, r_scale, phi_scale, z_scale, a, b, live, features, columns, TILE, EXACT)
    here = stepped(here, vectors + PADS[0], tl.arange(0, PADS[0]), STEPS, BEGINS[0], BEGINS[1], WIDTHS[0], PADS[0], EPS)
    vectors += PADS[0] * (1 + 2 * SCALES[0])
    weights += PLACES[len(INPUTS)]
    for layer in tl.static_range(1, len(WIDTHS)):
        here = next_product(here, weights, vectors, PADS[layer - 1], PADS[layer], TILE, PRECISION)
        here = stepped(
            here, vectors + PADS[layer], tl.arange(0, PADS[layer]), STEPS, BEGINS[layer], BEGINS[layer + 1], WIDTHS[layer],
            PADS[layer], EPS,
        )  # fmt: skip
        weights += PADS[layer - 1] * PADS[layer]
        vectors += PADS[layer] * (1 + 2 * SCALES[layer])
    ended(
        here, row, live, vectors, out, OUT_STEP, WIDTHS[len(WIDTHS) - 1], PADS[len(WIDTHS) - 1], END, RESIDUAL, SQUASH
    )


@kernel()
def first_product(
    row: tl.tensor, live: tl.tensor, blocks: tl.tensor, products: tl.tensor, indices: tl.tensor, weights: tl.tensor,
    features: tl.tensor, vectors: tl.tensor, BLOCK_STEPS: tl.constexpr, PRODUCT_STEPS: tl.constexpr, INPUTS: tl.constexpr,
    PLACES: tl.constexpr, PAD: tl.constexpr, PRECISION: tl.constexpr, READS_FEATURES: tl.constexpr,
    BIAS: tl.constexpr, CHUNKS: tl.constexpr, TILE: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the first layer of gathered products and blocks of rows, float32 [TILE, PAD]."""
    columns = tl.arange(0, PAD)
    total = tl.zeros([TILE, PAD], tl.float32)
    if BIAS:
        total += tl.load(vectors + columns)[None, :]
    for g in tl.static_range(len(products)):
        hit = tl.load(indices[g] + row, mask=live, other=0).to(tl.int64)
        total += tl.load((products[g] + hit * PRODUCT_STEPS[g])[:, None] + columns[None, :], mask=live[:, None], other=0.0)
    if READS_FEATURES:
        for i in tl.static_range(len(INPUTS)):
            for k in range(INPUTS[i]):
                value = tl.load(blocks[i] + row * BLOCK_STEPS[i] + k, mask=live, other=0.0)
                total = added_feature(total, value, features + PLACES[i] + k * PAD, columns)
    else:
        for i in tl.static_range(len(INPUTS)):
            inner = tl.arange(0, CHUNKS[i])
            step = (INPUTS[i] + CHUNKS[i] - 1) // CHUNKS[i] * CHUNKS[i]
            for k in range(0, INPUTS[i], CHUNKS[i]):
                inside = live[:, None] & (k + inner < INPUTS[i])[None, :]
                value = tl.load((blocks[i] + row * BLOCK_STEPS[i])[:, None] + (k + inner)[None, :], mask=inside, other=0.0)
                weight = tl.load(weights + PLACES[i] + columns[None, :] * step + (k + inner)[:, None])
                total = multiplied(value, weight, total, PRECISION)
    return total


@kernel()
def next_product(
    here: tl.tensor, weights: tl.tensor, vectors: tl.tensor, BEFORE: tl.constexpr, PAD: tl.constexpr, TILE: tl.constexpr,
    PRECISION: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return a later layer of rows in registers, [TILE, BEFORE] to [TILE, PAD], with its bias, which begins vectors."""
    inner, columns = tl.arange(0, BEFORE), tl.arange(0, PAD)
    weight = tl.load(weights + columns[None, :] * BEFORE + inner[:, None])
    total = tl.zeros([TILE, PAD], tl.float32) + tl.load(vectors + columns)[None, :]
    return multiplied(here, weight, total, PRECISION)


@kernel()
def ended(
    here: tl.tensor, row: tl.tensor, live: tl.tensor, vectors: tl.tensor, out: tl.tensor, OUT_STEP: tl.constexpr,
    WIDTH: tl.constexpr, PAD: tl.constexpr, END: tl.constexpr, RESIDUAL: tl.constexpr,
    SQUASH: tl.constexpr,
) -> None:  # fmt: skip
    """Write what becomes of rows, see `chain_kernel`."""
    columns = tl.arange(0, PAD)
    if END == "logit":
        real = (columns < WIDTH)[None, :]
        product = tl.where(real, here * tl.load(vectors + columns)[None, :], 0.0)
        tl.store(out + row, tl.sum(product, 1) + tl.load(vectors + PAD), mask=live)
    elif END == "column":
        tl.store(out + row, tl.sum(tl.where((columns == 0)[None, :], here, 0.0), 1), mask=live)
    else:
        place = (out + row * OUT_STEP)[:, None] + columns[None, :]
        if END == "next":
            tl.store(place, tl.where((columns < WIDTH)[None, :], here, 0.0).to(out.dtype.element_ty), mask=live[:, None])
        else:
            inside = live[:, None] & (columns < WIDTH)[None, :]
            if RESIDUAL:
                here += tl.load(place, mask=inside, other=0.0)
            if SQUASH:
                here = sigmoid(here)
            tl.store(place, here, mask=inside)

