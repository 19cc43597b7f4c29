#include <trkx/pipeline.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include <trkx/components.hpp>
#include <trkx/features.hpp>
#include <trkx/neighbours.hpp>

namespace trkx {

namespace {

using Clock = std::chrono::steady_clock;

std::int64_t count(std::size_t number) {
    return static_cast<std::int64_t>(number);
}

/// Measures a stage from its making to `done`.
class Stage {
public:
    Stage(Tracks& tracks, std::string name, std::size_t in, std::string unit)
        : tracks_(tracks), report_{std::move(name), 0.0, count(in), 0, std::move(unit)}, start_(Clock::now()) {}
    void done(std::int64_t out) {
        report_.seconds = std::chrono::duration<double>(Clock::now() - start_).count();
        report_.count_out = out;
        tracks_.stages.push_back(std::move(report_));
    }

private:
    Tracks& tracks_;
    StageReport report_;
    Clock::time_point start_;
};

void require_finite(std::span<const float> logits, const char* stage) {
    const auto bad = std::count_if(logits.begin(), logits.end(), [](float logit) { return !std::isfinite(logit); });
    if (bad == 0) return;
    throw BundleError(std::string("stage ") + stage + ": " + std::to_string(bad) + " of " + std::to_string(logits.size())
                      + " logits are NaN or infinite: the model file is not sound, or the features are far from what it was "
                        "trained on, or the "
                        "precision does not reach as far as they do (fp16 ends at 65504). Look at the features of the event, run "
                        "it in fp32, or "
                        "export the bundle again.");
}

/// The edges of a range of pairs, oriented.
Edges oriented(const Edges& pairs, std::size_t begin, std::size_t end, const Event& event, Direction direction) {
    Edges edges;
    const auto first = static_cast<std::ptrdiff_t>(begin), last = static_cast<std::ptrdiff_t>(end);
    edges.data.reserve(2 * (end - begin));
    edges.data.insert(edges.data.end(), pairs.source() + first, pairs.source() + last);
    edges.data.insert(edges.data.end(), pairs.target() + first, pairs.target() + last);
    orient(edges, event.position, direction);
    return edges;
}

/// The edges whose weight exceeds a cut.
template <typename Weight>
Edges above(const Edges& edges, const std::vector<Weight>& weight, double cut) {
    Edges kept;
    for (const std::int64_t* row : {edges.source(), edges.target()})
        for (std::size_t edge = 0; edge < weight.size(); ++edge)
            if (static_cast<double>(weight[edge]) > cut) kept.data.push_back(row[edge]);
    return kept;
}

}  // namespace

Pipeline::Pipeline(Spec spec, std::shared_ptr<const Engine> engine, std::size_t chunk)
    : spec_(std::move(spec)), engine_(std::move(engine)), chunk_(chunk) {
    if (!engine_) throw SpecError("a pipeline needs an engine; open one from the bundle.");
    if (chunk_ < 1) throw SpecError("chunk must be at least 1 edge, found 0.");
    if (!spec_.makes_tracks())
        throw SpecError(spec_.name + " has only " + joined(spec_.stages) + ": hits become tracks with an embedding and a GNN. "
                        "Use its files where "
                        "edges are made (ACTS, a module map), or call the engine's members on your own edges.");
}

Tracks Pipeline::run(const Event& event, const Warn& warn) const {
    check_event(event);
    const std::size_t hits = event.size(), columns = spec_.features.size();
    Tracks tracks;
    tracks.event_id = event.id;
    tracks.hit_id = event.hit_id;
    tracks.min_hits = spec_.min_hits;

    Stage features(tracks, "features", hits, "hits");
    const std::vector<float> x = node_features(event, spec_);
    features.done(count(hits));
    if (warn) {
        const std::string strange = range_warning(event, x, spec_);
        if (!strange.empty()) warn(strange);
    }

    Stage embedding(tracks, "embedding", hits, "hits");
    std::vector<float> points;
    if (hits > 0) points = engine_->embed(x, hits, columns);
    embedding.done(count(hits));
    Edges edges = kept_edges(event, x, points, tracks);
    std::vector<float>().swap(points);

    Stage gnn(tracks, "gnn", edges.size(), "edges");
    const std::vector<double> weight = judged(x, hits, edges);
    gnn.done(std::count_if(weight.begin(), weight.end(), [](double value) { return value > 0.0; }));

    const bool contract = spec_.method == Method::edge_contraction;  // reads the edges below the cut as well
    if (!contract) edges = above(edges, weight, 0.0);
    Stage labelling(tracks, "labelling", edges.size(), "tracks");
    tracks.label = contract ? edge_contraction(edges, weight, hits) : connected_components(edges, hits);
    labelling.done(tracks.num_tracks());
    return tracks;
}

Edges Pipeline::kept_edges(const Event& event, std::span<const float> x, std::span<const float> points, Tracks& tracks) const {
    const Graph& graph = spec_.needed_graph();
    const std::size_t hits = event.size(), columns = spec_.features.size();
    Stage search(tracks, "graph", hits, "edges");
    Neighbours found;
    if (hits > 0) found = radius_graph(points, static_cast<std::size_t>(spec_.embedding_dim), graph.radius, graph.k_max);
    tracks.truncated = found.truncated;
    search.done(count(found.pairs.size()));
    if (!spec_.has("filter")) return canonical(oriented(found.pairs, 0, found.pairs.size(), event, graph.direction), hits);

    Stage filter(tracks, "filter", found.pairs.size(), "edges");
    const double cut = logit_of_cut(spec_.needed_cut("filter"));
    const std::size_t step = spec_.filter_looks_at_all_rows ? std::max<std::size_t>(found.pairs.size(), 1) : chunk_;
    Edges kept;
    std::vector<std::int64_t> target;
    for (std::size_t begin = 0; begin < found.pairs.size(); begin += step) {
        const Edges edges = oriented(found.pairs, begin, std::min(begin + step, found.pairs.size()), event, graph.direction);
        const std::vector<float> logits = engine_->filter(x, hits, columns, edges);
        require_finite(logits, "filter");
        const Edges passed = above(edges, logits, cut);
        kept.data.insert(kept.data.end(), passed.source(), passed.target());
        target.insert(target.end(), passed.target(), passed.target() + passed.size());
    }
    kept.data.insert(kept.data.end(), target.begin(), target.end());
    kept = canonical(kept, hits);
    filter.done(count(kept.size()));
    return kept;
}

std::vector<double> Pipeline::judged(const std::vector<float>& x, std::size_t n, const Edges& edges) const {
    if (edges.empty()) return {};
    const std::size_t columns = spec_.features.size(), attributes = spec_.edge_features.size();
    std::vector<float> edge_attr;
    if (attributes > 0) edge_attr = edge_features(spec_, x, columns, edges);
    const std::vector<float> logits = engine_->gnn(x, n, columns, edges, edge_attr, attributes);
    require_finite(logits, "gnn");
    const double cut = logit_of_cut(spec_.needed_cut("gnn"));
    std::vector<double> weight(logits.size());
    std::transform(logits.begin(), logits.end(), weight.begin(), [cut](float logit) { return static_cast<double>(logit) - cut; });
    return weight;
}

}  // namespace trkx
