// What every engine must do, whatever library it calls: same answers from many threads at once, clear errors.
#pragma once

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <trkx/engine.hpp>

namespace checks {

inline int failures = 0;

inline void expect(bool holds, const std::string& what) {
    if (holds) return;
    ++failures;
    std::cerr << "failed: " << what << "\n";
}

/// Expects an error of a kind whose message holds a word.
template <typename Kind, typename Work>
void expect_error(Work work, const std::string& word, const std::string& what) {
    try {
        work();
    } catch (const Kind& error) {
        expect(std::string(error.what()).find(word) != std::string::npos,
               what + ": the message lacks '" + word + "': " + error.what());
        return;
    } catch (const std::exception& error) {
        expect(false, what + ": another error: " + error.what());
        return;
    }
    expect(false, what + ": no error");
}

/// A graph of random hits: x [n, F], edges [2, E], edge_attr [E, A].
struct Sample {
    std::size_t n, F, A;
    std::vector<float> x, edge_attr;
    trkx::Edges edges;
};

inline Sample sample(std::size_t n, std::size_t E, std::size_t F, std::size_t A, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> value(-1.0F, 1.0F);
    Sample made{n, F, A, std::vector<float>(n * F), std::vector<float>(E * A), {}};
    for (float& one : made.x) one = value(random);
    for (float& one : made.edge_attr) one = value(random);
    for (std::size_t i = 0; i < 2 * E; ++i) made.edges.data.push_back(static_cast<std::int64_t>(random() % n));
    made.edges = trkx::canonical(made.edges, n);
    return made;
}

struct Answers {
    std::vector<float> places, filter, gnn;
    bool operator==(const Answers&) const = default;
};

inline Answers ask(const trkx::Engine& engine, const trkx::Spec& spec, const Sample& sample) {
    Answers found;
    if (spec.has("embedding")) found.places = engine.embed(sample.x, sample.n, sample.F);
    if (spec.has("filter")) found.filter = engine.filter(sample.x, sample.n, sample.F, sample.edges);
    if (spec.has("gnn")) found.gnn = engine.gnn(sample.x, sample.n, sample.F, sample.edges, sample.edge_attr, sample.A);
    return found;
}

/// The whole check of one engine; returns the test's exit code.
inline int check_engine(const trkx::Engine& engine, const trkx::Spec& spec) {
    const std::size_t F = spec.features.size(), A = spec.edge_features.size();
    std::vector<Sample> samples;
    unsigned seed = 1;
    for (const auto& [n, E] : {std::pair<std::size_t, std::size_t>{1, 1},
                               {2, 1},
                               {2, 2},
                               {7, 3},
                               {17, 40},
                               {300, 1000},
                               {33, 1},
                               {1000, 4097},
                               {301, 999}})
        samples.push_back(sample(n, E, F, A, seed++));
    std::vector<Answers> alone;
    for (const Sample& one : samples) {
        alone.push_back(ask(engine, spec, one));
        const Answers& found = alone.back();
        expect(found.places.size() == one.n * static_cast<std::size_t>(spec.embedding_dim), "one place a hit");
        expect(found.filter.size() == (spec.has("filter") ? one.edges.size() : 0)
                   && found.gnn.size() == (spec.has("gnn") ? one.edges.size() : 0),
               "one logit an edge");
        for (const auto* logits : {&found.places, &found.filter, &found.gnn})
            for (const float value : *logits) expect(std::isfinite(value), "finite answers");
    }
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (std::size_t thread = 0; thread < wrong.size(); ++thread)
        threads.emplace_back([&, thread] {
            for (std::size_t round = 0; round < 3; ++round)
                for (std::size_t i = 0; i < samples.size(); ++i) {
                    const std::size_t at = (i * (thread + 1) + round) % samples.size();
                    wrong[thread] += !(ask(engine, spec, samples[at]) == alone[at]);
                }
        });
    for (std::thread& thread : threads) thread.join();
    for (const int count : wrong) expect(count == 0, std::to_string(count) + " answers differ when four threads ask at once");

    const Sample empty{0, F, A, {}, {}, {}};
    expect(ask(engine, spec, empty) == Answers{}, "no hits, no answers");
    Sample outside = samples[3];
    outside.edges.data[0] = 7;
    expect_error<trkx::InputError>([&] { engine.gnn(outside.x, 7, F, outside.edges, outside.edge_attr, A); }, "7 hits",
                                   "an edge to a hit that is not there");
    expect_error<trkx::InputError>([&] { engine.embed(samples[3].x, 8, F); }, "x must be [8, " + std::to_string(F) + "]",
                                   "x of another size");
    expect_error<trkx::InputError>(
        [&] { engine.gnn(samples[3].x, 7, F, samples[3].edges, std::vector<float>(3 * (A + 1)), A + 1); }, "edge_attr",
        "columns too many");
    expect_error<trkx::InputError>([&] { engine.embed(sample(5, 5, F + 1, A, 99).x, 5, F + 1); },
                                   "x must be [5, " + std::to_string(F) + "]", "features too many");
    std::cout << (failures == 0 ? "as it must be\n" : std::to_string(failures) + " failed\n");
    return failures == 0 ? 0 : 1;
}

/// The bundle that a variable of the environment names; exits with 77, not checked, where it names none.
inline trkx::Bundle bundle_of(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        std::cout << "not checked: " << variable << " names no bundle\n";
        std::exit(77);
    }
    return trkx::Bundle::open(path);
}

}  // namespace checks
