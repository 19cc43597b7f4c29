"""The kernel of chains: a tile of rows through one layer or several, from what the first one gathers to logits or states.

Chains of narrow layers are one launch, and nothing between layers leaves the registers. Of wide ones each layer is a launch, and
a row of it is whole in one program, which norms need. Weights stand as in torch, outputs by inputs, filled with zeros.

Tiles of Triton have powers of 2 of columns. A layer of 96 columns is held in two, of 64 and of 32: `low` and `high`; of a layer
that fits into one, `high` is `low` again, and nothing looks at it.
"""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel
from trkx.runtime.cuda.networks.pair_features import added_feature, added_pair, features_of_pair
from trkx.runtime.cuda.networks.steps import inside, multiplied, sigmoid, stepped


@kernel("rows")
def chain_kernel(
    rows: tl.tensor, blocks: tl.tensor, products: tl.tensor, indices: tl.tensor, r: tl.tensor, phi: tl.tensor, z: tl.tensor,
    source: tl.tensor, target: tl.tensor, r_scale: tl.tensor, phi_scale: tl.tensor, z_scale: tl.tensor, weights: tl.tensor,
    features: tl.tensor, vectors: tl.tensor, out: tl.tensor, BLOCK_STEPS: tl.constexpr, PRODUCT_STEPS: tl.constexpr,
    OUT_STEP: tl.constexpr, INPUTS: tl.constexpr, PLACES: tl.constexpr, WIDTHS: tl.constexpr, PADS: tl.constexpr,
    LOWS: tl.constexpr, STEPS: tl.constexpr, BEGINS: tl.constexpr, SCALES: tl.constexpr, EPS: tl.constexpr,
    PRECISION: tl.constexpr, EXACT: tl.constexpr, READS_FEATURES: tl.constexpr, BIAS: tl.constexpr, PAIR: tl.constexpr,
    END: tl.constexpr, RESIDUAL: tl.constexpr, SQUASH: tl.constexpr, CHUNKS: tl.constexpr, TILE: tl.constexpr,
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
    row = tl.program_id(0) * TILE + tl.arange(0, TILE)
    live = row < rows
    near = tl.minimum(row, rows - 1)  # rows beyond the last one are read as it, and not written: loads need no mask
    low, high = first_product(
        near, blocks, products, indices, weights, features, vectors, BLOCK_STEPS, PRODUCT_STEPS,
        INPUTS, PLACES, LOWS[0], PADS[0], PRECISION, READS_FEATURES, BIAS, CHUNKS, TILE,
    )  # fmt: skip
    if PAIR:
        a, b = tl.load(source + near).to(tl.int64), tl.load(target + near).to(tl.int64)
        values = features_of_pair(r, phi, z, r_scale, phi_scale, z_scale, a, b, TILE)
        low = added_pair(low, values, features, 0, LOWS[0], PADS[0], EXACT)
        if PADS[0] > LOWS[0]:
            high = added_pair(high, values, features, LOWS[0], PADS[0] - LOWS[0], PADS[0], EXACT)
    low, high = stepped(
        low, high, vectors + PADS[0], STEPS, BEGINS[0], BEGINS[1], LOWS[0], PADS[0], WIDTHS[0], EPS, PRECISION
    )
    vectors += PADS[0] * (1 + 2 * SCALES[0])
    weights += PLACES[len(INPUTS)]
    for layer in tl.static_range(1, len(WIDTHS)):
        low, high = next_product(
            low, high, weights, vectors, LOWS[layer - 1], PADS[layer - 1], LOWS[layer], PADS[layer], TILE, PRECISION
        )
        low, high = stepped(
            low, high, vectors + PADS[layer], STEPS, BEGINS[layer], BEGINS[layer + 1], LOWS[layer], PADS[layer], WIDTHS[layer],
            EPS, PRECISION,
        )  # fmt: skip
        weights += PADS[layer - 1] * PADS[layer]
        vectors += PADS[layer] * (1 + 2 * SCALES[layer])
    last: tl.constexpr = len(WIDTHS) - 1
    ended(low, high, row, live, vectors, out, OUT_STEP, LOWS[last], PADS[last], WIDTHS[last], END, RESIDUAL, SQUASH)


@kernel()
def started(vectors: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr, TILE: tl.constexpr, BIAS: tl.constexpr) -> tl.tensor:
    """Return what a sum begins with, float32 [TILE, COUNT]: zeros, or the bias, which begins vectors."""
    if BIAS:
        return tl.broadcast_to(tl.load(vectors + BEGIN + tl.arange(0, COUNT))[None, :], (TILE, COUNT))
    else:  # noqa: RET505 - branches of the compiler
        return tl.zeros([TILE, COUNT], tl.float32)


@kernel()
def gathered(
    product: tl.tensor, hit: tl.tensor, STEP: tl.constexpr, BEGIN: tl.constexpr, COUNT: tl.constexpr
) -> tl.tensor:
    """Return columns BEGIN to BEGIN + COUNT of the products of hits."""
    return tl.load((product + hit * STEP)[:, None] + (BEGIN + tl.arange(0, COUNT))[None, :])


@kernel()
def weighed(
    total: tl.tensor, values: tl.tensor, weights: tl.tensor, inner: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr,
    STEP: tl.constexpr, PRECISION: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return total + values times columns BEGIN to BEGIN + COUNT of weights, [outputs, STEP], of which `inner` are read."""
    columns = BEGIN + tl.arange(0, COUNT)
    weight = tl.load(weights + columns[None, :] * STEP + inner[:, None])
    return multiplied(values, weight, total, PRECISION)


@kernel()
def first_product(
    row: tl.tensor, blocks: tl.tensor, products: tl.tensor, indices: tl.tensor, weights: tl.tensor,
    features: tl.tensor, vectors: tl.tensor, BLOCK_STEPS: tl.constexpr, PRODUCT_STEPS: tl.constexpr, INPUTS: tl.constexpr,
    PLACES: tl.constexpr, LOW: tl.constexpr, PAD: tl.constexpr, PRECISION: tl.constexpr, READS_FEATURES: tl.constexpr,
    BIAS: tl.constexpr, CHUNKS: tl.constexpr, TILE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Return the first layer of gathered products and blocks of rows, float32, in both parts."""
    HIGH: tl.constexpr = PAD - LOW
    low = started(vectors, 0, LOW, TILE, BIAS)
    high = low
    if HIGH:
        high = started(vectors, LOW, HIGH, TILE, BIAS)
    for g in tl.static_range(len(products)):
        hit = tl.load(indices[g] + row).to(tl.int64)
        one = gathered(products[g], hit, PRODUCT_STEPS[g], 0, LOW)
        low = low + one if BIAS or g else one
        if HIGH:
            two = gathered(products[g], hit, PRODUCT_STEPS[g], LOW, HIGH)
            high = high + two if BIAS or g else two
    if READS_FEATURES:
        for i in tl.static_range(len(INPUTS)):
            for k in range(INPUTS[i]):
                value = tl.load(blocks[i] + row.to(tl.int64) * BLOCK_STEPS[i] + k)
                low = added_feature(low, value, features + PLACES[i] + k * PAD, 0, LOW)
                if HIGH:
                    high = added_feature(high, value, features + PLACES[i] + k * PAD, LOW, HIGH)
    else:
        for i in tl.static_range(len(INPUTS)):
            inner = tl.arange(0, CHUNKS[i])
            step = (INPUTS[i] + CHUNKS[i] - 1) // CHUNKS[i] * CHUNKS[i]
            for k in range(0, INPUTS[i], CHUNKS[i]):
                place = (blocks[i] + row.to(tl.int64) * BLOCK_STEPS[i])[:, None] + (k + inner)[None, :]
                if INPUTS[i] % CHUNKS[i]:
                    value = tl.load(place, mask=(k + inner < INPUTS[i])[None, :], other=0.0)
                else:
                    value = tl.load(place)
                low = weighed(low, value, weights + PLACES[i], k + inner, 0, LOW, step, PRECISION)
                if HIGH:
                    high = weighed(high, value, weights + PLACES[i], k + inner, LOW, HIGH, step, PRECISION)
    return low, high


@kernel()
def next_part(
    low: tl.tensor, high: tl.tensor, weights: tl.tensor, vectors: tl.tensor, LOW_BEFORE: tl.constexpr, BEFORE: tl.constexpr,
    BEGIN: tl.constexpr, COUNT: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return columns BEGIN to BEGIN + COUNT of a later layer of rows in registers, with its bias, which begins vectors."""
    total = started(vectors, BEGIN, COUNT, TILE, True)
    total = weighed(total, low, weights, tl.arange(0, LOW_BEFORE), BEGIN, COUNT, BEFORE, PRECISION)
    if BEFORE > LOW_BEFORE:
        inner = LOW_BEFORE + tl.arange(0, BEFORE - LOW_BEFORE)
        total = weighed(total, high, weights, inner, BEGIN, COUNT, BEFORE, PRECISION)
    return total


@kernel()
def next_product(
    low: tl.tensor, high: tl.tensor, weights: tl.tensor, vectors: tl.tensor, LOW_BEFORE: tl.constexpr, BEFORE: tl.constexpr,
    LOW: tl.constexpr, PAD: tl.constexpr, TILE: tl.constexpr, PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Return a later layer of rows in registers, in both parts; arguments as of `next_part`."""
    first = next_part(low, high, weights, vectors, LOW_BEFORE, BEFORE, 0, LOW, TILE, PRECISION)
    second = first
    if PAD > LOW:
        second = next_part(low, high, weights, vectors, LOW_BEFORE, BEFORE, LOW, PAD - LOW, TILE, PRECISION)
    return first, second


@kernel()
def judged(x: tl.tensor, vectors: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """Return the product of columns BEGIN to BEGIN + COUNT of rows with a vector, which begins vectors, float32 [TILE]."""
    return tl.sum(inside(x * tl.load(vectors + BEGIN + tl.arange(0, COUNT))[None, :], BEGIN, COUNT, WIDTH), 1)


@kernel()
def written(
    x: tl.tensor, row: tl.tensor, live: tl.tensor, out: tl.tensor, OUT_STEP: tl.constexpr, BEGIN: tl.constexpr,
    COUNT: tl.constexpr, WIDTH: tl.constexpr, END: tl.constexpr, RESIDUAL: tl.constexpr, SQUASH: tl.constexpr,
) -> None:  # fmt: skip
    """Write columns BEGIN to BEGIN + COUNT of rows, as "next" or "state"."""
    columns = BEGIN + tl.arange(0, COUNT)
    place = (out + row.to(tl.int64) * OUT_STEP)[:, None] + columns[None, :]
    if END == "next":
        tl.store(place, inside(x, BEGIN, COUNT, WIDTH).to(out.dtype.element_ty), mask=live[:, None])
    else:
        real = live[:, None]
        if WIDTH < BEGIN + COUNT:
            real &= (columns < WIDTH)[None, :]
        if RESIDUAL:
            x += tl.load(place, mask=real, other=0.0)
        if SQUASH:
            x = sigmoid(x)
        tl.store(place, x, mask=real)


@kernel()
def ended(
    low: tl.tensor, high: tl.tensor, row: tl.tensor, live: tl.tensor, vectors: tl.tensor, out: tl.tensor,
    OUT_STEP: tl.constexpr, LOW: tl.constexpr, PAD: tl.constexpr, WIDTH: tl.constexpr, END: tl.constexpr,
    RESIDUAL: tl.constexpr, SQUASH: tl.constexpr,
) -> None:  # fmt: skip
    """Write what becomes of rows, see `chain_kernel`."""
    if END == "logit":
        logit = judged(low, vectors, 0, LOW, WIDTH)
        if PAD > LOW:
            logit += judged(high, vectors, LOW, PAD - LOW, WIDTH)
        tl.store(out + row, logit + tl.load(vectors + PAD), mask=live)
    elif END == "column":
        tl.store(out + row, tl.sum(tl.where((tl.arange(0, LOW) == 0)[None, :], low, 0.0), 1), mask=live)
    else:
        written(low, row, live, out, OUT_STEP, 0, LOW, WIDTH, END, RESIDUAL, SQUASH)
        if PAD > LOW:
            written(high, row, live, out, OUT_STEP, LOW, PAD - LOW, WIDTH, END, RESIDUAL, SQUASH)
