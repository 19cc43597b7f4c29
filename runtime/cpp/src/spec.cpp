#include <trkx/spec.hpp>

#include <algorithm>
#include <cmath>
#include <set>

#include "networks.hpp"
#include "table.hpp"

namespace trkx {
namespace {

Graph read_graph(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"radius"}, {"k_max", "direction"});
    Graph graph;
    graph.radius = table.real("radius");
    require_that(graph.radius > 0.0, where + ": radius must be above 0, found " + json::repr(graph.radius) + ".");
    if (const json::Value* k_max = table.given("k_max")) {
        graph.k_max = integer_of(*k_max, table.where("k_max"));
        require_that(*graph.k_max >= 1, where + ": k_max must be at least 1, found " + std::to_string(*graph.k_max) + ".");
    }
    const bool by_index = table.choice("direction", {"by_radius", "by_index"}, "by_radius") == "by_index";
    graph.direction = by_index ? Direction::by_index : Direction::by_radius;
    return graph;
}

void read_cuts(Spec& spec, const json::Value& value, const std::string& where) {
    const Table table(value, where, {}, {"filter", "gnn"});
    spec.filter_cut = table.optional_real("filter");
    spec.gnn_cut = table.optional_real("gnn");
    for (const auto& cut : {spec.filter_cut, spec.gnn_cut}) {
        require_that(!cut || (*cut > 0.0 && *cut < 1.0),
                     where + ": a cut is a score and must lie in (0, 1), found " + json::repr(cut.value_or(0.0)) + ".");
    }
}

void read_labelling(Spec& spec, const json::Value& value, const std::string& where) {
    const Table table(value, where, {}, {"method", "min_hits"});
    const Names methods = {"connected_components", "edge_contraction"};
    const bool contract = table.choice("method", methods, methods[0]) == methods[1];
    spec.method = contract ? Method::edge_contraction : Method::connected_components;
    spec.min_hits = table.integer("min_hits", 3);
    require_that(spec.min_hits >= 1, where + ": min_hits must be at least 1, found " + std::to_string(spec.min_hits) + ".");
}

void read_networks(Spec& spec, const Table& table) {
    std::set<std::string> names;
    for (const Feature& feature : spec.features) {
        const bool first = names.insert(feature.name).second;
        require_that(first, table.where() + ": features lists " + feature.name + " more than once.");
    }
    for (const std::string stage : {"embedding", "filter", "gnn"}) {
        const json::Value* value = table.given(stage);
        if (value == nullptr) continue;
        const Network network = read_network(stage, *value, table.where(stage));
        spec.stages.push_back(stage);
        for (const char* needed : {"r", "phi", "z"}) {
            require_that(!network.geometry || names.contains(needed),
                         table.where(stage) + " with geometry = true needs the feature " + needed + ".");
        }
        for (const Feature& feature : network.features.value_or(std::vector<Feature>())) {
            require_that(names.contains(feature.name),
                         table.where(stage) + " reads " + feature.name + ", which features does not list.");
        }
        if (stage == "embedding") {
            spec.embedding_dim = network.dim;
            spec.embedding_looks_at_all_rows = network.looks_at_all_rows;
        } else if (stage == "filter") {
            spec.filter_looks_at_all_rows = network.looks_at_all_rows;
        } else {
            spec.edge_features = network.edge_features;
            spec.gnn_features = network.features && !network.features->empty() ? *network.features : spec.features;
        }
    }
    require_that(!spec.stages.empty(), table.where() + ": there is no network; give at least one of embedding, filter, gnn.");
}

void require_pair(const Spec& spec, const std::string& stage, const std::string& part, bool there, const std::string& where) {
    require_that(!spec.has(stage) || there, where + ": " + stage + " needs " + part + ": add it.");
    require_that(spec.has(stage) || !there,
                 where + ": " + part + " is there, but no " + stage + ": add that or leave out " + part + ".");
}

}  // namespace

bool Spec::has(std::string_view stage) const { return std::find(stages.begin(), stages.end(), stage) != stages.end(); }

const Graph& Spec::needed_graph() const {
    if (!graph) throw SpecError(name + " has no embedding (only " + joined(stages) + "), so it can't make edges from hits.");
    return *graph;
}

double Spec::needed_cut(std::string_view stage) const {
    const std::optional<double> none, &cut = stage == "filter" ? filter_cut : stage == "gnn" ? gnn_cut : none;
    if (!cut) throw SpecError(name + " has no " + std::string(stage) + " with a cut; it has " + joined(stages) + ".");
    return *cut;
}

Spec read_spec(const json::Value& values, const std::string& where) {
    const Table table(values, where, {"name", "features"}, {"embedding", "graph", "filter", "gnn", "cuts", "labelling"});
    Spec spec;
    spec.name = table.text("name");
    spec.features = read_features(table.at("features"), table.where("features"));
    require_that(!spec.features.empty(), where + ": features must list at least one feature.");
    if (const json::Value* graph = table.given("graph")) spec.graph = read_graph(*graph, table.where("graph"));
    if (const json::Value* cuts = table.find("cuts")) read_cuts(spec, *cuts, table.where("cuts"));
    if (const json::Value* labelling = table.find("labelling")) read_labelling(spec, *labelling, table.where("labelling"));
    read_networks(spec, table);
    require_pair(spec, "embedding", "graph", spec.graph.has_value(), where);
    require_pair(spec, "filter", "cuts.filter", spec.filter_cut.has_value(), where);
    require_pair(spec, "gnn", "cuts.gnn", spec.gnn_cut.has_value(), where);
    return spec;
}

double logit_of_cut(double cut) { return std::log(cut) - std::log1p(-cut); }

}  // namespace trkx
