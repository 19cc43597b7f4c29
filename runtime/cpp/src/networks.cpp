#include "networks.hpp"

#include <array>
#include <set>

#include "table.hpp"

namespace trkx {
namespace {

const Names activations = {"silu", "relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid", "none"};
const Names norms = {"none", "plain", "affine"};
const Names batch_norms = {"none", "event", "event_affine", "running", "running_affine"};
const Names aggregations = {"sum", "mean", "max", "std"};
const Names edge_blocks = {"source", "target", "edge", "source_first", "target_first", "edge_first"};
const Names node_blocks = {"node", "node_first",     "incoming",       "outgoing",
                           "both", "incoming_first", "outgoing_first", "both_first"};

bool contains(const Names& names, const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); }
bool each_once(const Names& names) { return std::set<std::string>(names.begin(), names.end()).size() == names.size(); }

void require_sizes(const Table& table, const Names& keys) {
    for (const std::string& key : keys) {
        const std::int64_t size = table.integer(key, 2);
        require_that(size >= 1, table.where(key) + " must be at least 1, found " + std::to_string(size) + ".");
    }
}

/// Linear layers one after the other: how many columns leave, and whether a batch norm takes its statistics from the event.
struct Chain {
    std::int64_t out = 0;
    bool looks_at_all_rows = false;
};

Chain read_chain(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"widths"},
                      {"activation", "norm", "batch_norm", "batch_norm_eps", "activation_first", "bare_first",
                       "output_activation", "output_norm", "output_batch_norm"});
    const json::Array& widths = table.list(table.at("widths"), "widths");
    require_that(!widths.empty(), where + ": widths must list at least one layer.");
    Chain chain;
    for (const json::Value& width : widths) {
        chain.out = integer_of(width, table.where("widths"));
        require_that(chain.out >= 1, where + ": widths must be at least 1, found " + std::to_string(chain.out) + ".");
    }
    table.choice("activation", activations, "relu");
    table.choice("output_activation", activations, "none");
    table.choice("norm", norms, "none");
    table.choice("output_norm", norms, "none");
    table.truth("activation_first", false);
    table.truth("bare_first", false);
    require_that(table.real("batch_norm_eps", 1e-5) > 0.0, where + ": batch_norm_eps must be above 0.");
    const bool hidden = widths.size() > 1 && table.choice("batch_norm", batch_norms, "none").starts_with("event");
    table.choice("batch_norm", batch_norms, "none");
    chain.looks_at_all_rows = table.choice("output_batch_norm", batch_norms, "none").starts_with("event") || hidden;
    return chain;
}

Chain chain_at(const Table& table, const std::string& key) { return read_chain(table.at(key), table.where(key)); }

std::optional<std::vector<Feature>> own_features(const Table& table) {
    const json::Value* value = table.given("features");
    return value ? std::optional(read_features(*value, table.where("features"))) : std::nullopt;
}

void require_dim(std::int64_t dim, const std::string& where) {
    require_that(dim >= 1 && dim <= 32, where + ": dim must be 1 to 32, found " + std::to_string(dim) + ".");
}

Network mlp(const Table& table) {
    require_sizes(table, {"hidden", "layers"});
    table.choice("activation", activations, "silu");
    table.truth("layer_norm", true);
    Network network;
    network.geometry = table.truth("geometry", true);
    return network;
}

Network mlp_embedding(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"hidden", "layers", "dim"}, {"activation", "layer_norm", "normalize", "geometry", "family"});
    Network network = mlp(table);
    table.truth("normalize", true);
    network.dim = table.integer("dim");
    require_dim(network.dim, where);
    return network;
}

Network chain_embedding(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"chain", "normalize"}, {"features", "family"});
    table.truth("normalize", false);
    const Chain chain = chain_at(table, "chain");
    require_dim(chain.out, where);
    return {chain.out, false, chain.looks_at_all_rows, {}, own_features(table)};
}

Network pair_filter(const json::Value& value, const std::string& where) {
    return mlp(Table(value, where, {"hidden", "layers"}, {"activation", "layer_norm", "geometry", "family"}));
}

Network chain_filter(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"chain"}, {"features", "family"});
    const Chain chain = chain_at(table, "chain");
    require_that(chain.out == 1, where + ": a filter gives one logit, found " + std::to_string(chain.out) + " columns.");
    return {1, false, chain.looks_at_all_rows, {}, own_features(table)};
}

Network interaction_network(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"hidden", "iterations"}, {"layers", "activation", "layer_norm", "geometry", "family"});
    require_sizes(table, {"iterations"});
    return mlp(table);
}

void check_node_inputs(const Table& table, const Names& otherwise) {
    const Names gathered = table.choices("aggregations", aggregations, {"sum"});
    require_that(!gathered.empty() && each_once(gathered), table.where() + ": aggregations: at least one, each once.");
    const Names blocks = table.choices("node_inputs", node_blocks, otherwise);
    require_that(contains(blocks, "node") && each_once(blocks) && blocks.size() > 1,
                 table.where() + ": node_inputs must have 'node' and an aggregate, each block once.");
}

