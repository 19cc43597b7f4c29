#include <trkx/identity.hpp>

#include <utility>
#include <vector>

#include <trkx/json.hpp>

namespace trkx {

namespace {

using Facts = std::vector<std::pair<std::string, std::string>>;

std::string shown(const std::optional<double>& value) {
    return value ? json::repr(*value) : "none";
}

void add(Facts& facts, const std::string& name, const std::vector<Feature>& features) {
    std::string text;
    for (const Feature& feature : features)
        text += (text.empty() ? "" : ", ") + feature.name + " / " + json::repr(feature.scale) + " [" + shown(feature.low) + ", "
                + shown(feature.high) + "]";
    facts.emplace_back(name, text);
}

/// What of a spec must be the same in a file and in bundle.json, by name.
Facts facts_of(const Spec& spec) {
    Facts facts{{"name", spec.name}, {"stages", joined(spec.stages)}};
    add(facts, "features", spec.features);
    add(facts, "gnn.features", spec.gnn_features);
    facts.emplace_back("embedding.dim", std::to_string(spec.embedding_dim));
    if (spec.graph) {
        facts.emplace_back("graph.radius", json::repr(spec.graph->radius));
        facts.emplace_back("graph.k_max", spec.graph->k_max ? std::to_string(*spec.graph->k_max) : "none");
        facts.emplace_back("graph.direction", spec.graph->direction == Direction::by_radius ? "by_radius" : "by_index");
    }
    facts.emplace_back("cuts.filter", shown(spec.filter_cut));
    facts.emplace_back("cuts.gnn", shown(spec.gnn_cut));
    facts.emplace_back("labelling.method", spec.method == Method::edge_contraction ? "edge_contraction" : "connected_components");
    facts.emplace_back("labelling.min_hits", std::to_string(spec.min_hits));
    facts.emplace_back("gnn.edge_features", joined(spec.edge_features));
    return facts;
}

Spec held_spec(const std::string& text, const std::string& key, const std::string& where) {
    try {
        return read_spec(json::parse(text), key);
    } catch (const Error& error) {
        throw BundleError(where + ": metadata " + key + " can't be read (" + error.what() + "). Export the bundle again.");
    }
}

}  // namespace

void require_same(const Metadata& metadata, const Spec& spec, const std::string& where, std::string_view stage,
                  std::string_view precision, std::string_view target) {
    const std::string prefix(metadata_prefix), key = prefix + "spec";
    const std::optional<std::string> text = metadata(key);
    if (!text)
        throw BundleError(where + ": expected metadata " + key + ", found none: not written by trkx. Export the bundle again.");
    const Facts held = facts_of(held_spec(*text, key, where)), listed = facts_of(spec);
    if (held != listed) {
        std::string differs;
        for (std::size_t i = 0; i < held.size() && i < listed.size() && differs.empty(); ++i)
            if (held[i] != listed[i])
                differs = held[i].first + " is " + held[i].second + " in the file and " + listed[i].second + " in bundle.json";
        throw BundleError(where + ": was made for another specification: " + differs + ". Export the bundle again.");
    }
    const std::pair<const char*, std::pair<std::string_view, std::string_view>> wanted[] = {
        {"stage", {stage, ""}},
        {"precision", {precision, "float32"}},
        {"target", {target.empty() ? "ort-cpu" : target, "ort-cpu"}}};
    for (const auto& [name, values] : wanted) {
        const std::string found = metadata(prefix + name).value_or(std::string(values.second));
        if (found != values.first)
            throw BundleError(where + ": expected " + name + " " + std::string(values.first) + ", as bundle.json says, found '"
                              + found + "' in its metadata. Export the bundle again.");
    }
}

}  // namespace trkx
