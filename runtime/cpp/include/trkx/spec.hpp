// What a pipeline is, as far as running it needs: features and scales, graph, cuts, labelling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <trkx/error.hpp>
#include <trkx/json.hpp>

namespace trkx {

/// One column of the network input: value / scale, with value in mm, radians or counts; low and high: smallest and largest scaled
/// value seen in training, if known.
struct Feature {
    std::string name;
    double scale = 1.0;
    std::optional<double> low, high;
};

/// Which end of an edge is the source: the hit nearer to the origin (3-D distance, ties by lower index), or the lower index.
enum class Direction { by_radius, by_index };

/// How edges become tracks: connected components above the cut, or contraction of edges by weights for and against.
enum class Method { connected_components, edge_contraction };

/// How candidate edges are made: all pairs within radius (inclusive) in the embedding; k_max: keep the nearest so many.
struct Graph {
    double radius = 0.0;
    std::optional<std::int64_t> k_max;
    Direction direction = Direction::by_radius;
};

/// Everything that turns hits into tracks, but for the networks, which are in their files with the features and scales of
/// their own.
struct Spec {
    std::string name;
    std::vector<Feature> features;              ///< Columns of x, in order.
    std::vector<std::string> stages;            ///< Those of embedding, filter, gnn that there are, in this order.
    std::optional<Graph> graph;                 ///< There if and only if there is an embedding.
    std::optional<double> filter_cut, gnn_cut;  ///< Scores in (0, 1) that an edge must exceed, strictly.
    Method method = Method::connected_components;
    std::int64_t min_hits = 3;                 ///< Smallest track that is written.
    std::int64_t embedding_dim = 0;            ///< 1 to 32, 0 without an embedding.
    bool embedding_looks_at_all_rows = false;  ///< Whether a hit's place depends on the other hits.
    bool filter_looks_at_all_rows = false;     ///< Whether an edge's logit depends on the other edges: then no chunks.
    std::vector<std::string> edge_features;    ///< Columns of edge_attr that the GNN reads; none for most.
    std::vector<Feature> gnn_features;         ///< With the GNN's own scales where it has its own, else as features.

    /// Whether there is a network of this stage.
    bool has(std::string_view stage) const;
    /// Whether hits become tracks: an embedding makes edges, a GNN judges them.
    bool makes_tracks() const { return has("embedding") && has("gnn"); }
    /// Returns how candidate edges are made. Throws SpecError without an embedding.
    const Graph& needed_graph() const;
    /// Returns the cut of stage "filter" or "gnn". Throws SpecError if there is none.
    double needed_cut(std::string_view stage) const;
};

/// Returns the spec that a JSON object holds.
/// where: how messages call the place. Throws SpecError: an unknown or missing key, an unknown family, a value of the wrong type
/// or out of range.
Spec read_spec(const json::Value& values, const std::string& where = "spec");

/// Returns the logit above which the sigmoid exceeds a cut in (0, 1): cuts are applied to logits, so that scores near 1 stay
/// distinct.
double logit_of_cut(double cut);

}  // namespace trkx
