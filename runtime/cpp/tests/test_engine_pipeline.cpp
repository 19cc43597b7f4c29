// The pipeline over made-up networks, whose tracks are known: hits of a track lie on one ray from the origin.
#include <trkx/pipeline.hpp>

#include <limits>

#include "engine_checks.hpp"

namespace {

using trkx::Edges;

/// Places are features themselves (direction of the hit); the filter wants neighbours on the ray; the network answers what it is
/// told.
struct Rays final : trkx::Engine {
    float logit = 5.0F;
    mutable std::atomic<std::size_t> largest{0};

    std::vector<float> embed(std::span<const float> x, std::size_t, std::size_t) const override { return {x.begin(), x.end()}; }
    std::vector<float> filter(std::span<const float>, std::size_t, std::size_t, const Edges& edges) const override {
        for (std::size_t seen = largest.load(); edges.size() > seen && !largest.compare_exchange_weak(seen, edges.size());) {
        }
        std::vector<float> logits(edges.size());
        for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = edges.target()[i] - edges.source()[i] == 1 ? 3.0F : -3.0F;
        return logits;
    }
    std::vector<float> gnn(std::span<const float>, std::size_t, std::size_t, const Edges& edges, std::span<const float>,
                           std::size_t) const override {
        return std::vector<float>(edges.size(), logit);
    }
};

trkx::Spec spec(trkx::Method method) {
    trkx::Spec made;
    made.name = "rays";
    made.features = {{"phi", 1.0, -3.2, 3.2}};
    made.stages = {"embedding", "filter", "gnn"};
    made.graph = trkx::Graph{0.001, {}, trkx::Direction::by_radius};
    made.filter_cut = 0.5;
    made.gnn_cut = 0.5;
    made.method = method;
    made.embedding_dim = 1;
    return made;
}

trkx::Event event(std::size_t rays, std::size_t hits) {
    trkx::Event made;
    made.id = 7;
    for (std::size_t i = 0; i < rays * hits; ++i) {
        const double phi = 0.1 * static_cast<double>(i / hits), r = 50.0 + 10.0 * static_cast<double>(i % hits);
        made.hit_id.push_back(static_cast<std::int64_t>(100 + i));
        for (const double value : {r * std::cos(phi), r * std::sin(phi), 0.0}) made.position.push_back(static_cast<float>(value));
    }
    return made;
}

void tracks_of_rays(trkx::Method method) {
    const auto engine = std::make_shared<Rays>();
    const trkx::Event made = event(20, 6);
    const trkx::Tracks whole = trkx::Pipeline(spec(method), engine).run(made);
    checks::expect(whole.num_tracks() == 20, "twenty rays, found " + std::to_string(whole.num_tracks()));
    for (std::size_t i = 0; i < whole.label.size(); ++i)
        checks::expect(whole.track_id()[i] == static_cast<std::int64_t>(i / 6), "tracks in order of their first hit");
    checks::expect(whole.stages.size() == 6 && whole.stages[2].count_out == 20 * 15 && whole.stages[3].count_out == 100,
                   "all pairs of a ray, then those of neighbours");
    engine->largest = 0;
    const trkx::Tracks chunks = trkx::Pipeline(spec(method), engine, 7).run(made);
    checks::expect(chunks.label == whole.label && engine->largest == 7, "in chunks the same");
    trkx::Spec together = spec(method);
    together.filter_looks_at_all_rows = true;
    engine->largest = 0;
    checks::expect(trkx::Pipeline(together, engine, 7).run(made).label == whole.label && engine->largest == 300,
                   "a filter that looks at all edges gets them at once");
    engine->logit = -5.0F;
    checks::expect(trkx::Pipeline(spec(method), engine).run(made).num_tracks() == 0, "nothing above the cut, no tracks");
    engine->logit = std::numeric_limits<float>::quiet_NaN();
    checks::expect_error<trkx::BundleError>([&] { trkx::Pipeline(spec(method), engine).run(made); }, "100 of 100 logits are NaN",
                                            "a network that answers with NaN");
    engine->logit = std::numeric_limits<float>::infinity();
    checks::expect_error<trkx::BundleError>([&] { trkx::Pipeline(spec(method), engine).run(made); }, "infinite",
                                            "a network that answers with infinity");
}

void small_events() {
    const trkx::Pipeline pipeline(spec(trkx::Method::edge_contraction), std::make_shared<Rays>());
    const trkx::Tracks none = pipeline.run(event(0, 0)), one = pipeline.run(event(1, 1));
    checks::expect(none.label.empty() && none.num_tracks() == 0 && none.stages.size() == 6, "no hits");
    checks::expect(one.label == std::vector<std::int64_t>{0} && one.num_tracks() == 0, "one hit");
    trkx::Event bad = event(1, 3);
    bad.position[4] = std::numeric_limits<float>::quiet_NaN();
    checks::expect_error<trkx::InputError>([&] { pipeline.run(bad); }, "NaN", "a position that is NaN");
    trkx::Event twice = event(1, 3);
    twice.hit_id[2] = twice.hit_id[0];
    checks::expect_error<trkx::InputError>([&] { pipeline.run(twice); }, "100", "a hit id that is there twice");
    trkx::Spec partial = spec(trkx::Method::edge_contraction);
    partial.stages = {"gnn"};
    checks::expect_error<trkx::SpecError>([&] { trkx::Pipeline(partial, std::make_shared<Rays>()); }, "has only gnn",
                                          "no embedding");
    checks::expect_error<trkx::SpecError>([&] { trkx::Pipeline(spec(trkx::Method::edge_contraction), nullptr); }, "engine",
                                          "no engine");
    std::string said;
    trkx::Spec other = spec(trkx::Method::edge_contraction);
    other.features[0].low = 10.0;
    other.features[0].high = 20.0;
    trkx::Pipeline(other, std::make_shared<Rays>()).run(event(50, 6), [&](const std::string& text) { said = text; });
    checks::expect(said.find("phi") != std::string::npos, "a warning where features are out of range");
}

void from_threads() {
    const trkx::Pipeline pipeline(spec(trkx::Method::edge_contraction), std::make_shared<Rays>());
    std::vector<std::thread> threads;
    std::vector<int> wrong(4);
    for (std::size_t thread = 0; thread < 4; ++thread)
        threads.emplace_back([&, thread] {
            for (std::size_t round = 1; round < 12; ++round)
                wrong[thread] +=
                    pipeline.run(event(round * (thread + 1), 5)).num_tracks() != static_cast<std::int64_t>(round * (thread + 1));
        });
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) checks::expect(count == 0, "four threads at once");
}

}  // namespace

int main() {
    for (const trkx::Method method : {trkx::Method::connected_components, trkx::Method::edge_contraction}) tracks_of_rays(method);
    small_events();
    from_threads();
    std::cout << (checks::failures == 0 ? "as it must be\n" : "failed\n");
    return checks::failures == 0 ? 0 : 1;
}