Network attention(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"node_encoder", "edge_network", "node_network", "iterations"},
                      {"shortcut", "node_inputs", "aggregations", "residual", "undirected", "features", "family"});
    require_that(table.integer("iterations") >= 0, where + ": iterations must be at least 0.");
    for (const char* key : {"shortcut", "residual", "undirected"}) table.truth(key, false);
    const Chain encoder = chain_at(table, "node_encoder"), edges = chain_at(table, "edge_network"),
                nodes = chain_at(table, "node_network");
    require_that(edges.out == 1, where + ": the edge network gives one logit, found " + std::to_string(edges.out) + " columns.");
    require_that(encoder.out == nodes.out, where + ": the state has " + std::to_string(encoder.out) +
                                               " columns, but the node network gives " + std::to_string(nodes.out) + ".");
    check_node_inputs(table, {"both", "node"});
    for (const std::string& block : table.choices("node_inputs", node_blocks, {})) {
        require_that(!block.ends_with("_first"),
                     where + ": node_inputs of attention can't have " + block + ": it has no first edge states.");
    }
    const bool all_rows = encoder.looks_at_all_rows || edges.looks_at_all_rows || nodes.looks_at_all_rows;
    return {1, false, all_rows, {}, own_features(table)};
}

Network message_passing(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"node_encoder", "edge_encoder", "node_network", "edge_network", "classifier", "iterations"},
                      {"decoder", "order", "aggregations", "node_inputs", "edge_inputs", "classifier_inputs", "residual",
                       "edge_squash", "shared_nodes", "shared_edges", "undirected", "edge_features", "features", "family"});
    require_that(table.integer("iterations") >= 0, where + ": iterations must be at least 0.");
    table.choice("order", {"nodes", "edges", "together"}, "nodes");
    for (const char* key : {"residual", "edge_squash", "shared_nodes", "shared_edges"}) table.truth(key, false);
    Network network;
    std::vector<std::int64_t> out;
    for (const char* key : {"node_encoder", "node_network", "edge_encoder", "edge_network", "classifier"}) {
        const Chain chain = chain_at(table, key);
        network.looks_at_all_rows = network.looks_at_all_rows || chain.looks_at_all_rows;
        out.push_back(chain.out);
    }
    if (const json::Value* decoder = table.given("decoder")) {
        const Chain chain = read_chain(*decoder, table.where("decoder"));
        network.looks_at_all_rows = network.looks_at_all_rows || chain.looks_at_all_rows;
    }
    require_that(out[4] == 1, where + ": the classifier gives one logit, found " + std::to_string(out[4]) + " columns.");
    require_that(out[0] == out[1] && out[2] == out[3],
                 where + ": node_network and edge_network must give as many columns as the encoders.");
    check_node_inputs(table, {"node", "incoming"});
    for (const char* key : {"edge_inputs", "classifier_inputs"}) {
        const Names blocks = table.choices(key, edge_blocks, {"source", "target", "edge"});
        require_that(contains(blocks, "edge") && each_once(blocks), table.where(key) + " must have 'edge', and each block once.");
    }
    if (const json::Value* names = table.find("edge_features")) {
        for (const json::Value& name : table.list(*names, "edge_features")) {
            network.edge_features.push_back(text_of(name, table.where("edge_features")));
        }
    }
    require_that(!table.truth("undirected", false) || network.edge_features.empty(),
                 where + ": undirected networks can't read edge_attr: it has a direction.");
    network.features = own_features(table);
    return network;
}

using Reader = Network (*)(const json::Value&, const std::string&);
struct Family {
    const char *stage, *name;
    Reader read;
};
constexpr std::array<Family, 7> families = {{
    {"embedding", "mlp_embedding", mlp_embedding},  // the first of a stage is the one of a table that names none
    {"embedding", "chain_embedding", chain_embedding},
    {"filter", "pair_filter", pair_filter},
    {"filter", "chain_filter", chain_filter},
    {"gnn", "interaction_network", interaction_network},
    {"gnn", "attention", attention},
    {"gnn", "message_passing", message_passing},
}};

}  // namespace

Network read_network(const std::string& stage, const json::Value& value, const std::string& where) {
    const json::Value* named = value.find("family");
    Names known;
    for (const Family& family : families) {
        if (family.stage != stage) continue;
        if (named == nullptr || (named->string() && *named->string() == family.name)) return family.read(value, where);
        known.emplace_back(family.name);
    }
    const std::string found = named->string() ? *named->string() : json::shown(*named);
    throw SpecError(where + ".family: " + unknown_name("family", found, known));
}

std::vector<Feature> read_features(const json::Value& value, const std::string& where) {
    if (value.array() == nullptr) refuse(where, "a list", value);
    std::vector<Feature> features;
    for (const json::Value& item : *value.array()) {
        const Table table(item, where + "[" + std::to_string(features.size()) + "]", {"name", "scale"}, {"low", "high"});
        Feature feature{table.text("name"), table.real("scale"), table.optional_real("low"), table.optional_real("high")};
        require_that(feature.scale != 0.0, table.where() + ": feature " + feature.name + ": scale must not be 0.");
        require_that(!feature.low || !feature.high || *feature.low <= *feature.high,
                     table.where() + ": feature " + feature.name + ": low is above high.");
        features.push_back(std::move(feature));
    }
    return features;
}

}  // namespace trkx
