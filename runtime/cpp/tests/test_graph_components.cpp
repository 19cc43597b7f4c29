// Edges, components and clusters: against naive twins, refusals, many threads.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <trkx/components.hpp>
#include <trkx/edges.hpp>

#include "core_check.hpp"

namespace {

using Labels = std::vector<std::int64_t>;

trkx::Edges random_edges(std::mt19937_64& random, std::size_t hits, std::size_t count) {
    trkx::Edges edges;
    for (std::size_t n = 0; n < 2 * count; ++n) edges.data.push_back(static_cast<std::int64_t>(random() % hits));
    return edges;
}

/// Renumbers labels by the lowest hit of each.
Labels numbered(const Labels& labels) {
    std::map<std::int64_t, std::int64_t> number;
    Labels found;
    for (const std::int64_t label : labels)
        found.push_back(number.try_emplace(label, static_cast<std::int64_t>(number.size())).first->second);
    return found;
}

Labels naive_components(const trkx::Edges& edges, std::size_t hits) {
    Labels labels(hits);
    for (std::size_t n = 0; n < hits; ++n) labels[n] = static_cast<std::int64_t>(n);
    for (std::size_t edge = 0; edge < edges.size(); ++edge) {
        const std::int64_t one = labels[static_cast<std::size_t>(edges.source()[edge])],
                           other = labels[static_cast<std::size_t>(edges.target()[edge])];
        std::replace(labels.begin(), labels.end(), one, other);
    }
    return numbered(labels);
}

/// Sums all weights between all clusters anew in every step; weights are whole numbers. Of equal sums the pair with the first
/// edge, by (lower hit, higher hit).
Labels naive_contraction(const trkx::Edges& edges, const std::vector<double>& weight, std::size_t hits) {
    using Pair = std::pair<std::int64_t, std::int64_t>;
    struct Between {
        double sum;
        Pair first;
    };
    Labels labels(hits);
    for (std::size_t n = 0; n < hits; ++n) labels[n] = static_cast<std::int64_t>(n);
    while (true) {
        std::map<Pair, Between> pairs;
        for (std::size_t edge = 0; edge < edges.size(); ++edge) {
            const Pair ends = std::minmax(edges.source()[edge], edges.target()[edge]);
            const std::int64_t a = labels[static_cast<std::size_t>(ends.first)],
                               b = labels[static_cast<std::size_t>(ends.second)];
            if (a == b) continue;
            Between& found = pairs.try_emplace(std::minmax(a, b), Between{0.0, ends}).first->second;
            found.sum += weight[edge];
            found.first = std::min(found.first, ends);
        }
        const auto best = std::max_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) {
            return a.second.sum < b.second.sum || (a.second.sum == b.second.sum && a.second.first > b.second.first);
        });
        if (best == pairs.end() || best->second.sum <= 0) return numbered(labels);
        std::replace(labels.begin(), labels.end(), best->first.second, best->first.first);
    }
}

void components() {
    std::mt19937_64 random(5);
    for (std::size_t turn = 0; turn < 60; ++turn) {
        const std::size_t hits = 1 + random() % 120;
        const trkx::Edges edges = random_edges(random, hits, random() % (2 * hits));
        check::that(trkx::connected_components(edges, hits) == naive_components(edges, hits),
                    "components " + std::to_string(turn));
    }
    check::that(trkx::connected_components({}, 3) == Labels{0, 1, 2}, "no edges");
    check::that(trkx::connected_components({{3, 1}}, 4) == Labels{0, 1, 2, 1}, "one edge");
    check::that(trkx::connected_components({}, 0).empty(), "no hits");
    trkx::detail::Components<std::int64_t> wide(4);
    wide.join(3, 1);
    check::that(wide.labels() == Labels{0, 1, 2, 1}, "wide parents");
}

