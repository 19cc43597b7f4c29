// What an engine is: the networks of one bundle, ready to run, whatever library runs them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include <trkx/bundle.hpp>
#include <trkx/edges.hpp>

namespace trkx {

/// The networks of one bundle. Members are const and re-entrant: any number of threads may call them at once.
///
/// x: hit features, float32 [n, F] row-major. edges: [2, E] of indices into these hits. Logits are [E]; sigmoid and cut are the
/// caller's. Without hits or edges the answer is empty and no network runs. They throw InputError (arrays whose sizes contradict
/// each other, an edge to a hit that is not there), SpecError (a network that the bundle has not) and BundleError (the library
/// refuses the model or its answer has another shape; it names stage and file).
struct Engine {
    virtual ~Engine() = default;

    /// Returns the place of each hit, [n, D] row-major.
    virtual std::vector<float> embed(std::span<const float> x, std::size_t n, std::size_t F) const = 0;

    /// Returns the filter's logit of each edge, [E].
    virtual std::vector<float> filter(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges) const = 0;

    /// Returns the graph network's logit of each edge, [E]. edge_attr: [E, A] row-major, A = 0 for most networks.
    virtual std::vector<float> gnn(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges,
                                   std::span<const float> edge_attr, std::size_t A) const = 0;
};

/// Columns of a bundle's arrays: of x, of places, and of edge_attr (0 for most).
struct Columns {
    std::size_t x = 0, places = 0, edge_attr = 0;
    explicit Columns(const Spec& spec);
};

/// What a network is given; A: columns of edge_attr, 0 for those that take none.
struct Given {
    std::span<const float> x;
    std::size_t n = 0, F = 0;
    const Edges* edges = nullptr;
    std::span<const float> edge_attr;
    std::size_t A = 0;
};

/// Throws InputError unless x is [n, F] with the bundle's columns, edges join hits below n, and edge_attr of the GNN is [E, A]
/// with its own. stage: for the message, and to know whether edge_attr belongs there.
void require_fit(std::string_view stage, const Given& given, const Columns& columns);

}  // namespace trkx
