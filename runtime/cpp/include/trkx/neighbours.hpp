// Fixed-radius neighbours: all pairs of hits that are near each other in the embedding, exact.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <trkx/detail/search.hpp>
#include <trkx/edges.hpp>

namespace trkx {

inline constexpr std::int64_t max_pairs_default = 100'000'000;
inline constexpr std::size_t block_pairs_default = 1 << 15;

/// Neighbours within a radius.
/// pairs: sources below targets, each unordered pair once, sorted by (source, target). truncated: number of hits that had more
/// than k_max neighbours, 0 without k_max.
struct Neighbours {
    Edges pairs;
    std::int64_t truncated = 0;
};

/// How many pairs a streamed search handed over, and how many hits had more than k_max neighbours.
struct Streamed {
    std::int64_t pairs = 0, truncated = 0;
};

namespace detail {

/// Decoded pairs, a block at a time.
template <class Callback>
class PairBlocks {
public:
    PairBlocks(int half, std::size_t most, Callback& callback)
        : half_(half), most_(std::max<std::size_t>(1, most)), callback_(callback) {}

    std::int64_t handed() const { return handed_; }
    std::int64_t* room(std::size_t size) {
        if (size + 16 > keys_.size() - filled_) {
            Buffer<std::int64_t> larger(2 * keys_.size() + size + 16);
            std::copy_n(keys_.data(), filled_, larger.data());
            keys_ = std::move(larger);
        }
        return keys_.data() + filled_;
    }
    void keep(std::size_t size) {
        filled_ += size;
        if (filled_ < most_) return;
        std::size_t start = 0;
        for (; filled_ - start >= most_; start += most_) hand_over(start, most_);
        std::copy(keys_.data() + start, keys_.data() + filled_, keys_.data());
        filled_ -= start;
    }
    void finish() {
        if (filled_) hand_over(0, filled_);
        filled_ = 0;
    }

private:
    void hand_over(std::size_t start, std::size_t size) {
        block_.data.resize(2 * size);
        const std::int64_t lower = (std::int64_t{1} << half_) - 1;
        std::int64_t* const low = block_.source();
        std::int64_t* const high = block_.target();
        for (std::size_t n = 0; n < size; ++n) {
            low[n] = keys_[start + n] >> half_;
            high[n] = keys_[start + n] & lower;
        }
        handed_ += static_cast<std::int64_t>(size);
        callback_(block_);
    }

    int half_;
    std::size_t most_, filled_ = 0;
    std::int64_t handed_ = 0;
    Callback& callback_;
    Buffer<std::int64_t> keys_;
    Edges block_;
};

/// As `trkx::radius_graph`, with kernels for a given kind of processor.
inline Neighbours radius_graph(std::span<const float> points, std::size_t dim, double radius, std::optional<std::int64_t> k_max,
                               std::int64_t max_pairs, const Kernels& kernels) {
    const std::size_t count = require_sense(points, dim, radius, k_max);
    require_size(points, dim, radius);
    if (count < 2) return {};
    Seeker seeker(points, dim, radius, k_max, max_pairs, kernels);
    FoundKeys keys(seeker.half());
    for (std::size_t block = 0; block < seeker.blocks(); ++block) seeker.search(block, keys);
    return {keys.sorted(), seeker.truncated()};
}

/// As `trkx::for_each_block`, with kernels for a given kind of processor.
template <class Callback>
Streamed for_each_block(std::span<const float> points, std::size_t dim, double radius, std::optional<std::int64_t> k_max,
                        Callback&& callback, std::size_t block_pairs, std::int64_t max_pairs, const Kernels& kernels) {
    const std::size_t count = require_sense(points, dim, radius, k_max);
    require_size(points, dim, radius);
    if (count < 2) return {};
    Seeker seeker(points, dim, radius, k_max, max_pairs, kernels);
    PairBlocks<std::remove_reference_t<Callback>> blocks(seeker.half(), block_pairs, callback);
    for (std::size_t block = 0; block < seeker.blocks(); ++block) seeker.search(block, blocks);
    blocks.finish();
    return {blocks.handed(), seeker.truncated()};
}

}  // namespace detail

/// Returns all pairs of points at a distance of `radius` or less: exact, and the same on every processor.
/// points: embedding, [N, dim] row-major, dim 1 to 32, finite, no coordinate beyond +-1e15. radius: at most 1e15; a pair at
/// exactly this distance counts (float64 sum of squares of float32 coordinates, compared with radius * radius). k_max: a pair
/// stays if at least one of its hits counts the other among its nearest k_max (ties by lower index); nothing keeps all.
/// max_pairs: InputError beyond so many pairs (before k_max), rather than running out of memory. Uses one thread, and may be
/// called from any number at once.
///
/// Throws InputError: points that are not finite or not [N, 1 … 32], a coordinate or radius beyond 1e15, too many pairs.
/// Throws SpecError: a radius that is not above 0, a k_max below 1.
inline Neighbours radius_graph(std::span<const float> points, std::size_t dim, double radius,
                               std::optional<std::int64_t> k_max = std::nullopt, std::int64_t max_pairs = max_pairs_default) {
    return detail::radius_graph(points, dim, radius, k_max, max_pairs, detail::fastest_kernels());
}

/// Hands all pairs of `radius_graph` to callback(Edges&), block_pairs at a time (the last time fewer), so that they never exist
/// all at once. Sources are below targets; pairs come in no order of indices, but always the same, and neighbours in space
/// together. The callback may change its block, and turn the pairs into edges where they are.
///
/// Throws as `radius_graph`; too many pairs may be found after some were handed over. What the callback throws comes through.
template <class Callback>
Streamed for_each_block(std::span<const float> points, std::size_t dim, double radius, std::optional<std::int64_t> k_max,
                        Callback&& callback, std::size_t block_pairs = block_pairs_default,
                        std::int64_t max_pairs = max_pairs_default) {
    return detail::for_each_block(points, dim, radius, k_max, callback, block_pairs, max_pairs, detail::fastest_kernels());
}

}  // namespace trkx
