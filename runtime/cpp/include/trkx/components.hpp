// From edges to tracks: one label a hit.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <trkx/detail/contraction.hpp>
#include <trkx/detail/split.hpp>
#include <trkx/detail/union_find.hpp>
#include <trkx/edges.hpp>

namespace trkx {

/// Returns the component of each hit, [num_hits], numbered 0, 1, 2 … by the lowest hit index in the component.
/// Direction, order and repetition of the edges do not matter; a hit without an edge is its own component.
/// Throws InputError: edges that name a hit that does not exist.
inline std::vector<std::int64_t> connected_components(const Edges& edges, std::size_t num_hits) {
    require_edges(edges, num_hits, "labelling");
    return detail::components_of(num_hits, [&](auto&& join) {
        for (std::size_t edge = 0; edge < edges.size(); ++edge) join(edges.source()[edge], edges.target()[edge]);
    });
}

/// Returns the cluster of each hit, [num_hits], numbered 0, 1, 2 … by the lowest hit index in the cluster: greedy additive edge
/// contraction, which undoes false bridges that components can't. The pair of clusters with the largest sum of weights between
/// them is joined, again and again, as long as that sum is above 0; of equal sums the one that holds the first edge, in the order
/// of (lower hit, higher hit).
///
/// weight: [E], above 0 speaks for one track, below 0 against; clipped to +-1e4 and rounded to 2^-20. Direction and order of the
/// edges do not matter, weights of repeated ones add up. A hit without an edge above 0 is its own cluster.
///
/// Throws InputError: weights that are NaN or of another number than the edges; edges that name a hit that does not exist.
/// Source: Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", arXiv:1505.06973, algorithm 1.
inline std::vector<std::int64_t> edge_contraction(const Edges& edges, std::span<const double> weight, std::size_t num_hits) {
    if (edges.data.size() % 2 == 0 && weight.size() != edges.size())
        throw InputError("edge contraction: expected " + std::to_string(edges.size()) + " weights, found ["
                         + std::to_string(weight.size()) + "].");
    for (const double value : weight)
        if (std::isnan(value)) throw InputError("edge contraction: a weight is NaN; look at the logits of the GNN.");
    require_edges(edges, num_hits, "labelling");
    const std::vector<std::int64_t> component = detail::components_of(num_hits, [&](auto&& join) {
        for (std::size_t edge = 0; edge < edges.size(); ++edge)
            if (detail::whole(weight[edge]) > 0) join(edges.source()[edge], edges.target()[edge]);
    });
    std::vector<detail::Weighted> inside = detail::edges_inside(edges, weight, component);
    if (inside.empty()) return component;
    const detail::Places places(component);
    for (detail::Weighted& edge : inside) {
        edge.low = static_cast<std::int64_t>(places.place[static_cast<std::size_t>(edge.low)]);
        edge.high = static_cast<std::int64_t>(places.place[static_cast<std::size_t>(edge.high)]);
    }
    inside = detail::summed(inside, num_hits);

    std::vector<std::int64_t> lowest(num_hits);  // of each hit's cluster; where nothing is contracted, of its component
    for (std::size_t hit = 0; hit < num_hits; ++hit)
        lowest[hit] = static_cast<std::int64_t>(places.hit[places.first[static_cast<std::size_t>(component[hit])]]);
    detail::Contraction contraction;
    for (std::size_t begin = 0, end = 0; begin < inside.size(); begin = end) {
        const auto number = static_cast<std::size_t>(component[places.hit[static_cast<std::size_t>(inside[begin].low)]]);
        const std::size_t start = places.first[number], stop = places.first[number + 1];
        for (; end < inside.size() && static_cast<std::size_t>(inside[end].low) < stop; ++end) {
            inside[end].low -= static_cast<std::int64_t>(start);
            inside[end].high -= static_cast<std::int64_t>(start);
        }
        const auto& found = contraction.contract(std::span(inside).subspan(begin, end - begin), stop - start);
        for (std::size_t place = start; place < stop; ++place)
            lowest[places.hit[place]] =
                static_cast<std::int64_t>(places.hit[start + static_cast<std::size_t>(found[place - start])]);
    }
    return detail::Components<std::int64_t>::numbered(lowest);
}

}  // namespace trkx
