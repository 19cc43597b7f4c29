// Connected components by union-find: Rem's algorithm with splicing, and the lowest hit index is the root.
// Source: Patwary, Blair and Manne, "Experiments on union-find algorithms for the disjoint-set data structure", SEA 2010.
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace trkx::detail {

/// Joins hits of one event. Parent: std::int32_t where it holds every hit, since half the bytes stay in a nearer cache.
template <class Parent>
class Components {
public:
    explicit Components(std::size_t num_hits) : parent_(num_hits) { std::iota(parent_.begin(), parent_.end(), Parent{0}); }

    /// Joins the components of two hits that exist. A parent's index is never above its child's. Both ends climb in turn, always
    /// the one with the higher parent, which takes the lower parent on its way.
    void join(std::int64_t a, std::int64_t b) {
        Parent above_a = parent(a), above_b = parent(b);
        while (above_a != above_b) {
            if (above_a < above_b) {
                parent(b) = above_a;
                if (above_b == b) break;
                b = above_b;
                above_b = parent(b);
            } else {
                parent(a) = above_b;
                if (above_a == a) break;
                a = above_a;
                above_a = parent(a);
            }
        }
    }

    /// Returns labels 0, 1, 2 … by the lowest hit of each component, [N].
    std::vector<std::int64_t> labels() const { return numbered(parent_); }

    /// Returns labels 0, 1, 2 … by lowest hit, [N], of parents that are never above their children.
    static std::vector<std::int64_t> numbered(const std::vector<Parent>& parent) {
        std::vector<std::int64_t> labels(parent.size());
        std::int64_t count = 0;
        for (std::size_t hit = 0; hit < parent.size(); ++hit) {  // upwards: a root comes before its members
            const auto above = static_cast<std::size_t>(parent[hit]);
            labels[hit] = count;  // without a branch, which no processor could predict
            labels[hit] = labels[above];
            count += above == hit;
        }
        return labels;
    }

private:
    Parent& parent(std::int64_t hit) { return parent_[static_cast<std::size_t>(hit)]; }

    std::vector<Parent> parent_;
};

/// Returns the component of each hit, [num_hits], numbered by lowest hit. each_edge: called with a function of two hits, to be
/// called for each edge; the hits exist.
template <class EachEdge>
std::vector<std::int64_t> components_of(std::size_t num_hits, EachEdge&& each_edge) {
    const auto solve = [&](auto components) {
        each_edge([&](std::int64_t a, std::int64_t b) { components.join(a, b); });
        return components.labels();
    };
    return num_hits <= 0x7fffffffU ? solve(Components<std::int32_t>(num_hits)) : solve(Components<std::int64_t>(num_hits));
}

}  // namespace trkx::detail
