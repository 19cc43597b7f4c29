// Edge features as acorn and ACTS compute them (runtime/edge_features.py).
#include <algorithm>
#include <array>
#include <cmath>

#include <trkx/features.hpp>

namespace trkx {
namespace {

constexpr double steepest = 100.0;  // slopes are clamped to this, as in training

/// The node features that formulas read, at one end of an edge, with the network's own scales (phi / pi).
enum Read : std::size_t { r, phi, z, eta, number_of_reads };
constexpr std::array<const char*, number_of_reads> read_names = {"r", "phi", "z", "eta"};
using End = std::array<double, number_of_reads>;

double wrapped(double d) { return d > 1.0 ? d - 2.0 : d < -1.0 ? d + 2.0 : d; }

/// Slopes of hits at the same r are the steepest there are, and 0 at the same phi as well.
double phislope(const End& start, const End& end) {
    const double slope = wrapped(end[phi] - start[phi]) / (end[r] - start[r]);
    return std::isnan(slope) ? 0.0 : std::clamp(slope, -steepest, steepest);
}

struct Known {
    const char* name;
    std::array<Read, 2> reads;  ///< Twice the same for formulas of one.
    double (*formula)(const End& start, const End& end);
};

constexpr std::array<Known, 6> formulas = {{
    {"dr", {r, r}, [](const End& start, const End& end) { return end[r] - start[r]; }},
    {"dphi", {phi, phi}, [](const End& start, const End& end) { return wrapped(end[phi] - start[phi]); }},
    {"dz", {z, z}, [](const End& start, const End& end) { return end[z] - start[z]; }},
    {"deta", {eta, eta}, [](const End& start, const End& end) { return end[eta] - start[eta]; }},
    {"phislope", {r, phi}, phislope},
    {"rphislope", {r, phi}, [](const End& start, const End& end) { return 0.5 * (start[r] + end[r]) * phislope(start, end); }},
}};

/// Where x holds a node feature, and by what its values are multiplied to have the GNN's own scale.
struct Source {
    bool there = false;
    std::size_t column = 0;
    double factor = 1.0;
};

std::array<Source, number_of_reads> sources_of(const Spec& spec) {
    std::array<Source, number_of_reads> sources;
    for (std::size_t read = 0; read < number_of_reads; ++read) {
        for (std::size_t column = 0; column < spec.features.size(); ++column) {
            if (spec.features[column].name == read_names[read]) sources[read] = {true, column, 1.0};
        }
        for (const Feature& own : spec.gnn_features) {
            if (own.name == read_names[read] && sources[read].there) {
                sources[read].factor = spec.features[sources[read].column].scale / own.scale;
            }
        }
    }
    return sources;
}

const Known& formula_of(const Spec& spec, const std::string& name, const std::array<Source, number_of_reads>& sources) {
    const auto known = std::find_if(formulas.begin(), formulas.end(), [&](const Known& one) { return name == one.name; });
    if (known == formulas.end()) {
        std::vector<std::string> names;
        for (const Known& one : formulas) names.emplace_back(one.name);
        throw SpecError(spec.name + ": " + unknown_name("edge feature", name, names));
    }
    for (const Read read : known->reads) {
        if (!sources[read].there) {
            throw SpecError(spec.name + ": edge feature " + name + " is made from " + read_names[known->reads[0]] +
                            (known->reads[0] != known->reads[1] ? std::string(", ") + read_names[known->reads[1]] : "") +
                            ", and features has no " + read_names[read] + ".");
        }
    }
    return *known;
}

End end_at(std::span<const float> x, std::size_t F, std::size_t hit, const std::array<Source, number_of_reads>& sources) {
    End end{};
    for (std::size_t read = 0; read < number_of_reads; ++read) {
        if (sources[read].there) end[read] = static_cast<double>(x[hit * F + sources[read].column]) * sources[read].factor;
    }
    return end;
}

}  // namespace

std::vector<float> edge_features(const Spec& spec, std::span<const float> x, std::size_t F, const Edges& edges) {
    const std::size_t count = edges.size(), width = spec.edge_features.size();
    if (F != spec.features.size() || x.size() % std::max<std::size_t>(F, 1) != 0) {
        throw SpecError(spec.name + ": expected x with " + std::to_string(spec.features.size()) + " columns, found " +
                        std::to_string(F) + "; make it with node_features.");
    }
    const std::array<Source, number_of_reads> sources = sources_of(spec);
    std::vector<const Known*> made;
    for (const std::string& name : spec.edge_features) made.push_back(&formula_of(spec, name, sources));
    require_edges(edges, x.size() / F, spec.name);
    std::vector<float> found(count * width);
    if (width == 0) return found;
    for (std::size_t edge = 0; edge < count; ++edge) {
        const End start = end_at(x, F, static_cast<std::size_t>(edges.source()[edge]), sources);
        const End end = end_at(x, F, static_cast<std::size_t>(edges.target()[edge]), sources);
        for (std::size_t column = 0; column < width; ++column) {
            found[edge * width + column] = static_cast<float>(made[column]->formula(start, end));
        }
    }
    return found;
}

}  // namespace trkx
