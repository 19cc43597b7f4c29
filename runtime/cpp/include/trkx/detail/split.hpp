// What edge contraction has to look at: the components with a negative edge inside, one after the other in memory.
//
// Only an edge above 0 starts a contraction, so no cluster ever leaves a component of these edges. And a component that has no
// edge below 0 between its hits becomes one cluster: sums between its parts never fall, and there is always a positive one left.
// In events that is most of them.
#pragma once

#ifdef __FAST_MATH__
#error "trkx: compile without -ffast-math (-Ofast); weights are rounded, and NaN is told from numbers, by IEEE arithmetic."
#endif

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <trkx/detail/contraction.hpp>
#include <trkx/edges.hpp>

namespace trkx::detail {

inline constexpr double weight_unit = 1048576.0;  // weights are whole numbers of 1 / 2^20: sums do not depend on their order
inline constexpr double weight_limit = 1e4;       // largest weight of one edge; no logit of a sound network is near it

/// Returns a weight, not NaN, in whole units; halves go to the even one.
inline std::int64_t whole(double weight) {
    static_assert(std::numeric_limits<double>::is_iec559);
    constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52: added to it, a number below 2^51 is rounded to a whole one
    const double clipped = std::min(std::max(weight, -weight_limit), weight_limit) * weight_unit;
    return std::bit_cast<std::int64_t>(clipped + shift) - std::bit_cast<std::int64_t>(shift);
}

/// Hits in the order of (component, hit). place: of each hit, [N]. hit: at each place, [N]. first: each component's first place,
/// [C + 1].
struct Places {
    std::vector<std::size_t> place, hit, first;

    explicit Places(const std::vector<std::int64_t>& component) : place(component.size()), hit(component.size()) {
        const std::int64_t last = component.empty() ? -1 : *std::max_element(component.begin(), component.end());
        first.assign(static_cast<std::size_t>(last + 2), 0);
        for (const std::int64_t number : component) ++first[static_cast<std::size_t>(number) + 1];
        for (std::size_t number = 1; number < first.size(); ++number) first[number] += first[number - 1];
        std::vector<std::size_t> free = first;
        for (std::size_t n = 0; n < component.size(); ++n) {
            place[n] = free[static_cast<std::size_t>(component[n])]++;
            hit[place[n]] = n;
        }
    }
};

/// Returns the edges inside components that have a negative one, ends as hits, low below high; no self pairs, parallel ones as
/// they are. edges, weight: of hits that exist, no weight NaN. component: of each hit, of the edges above 0.
inline std::vector<Weighted> edges_inside(const Edges& edges, std::span<const double> weight,
                                          const std::vector<std::int64_t>& component) {
    std::vector<Weighted> found;
    std::vector<char> mixed(component.size());
    for (std::size_t edge = 0; edge < edges.size(); ++edge) {
        const std::int64_t a = edges.source()[edge], b = edges.target()[edge];
        const std::int64_t number = component[static_cast<std::size_t>(a)];
        if (number != component[static_cast<std::size_t>(b)] || a == b) continue;
        const std::int64_t units = whole(weight[edge]);
        if (units < 0) mixed[static_cast<std::size_t>(number)] = 1;
        found.push_back({std::min(a, b), std::max(a, b), units});
    }
    std::erase_if(found, [&](const Weighted& edge) {
        return !mixed[static_cast<std::size_t>(component[static_cast<std::size_t>(edge.low)])];
    });
    return found;
}

/// Returns the edges sorted by (low, high), each pair once with the sum of its weights. size: above every end.
inline std::vector<Weighted> summed(const std::vector<Weighted>& edges, std::size_t size) {
    std::vector<std::size_t> place(size + 1);
    for (const Weighted& edge : edges) ++place[static_cast<std::size_t>(edge.low) + 1];
    for (std::size_t n = 0; n < size; ++n) place[n + 1] += place[n];
    std::vector<Weighted> sorted(edges.size());
    for (const Weighted& edge : edges) sorted[place[static_cast<std::size_t>(edge.low)]++] = edge;
    std::size_t kept = 0;
    for (std::size_t begin = 0, end; begin < sorted.size(); begin = end) {
        for (end = begin + 1; end < sorted.size() && sorted[end].low == sorted[begin].low;) ++end;
        std::sort(sorted.begin() + static_cast<std::ptrdiff_t>(begin), sorted.begin() + static_cast<std::ptrdiff_t>(end),
                  [](const Weighted& a, const Weighted& b) { return a.high < b.high; });
        const std::size_t start = kept;
        for (std::size_t n = begin; n < end; ++n) {
            if (kept > start && sorted[kept - 1].high == sorted[n].high)
                sorted[kept - 1].weight += sorted[n].weight;
            else
                sorted[kept++] = sorted[n];
        }
    }
    sorted.resize(kept);
    return sorted;
}

}  // namespace trkx::detail
