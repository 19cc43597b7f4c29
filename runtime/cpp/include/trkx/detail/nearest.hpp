// The nearest K without the pairs: how far each hit's K-th neighbour is, and which pairs that leaves.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include <trkx/detail/blocks.hpp>
#include <trkx/detail/exact.hpp>

namespace trkx::detail {

/// How far each hit's K-th neighbour is; neighbours are ranked by distance, ties by lower index.
/// distance: squared, [N], by original index, infinite where a hit has no more than K neighbours. id: [N], the neighbour's
/// original index. truncated: hits with more than K.
struct Limits {
    std::vector<double> distance;
    std::vector<std::int32_t> id;
    std::int64_t truncated = 0;

    Limits() = default;
    explicit Limits(std::size_t count) : distance(count, std::numeric_limits<double>::infinity()), id(count) {}
};

/// Ranks the neighbours of one hit after the other.
class Ranking {
public:
    Ranking(const Blocks& blocks, std::uint64_t k_max) : blocks_(blocks), k_max_(k_max), places_(blocks.ids.size()) {
        std::iota(places_.data(), places_.data() + places_.size(), 0);
    }

    /// 0, 1, 2 …, as long as blocks.ids.
    const std::int32_t* places() const { return places_.data(); }

    /// Fills in the limit of point i, given the places of all of its neighbours.
    void limit(std::size_t i, std::span<const std::int32_t> mates, Limits& limits) {
        if (mates.size() <= k_max_) return;
        const auto own = static_cast<std::size_t>(blocks_.ids[i]);
        const float* const point = blocks_.points.data() + i * blocks_.dim;
        ++limits.truncated;
        ranked_.clear();
        for (const std::int32_t mate : mates) {
            const auto place = static_cast<std::size_t>(mate);
            ranked_.push_back(
                {squared_distance(point, blocks_.points.data() + place * blocks_.dim, blocks_.dim), blocks_.ids[place]});
        }
        const auto last = ranked_.begin() + static_cast<std::ptrdiff_t>(k_max_ - 1);
        std::nth_element(ranked_.begin(), last, ranked_.end());
        limits.distance[own] = last->distance;
        limits.id[own] = last->id;
    }

private:
    struct Neighbour {
        double distance;
        std::int32_t id;
        bool operator<(const Neighbour& other) const {
            return distance < other.distance || (distance == other.distance && id < other.id);
        }
    };

    const Blocks& blocks_;
    std::uint64_t k_max_;
    Buffer<std::int32_t> places_;
    std::vector<Neighbour> ranked_;
};

/// Keeps, in place and in their order, the keys (low << half | high) of pairs that at least one of their ends counts among its
/// nearest; returns how many. points: [N, dim], by original index.
inline std::size_t admitted(std::int64_t* keys, std::size_t size, int half, const float* points, std::size_t dim,
                            const Limits& limits) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const std::int64_t lower = (std::int64_t{1} << half) - 1;
    std::size_t kept = 0;
    for (std::size_t n = 0; n < size; ++n) {
        const auto low = static_cast<std::size_t>(keys[n] >> half), high = static_cast<std::size_t>(keys[n] & lower);
        bool stays = limits.distance[low] == infinity || limits.distance[high] == infinity;
        if (!stays) {
            const double distance = squared_distance(points + low * dim, points + high * dim, dim);
            const auto counts = [&](std::size_t own, std::size_t other) {
                return distance < limits.distance[own]
                       || (distance == limits.distance[own] && static_cast<std::int32_t>(other) <= limits.id[own]);
            };
            stays = counts(low, high) || counts(high, low);
        }
        keys[kept] = keys[n];
        kept += stays;
    }
    return kept;
}

}  // namespace trkx::detail
