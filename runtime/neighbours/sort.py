"""Pairs in order: a radix sort of keys that threads share, once by the top bits, then bucket by bucket inside the cache."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import in_threads
from trkx.runtime.jit import compiled

Int = NDArray[np.int64]
TOP_BITS = 9  # 512 buckets: a bucket of 10 million keys fits a core's cache twice
PIECES = 8  # a thread
FEW = 1 << 17  # keys that are sorted at once
DIGIT = 11  # bits a pass, at most


def key_bits(count: int) -> int:
    """Return the bits that hold an index below `count`: a pair's key is low << bits | high."""
    return max(1, (count - 1).bit_length())


def bucket_counts(keys: Int, half: int) -> Int:
    """Return how many keys each bucket gets, int64 [512]; half: bits of one index."""
    counts = np.zeros(1 << TOP_BITS, np.int64)
    count_buckets(keys, max(0, 2 * half - TOP_BITS), counts)
    return counts


def sorted_pairs(keys: list[Int], counts: list[Int], half: int, threads: int) -> Int:
    """Return pairs sorted by (low, high), int64 [2, E], of different keys low << half | high; empties `keys`.

    counts: bucket_counts of each array of keys.
    """
    shift = max(0, 2 * half - TOP_BITS)
    per_task = np.array(counts)
    sizes = per_task.sum(axis=0)
    ends = np.cumsum(sizes)
    if ends[-1] <= FEW:
        merged = np.sort(np.concatenate(keys))
        return np.stack([merged >> half, merged & ((1 << half) - 1)])
    starts = ends - sizes
    places = np.cumsum(per_task, axis=0) - per_task + starts
    pairs = np.empty((2, int(ends[-1])), np.int64)
    merged = pairs[1]  # the keys wait where the pairs will be
    in_threads(lambda task: _scatter(keys, task, shift, places[task], merged), len(keys), threads)
    keys.clear()
    passes = -(-shift // DIGIT)
    digit = -(-shift // max(1, passes))
    pieces = np.searchsorted(ends, np.linspace(0, ends[-1], PIECES * threads + 1)[1:-1])  # of about the same number of keys
    pieces = np.r_[0, pieces, len(ends)]
    in_threads(
        lambda n: sort_buckets(merged, starts, ends, int(pieces[n]), int(pieces[n + 1]), passes, digit, half, pairs),
        len(pieces) - 1, threads,
    )
    return pairs


def _scatter(keys: list[Int], task: int, shift: int, places: Int, merged: Int) -> None:
    fill_buckets(keys[task], shift, places, merged)
    keys[task] = keys[task][:0].copy()  # gives the memory back


@compiled
def count_buckets(keys: Int, shift: int, counts: Int) -> None:
    """Add one to counts[key >> shift] for each key."""
    for key in keys:
        counts[key >> shift] += 1


@compiled
def fill_buckets(keys: Int, shift: int, places: Int, out: Int) -> None:
    """Write each key to out[places[key >> shift]]; the places move on."""
    for key in keys:
        bucket = key >> shift
        out[places[bucket]] = key
        places[bucket] += 1


@compiled
def sort_buckets(
    keys: Int, starts: Int, ends: Int, first: int, last: int, passes: int, digit: int, half: int, pairs: Int
) -> None:
    """Sort the keys of buckets [first, last) into pairs [2, E]; keys may be a row of it."""
    for bucket in range(first, last):
        start, end = starts[bucket], ends[bucket]
        if end > start:
            sort_bucket(keys[start:end], passes, digit, half, pairs[:, start:end])


@compiled
def sort_bucket(keys: Int, passes: int, digit: int, half: int, pairs: Int) -> None:
    """Write keys, sorted by their lowest passes * digit bits, to pairs [2, len(keys)] as (key >> half, its lowest half bits).

    keys is used as scratch, and may be a row of pairs.
    """
    size = len(keys)
    counts = np.zeros((passes, 1 << digit), np.int64)
    for key in keys:
        for n in range(passes):
            counts[n, (key >> (n * digit)) & ((1 << digit) - 1)] += 1
    source, target = keys, np.empty(size, np.int64)
    for n in range(passes):
        ends, total = counts[n], 0
        for value in range(1 << digit):
            total, ends[value] = total + ends[value], total
        for m in range(size):
            key = source[m]
            value = (key >> (n * digit)) & ((1 << digit) - 1)
            target[ends[value]] = key
            ends[value] += 1
        source, target = target, source
    for m in range(size):
        pairs[0, m] = source[m] >> half
        pairs[1, m] = source[m] & ((1 << half) - 1)