void contraction() {
    std::mt19937_64 random(6);
    std::normal_distribution<double> normal(0.3, 2.0);
    for (std::size_t turn = 0; turn < 80; ++turn) {
        const std::size_t hits = 2 + random() % 40;
        const trkx::Edges edges = random_edges(random, hits, random() % (4 * hits));
        std::vector<double> weight(edges.size());
        for (double& value : weight) value = std::round(normal(random) * 65536.0) / 65536.0;
        check::that(trkx::edge_contraction(edges, weight, hits) == naive_contraction(edges, weight, hits),
                    "clusters " + std::to_string(turn));
        for (double& value : weight) value = std::round(value);
        check::that(trkx::edge_contraction(edges, weight, hits) == naive_contraction(edges, weight, hits),
                    "ties " + std::to_string(turn));
    }
    const double inf = std::numeric_limits<double>::infinity(), unit = 1.0 / 1048576.0;
    check::that(trkx::edge_contraction({{0, 1, 0, 1, 2, 2}}, std::vector{inf, inf, -inf}, 3) == Labels{0, 0, 1},
                "infinite weights are just large");
    check::that(trkx::edge_contraction({{0, 1, 1, 2}}, std::vector{0.5 * unit, 0.5000001 * unit}, 3) == Labels{0, 1, 1},
                "half a unit goes to the even one");
    for (const double weight : {0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49999, 12345.5, 1e4 / unit})
        check::equal(trkx::detail::whole(weight * unit), static_cast<std::int64_t>(std::nearbyint(weight)),
                     "rounding " + std::to_string(weight));
    check::equal(trkx::detail::whole(1e300), std::int64_t{10'485'760'000}, "the largest weight");
    check::equal(trkx::detail::whole(-inf), std::int64_t{-10'485'760'000}, "the smallest weight");
}

void edges() {
    using trkx::Direction;
    const std::vector<float> position{5, 0, 0, 0, 3, 0, 0, 0, 3, 1, 0, 0};
    trkx::Edges turned{{0, 1, 2, 3, 1, 2, 1, 0}};  // 0-1, 1-2, 2-1, 3-0
    trkx::orient(turned, position, Direction::by_radius);
    check::that(turned.data == Labels{1, 1, 1, 3, 0, 2, 2, 0}, "by radius, ties by lower index");
    trkx::orient(turned, position, Direction::by_index);
    check::that(turned.data == Labels{0, 1, 1, 0, 1, 2, 2, 3}, "by index");
    check::that(trkx::canonical({{3, 0, 2, 0, 3, 1, 2, 1, 0, 1}}, 4).data == Labels{0, 2, 3, 3, 0, 0, 1, 1, 1, 2},
                "sorted by target, then source");
    check::that(trkx::canonical_order({{1, 0, 1, 2, 2, 2}}, 3) == Labels{1, 0, 2}, "equal edges as they come");
    check::that(trkx::canonical({}, 0).empty(), "no edges");
}

void errors() {
    using trkx::InputError;
    for (const trkx::Edges& bad : {trkx::Edges{{0, 5}}, trkx::Edges{{-1, 2}}, trkx::Edges{{0, 1, 1, std::int64_t{1} << 40}}}) {
        const std::string words = "but there are 5 hits, counted from 0";
        const std::vector<double> weight(bad.size(), -1.0);
        trkx::Edges turned = bad;
        check::refuses<InputError>([&] { trkx::connected_components(bad, 5); }, words, "components");
        check::refuses<InputError>([&] { trkx::edge_contraction(bad, weight, 5); }, words, "contraction");
        check::refuses<InputError>([&] { trkx::canonical(bad, 5); }, words, "canonical");
        check::refuses<InputError>([&] { trkx::orient(turned, std::vector<float>(15), trkx::Direction::by_index); }, words,
                                   "orient");
    }
    check::refuses<InputError>([] { trkx::connected_components({{0}}, 5); }, "must be int64 [2, E], found 1 numbers",
                               "half an edge");
    check::refuses<InputError>([] { trkx::edge_contraction({{0, 1}}, std::vector{std::nan("")}, 5); }, "a weight is NaN", "NaN");
    check::refuses<InputError>([] { trkx::edge_contraction({{0, 1}}, {}, 5); }, "expected 1 weights, found [0]", "no weights");
}

void threads() {
    std::mt19937_64 random(8);
    const trkx::Edges edges = random_edges(random, 2000, 8000);
    std::vector<double> weight(edges.size());
    std::normal_distribution<double> normal;
    for (double& value : weight) value = normal(random);
    const Labels expected = trkx::edge_contraction(edges, weight, 2000);
    std::array<Labels, 4> found;
    std::vector<std::thread> workers;
    for (Labels& own : found) workers.emplace_back([&] { own = trkx::edge_contraction(edges, weight, 2000); });
    for (auto& worker : workers) worker.join();
    for (const Labels& own : found) check::that(own == expected, "threads: the same clusters");
}

}  // namespace

int main() {
    components();
    contraction();
    edges();
    errors();
    threads();
    return check::result();
}
