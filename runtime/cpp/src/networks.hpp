// What running a pipeline needs to know of its networks, in every family of src/trkx/{spec,chains,graph_networks}.py. Private.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <trkx/json.hpp>
#include <trkx/spec.hpp>

namespace trkx {

/// One network. features: its own columns with the scales that it was trained with, if it does not read all columns of x. The
/// model file holds both: x is selected and scaled in it.
struct Network {
    std::int64_t dim = 1;   ///< Columns of the output.
    bool geometry = false;  ///< Whether it computes features from r, phi and z.
    bool looks_at_all_rows = false;
    std::vector<std::string> edge_features;
    std::optional<std::vector<Feature>> features;
};

/// Returns the network of a stage ("embedding", "filter", "gnn").
/// Throws SpecError: an unknown family, an unknown or missing key, a value of the wrong type or out of range.
Network read_network(const std::string& stage, const json::Value& value, const std::string& where);

/// Returns a list of features. Throws SpecError as `read_network`.
std::vector<Feature> read_features(const json::Value& value, const std::string& where);

}  // namespace trkx
