// Edges of a hit graph: which end is the source, and the one order in which edges are kept.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <trkx/error.hpp>
#include <trkx/spec.hpp>

namespace trkx {

/// Edges, or unordered pairs, of hits, by index into the event's hits.
/// data: [2, E], contiguous: the sources of all edges, then their targets. The ONNX networks take it as `edge_index` as it is.
struct Edges {
    std::vector<std::int64_t> data;

    /// Number of edges, E.
    std::size_t size() const { return data.size() / 2; }
    bool empty() const { return data.size() < 2; }
    std::int64_t* source() { return data.data(); }
    const std::int64_t* source() const { return data.data(); }
    std::int64_t* target() { return data.data() + size(); }
    const std::int64_t* target() const { return data.data() + size(); }
};

/// Throws InputError unless edges are two rows of the same length and join hits 0 … num_hits - 1.
/// who: what the message begins with.
inline void require_edges(const Edges& edges, std::size_t num_hits, std::string_view who) {
    if (edges.data.size() % 2 != 0)
        throw InputError(std::string(who) + ": edges must be int64 [2, E], found " + std::to_string(edges.data.size())
                         + " numbers; give sources and targets as two rows.");
    std::uint64_t largest = 0;  // a number below 0 is a very large one
    for (const std::int64_t hit : edges.data) largest = std::max(largest, static_cast<std::uint64_t>(hit));
    if (edges.data.empty() || largest < num_hits) return;
    const auto [low, high] = std::minmax_element(edges.data.begin(), edges.data.end());
    throw InputError(std::string(who) + ": edges name hits " + std::to_string(*low) + " to " + std::to_string(*high)
                     + ", but there are " + std::to_string(num_hits)
                     + " hits, counted from 0; use indices into the event's hits, not hit ids.");
}

/// Turns unordered pairs into edges, in place; their order is kept.
/// position: hits, [N, 3] row-major, mm. by_index: the lower index is the source. by_radius: the hit nearer to the origin in 3-D
/// is (squared distance in float64), on a tie the lower index. Throws InputError: a hit that does not exist, a position that is
/// no triple.
inline void orient(Edges& edges, std::span<const float> position, Direction direction) {
    if (position.size() % 3 != 0)
        throw InputError("edges: positions must be [N, 3], found " + std::to_string(position.size())
                         + " numbers; give x, y, z of each hit.");
    const std::size_t num_hits = position.size() / 3;
    require_edges(edges, num_hits, "edges");
    std::int64_t* const source = edges.source();
    std::int64_t* const target = edges.target();
    const std::size_t count = edges.size();
    if (direction == Direction::by_index) {
        for (std::size_t edge = 0; edge < count; ++edge) {
            const auto [low, high] = std::pair(std::min(source[edge], target[edge]), std::max(source[edge], target[edge]));
            source[edge] = low;
            target[edge] = high;
        }
        return;
    }
    std::vector<double> distance(num_hits);
    for (std::size_t hit = 0; hit < num_hits; ++hit) {  // squares of float32 are exact in float64
        const double x = position[3 * hit], y = position[3 * hit + 1], z = position[3 * hit + 2];
        distance[hit] = x * x + y * y + z * z;
    }
    for (std::size_t edge = 0; edge < count; ++edge) {
        const std::int64_t low = std::min(source[edge], target[edge]), high = std::max(source[edge], target[edge]);
        const bool swap = distance[static_cast<std::size_t>(high)] < distance[static_cast<std::size_t>(low)];
        source[edge] = swap ? high : low;
        target[edge] = swap ? low : high;
    }
}

namespace detail {

/// Writes to `order` [E] the rows in the order `rows` [E], sorted by index[row], each in [0, size), equal ones as they come.
inline void counting_order(const std::int64_t* index, std::size_t size, const std::vector<std::int64_t>& rows,
                           std::vector<std::int64_t>& order) {
    std::vector<std::int64_t> place(size + 1);
    for (std::size_t row = 0; row < rows.size(); ++row) ++place[static_cast<std::size_t>(index[row]) + 1];
    for (std::size_t value = 0; value < size; ++value) place[value + 1] += place[value];
    order.resize(rows.size());
    for (const std::int64_t row : rows) order[static_cast<std::size_t>(place[static_cast<std::size_t>(index[row])]++)] = row;
}

}  // namespace detail

/// Returns the permutation [E] that sorts edges by (target, source), equal edges as they come: the runtime's one order.
/// Throws InputError: a hit that does not exist.
inline std::vector<std::int64_t> canonical_order(const Edges& edges, std::size_t num_hits) {
    require_edges(edges, num_hits, "edges");
    std::vector<std::int64_t> rows(edges.size()), by_source, order;
    for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = static_cast<std::int64_t>(row);
    detail::counting_order(edges.source(), num_hits, rows, by_source);
    detail::counting_order(edges.target(), num_hits, by_source, order);
    return order;
}

/// Returns the edges sorted by (target, source). Throws InputError: a hit that does not exist.
inline Edges canonical(const Edges& edges, std::size_t num_hits) {
    const std::vector<std::int64_t> order = canonical_order(edges, num_hits);
    Edges sorted;
    sorted.data.reserve(edges.data.size());
    for (const std::int64_t row : order) sorted.data.push_back(edges.source()[row]);
    for (const std::int64_t row : order) sorted.data.push_back(edges.target()[row]);
    return sorted;
}

}  // namespace trkx
