// The search of one event: blocks in turn, each with the blocks near it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <trkx/detail/blocks.hpp>
#include <trkx/detail/exact.hpp>
#include <trkx/detail/kernels.hpp>
#include <trkx/detail/nearest.hpp>
#include <trkx/detail/pair_sort.hpp>

namespace trkx::detail {

/// Finds the pairs of one event, block by block. points: checked, at least two, and there as long as this is.
class Seeker {
public:
    /// Throws InputError where more than 2 * max_pairs neighbours are met while the nearest k_max are ranked.
    Seeker(std::span<const float> points, std::size_t dim, double radius, std::optional<std::int64_t> k_max,
           std::int64_t max_pairs, const Kernels& kernels)
        : points_(points),
          radius_(radius),
          max_pairs_(max_pairs),
          half_(key_bits(points.size() / dim)),
          kernels_(kernels),
          blocks_(Blocks::of(points, dim)),
          near_(blocks_.size),
          listed_(blocks_.size),
          masks_(blocks_.size) {
        search_ = {Reach::of(radius), near_.data(), masks_.data(), listed_.data(), 0};
        if (k_max) rank(*k_max);
    }

    std::size_t blocks() const { return blocks_.size; }
    int half() const { return half_; }
    /// Hits with more than k_max neighbours.
    std::int64_t truncated() const { return limits_.truncated; }

    /// Hands the keys (low << half | high) of the pairs that the points of a block make with those after them to a sink, a point
    /// at a time: sink.room(size) returns where to write so many and 16 more, sink.keep(size) says how many stay.
    /// Throws InputError where more than max_pairs were found in all, before k_max.
    template <class Sink>
    void search(std::size_t block, Sink& sink) {
        look_around(block, block);
        for (std::size_t i = block * lanes; i < std::min((block + 1) * lanes, blocks_.count); ++i) {
            const std::uint32_t later = full & (~std::uint32_t{1} << (i % lanes));
            const std::size_t size = kernels_.near_one(blocks_, search_, i, later, blocks_.ids.data(), mates_.data());
            found_ += static_cast<std::int64_t>(size);
            if (found_ > max_pairs_) throw too_many_pairs(blocks_.count, radius_, max_pairs_);
            std::int64_t* const keys = sink.room(size);
            kernels_.write_keys(blocks_.ids[i], mates_.data(), size, half_, keys);
            sink.keep(limits_.truncated ? admitted(keys, size, half_, points_.data(), blocks_.dim, limits_) : size);
        }
    }

private:
    /// Finds the blocks, from `start` on, near a block.
    void look_around(std::size_t block, std::size_t start) {
        search_.size = kernels_.near_blocks(block, start, blocks_, search_.reach.outer, near_.data());
        kernels_.near_lanes(block, blocks_, search_.reach.outer, near_.data(), search_.size, masks_.data());
        mates_.make_room((search_.size + 1) * lanes);
    }

    /// Finds how far the k_max-th neighbour of each hit is.
    void rank(std::int64_t k_max) {
        limits_ = Limits(blocks_.count);
        std::int64_t found = 0;
        Ranking ranking(blocks_, static_cast<std::uint64_t>(k_max));
        for (std::size_t block = 0; block < blocks_.size; ++block) {
            look_around(block, 0);
            for (std::size_t i = block * lanes; i < std::min((block + 1) * lanes, blocks_.count); ++i) {
                const std::uint32_t others = full & ~(std::uint32_t{1} << (i % lanes));
                const std::size_t size = kernels_.near_one(blocks_, search_, i, others, ranking.places(), mates_.data());
                found += static_cast<std::int64_t>(size);
                if (found / 2 > max_pairs_) throw too_many_pairs(blocks_.count, radius_, max_pairs_);
                ranking.limit(i, {mates_.data(), size}, limits_);
            }
        }
    }

    std::span<const float> points_;
    double radius_;
    std::int64_t max_pairs_, found_ = 0;
    int half_;
    const Kernels& kernels_;
    Blocks blocks_;
    Buffer<std::int32_t> near_, listed_, mates_;
    Buffer<std::uint16_t> masks_;
    Search search_;
    Limits limits_;
};

}  // namespace trkx::detail
