// Neighbours against every pair by definition: kinds of clouds, kernels of every processor, K nearest, streams, errors, many
// threads.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <trkx/neighbours.hpp>

#include "core_check.hpp"

namespace {

using Cloud = std::vector<float>;
using Pairs = std::vector<std::pair<std::int64_t, std::int64_t>>;

std::vector<std::pair<std::string, const trkx::detail::Kernels*>> kernels_here() {
    using namespace trkx::detail;
    std::vector<std::pair<std::string, const Kernels*>> known{{"any", &any::kernels}};
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi"))
        known.emplace_back("avx2", &avx2::kernels);
    if (&fastest_kernels() == &avx512::kernels) known.emplace_back("avx512", &avx512::kernels);
#endif
    return known;
}

/// All pairs within a radius and the number of truncated hits, by definition.
std::pair<Pairs, std::int64_t> by_definition(const Cloud& points, std::size_t dim, double radius, std::size_t k_max) {
    const std::size_t count = points.size() / dim;
    std::vector<std::vector<std::pair<double, std::size_t>>> near(count);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
            volatile double total = 0.0;  // so that nothing is fused or reordered
            for (std::size_t d = 0; d < dim; ++d) {
                volatile double square = static_cast<double>(points[i * dim + d]) - static_cast<double>(points[j * dim + d]);
                square = square * square;
                total = total + square;
            }
            if (i != j && total <= radius * radius) near[i].emplace_back(total, j);
        }
    }
    std::int64_t truncated = 0;
    Pairs pairs;
    for (std::size_t i = 0; i < count; ++i) {
        std::sort(near[i].begin(), near[i].end());
        if (k_max && near[i].size() > k_max) {
            ++truncated;
            near[i].resize(k_max);
        }
        for (const auto& [distance, j] : near[i]) pairs.emplace_back(std::min(i, j), std::max(i, j));
    }
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    return {pairs, truncated};
}

Pairs pairs_of(const trkx::Edges& edges) {
    Pairs pairs;
    for (std::size_t n = 0; n < edges.size(); ++n) pairs.emplace_back(edges.source()[n], edges.target()[n]);
    return pairs;
}

void compare(const std::string& what, const Cloud& points, std::size_t dim, double radius) {
    for (const std::size_t k : {0U, 1U, 3U}) {
        const std::optional<std::int64_t> k_max = k ? std::optional<std::int64_t>(k) : std::nullopt;
        const auto [expected, truncated] = by_definition(points, dim, radius, k);
        for (const auto& [name, kernels] : kernels_here()) {
            const std::string here = what + ", K " + std::to_string(k) + ", " + name;
            const trkx::Neighbours found =
                trkx::detail::radius_graph(points, dim, radius, k_max, trkx::max_pairs_default, *kernels);
            check::that(pairs_of(found.pairs) == expected,
                        here + ": " + std::to_string(found.pairs.size()) + " pairs, expected " + std::to_string(expected.size()));
            check::equal(found.truncated, truncated, here + ": truncated");
        }
        for (const std::size_t size : {std::size_t{5}, trkx::block_pairs_default}) {
            Pairs all;
            const auto streamed = trkx::for_each_block(
                points, dim, radius, k_max,
                [&](trkx::Edges& block) {
                    check::that(!block.empty() && block.size() <= size, what + ": a block of another size");
                    for (const auto& pair : pairs_of(block)) all.push_back(pair);
                    block.data.assign(3, -1);
                },
                size);
            check::equal(streamed.pairs, static_cast<std::int64_t>(all.size()), what + ": pairs of a stream");
            check::equal(streamed.truncated, truncated, what + ": truncated of a stream");
            std::sort(all.begin(), all.end());
            check::that(all == expected, what + ": a stream has other pairs");
        }
    }
}

void clouds() {
    std::mt19937_64 random(7);
    std::normal_distribution<float> normal;
    for (std::size_t turn = 0; turn < 48; ++turn) {
        const std::size_t dim = 1 + random() % 32, count = random() % 150 + (turn % 5 == 0 ? 0 : 100);
        Cloud points(count * dim);
        for (float& value : points) value = turn % 3 == 1 ? std::round(2 * normal(random)) : normal(random);
        if (turn % 3 == 2)
            for (std::size_t n = dim; n < points.size(); ++n)
                if (random() % 3 == 0) points[n] = points[n - dim];
        const double radius =
            turn % 3 == 1 ? std::sqrt(static_cast<double>(1 + random() % (2 * dim))) : 1.1 * std::sqrt(static_cast<double>(dim));
        compare("cloud " + std::to_string(turn), points, dim, radius);
    }
    for (const std::size_t count : {0U, 1U, 2U, 15U, 16U, 17U, 33U, 257U}) {
        compare("all equal", Cloud(count * 3, 0.7F), 3, 1e-30);
        Cloud line(count);
        for (std::size_t n = 0; n < count; ++n) line[n] = static_cast<float>(count - n);
        compare("line", line, 1, 2.0);
    }
    for (const float scale : {1e-44F, 1e-40F, 1e-30F, 1e-22F, 1e-20F, 1e10F, 2e14F}) {
        Cloud points(200);
        for (float& value : points) value = scale * static_cast<float>(random() % 5);
        compare("scale", points, 2, static_cast<double>(scale));
    }
}

void errors() {
    using trkx::InputError, trkx::SpecError, trkx::radius_graph;
    const Cloud four(12, 0.0F);
    const auto silent = [](const trkx::Edges&) {};
    const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
    for (const double radius : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
        check::refuses<SpecError>([&] { radius_graph(four, 3, radius); }, "radius must be a finite number above 0", "radius");
        check::refuses<SpecError>([&] { trkx::for_each_block(four, 3, radius, {}, silent); }, "radius must be",
                                  "radius of a stream");
    }
    check::refuses<SpecError>([&] { radius_graph(four, 3, 1.0, 0); }, "k_max must be at least 1, found 0", "k_max");
    check::refuses<InputError>([&] { radius_graph(four, 0, 1.0); }, "D from 1 to 32, found [0, 0]", "no axis");
    check::refuses<InputError>([&] { radius_graph(Cloud(66), 33, 1.0); }, "D from 1 to 32, found [2, 33]", "33 axes");
    check::refuses<InputError>([&] { radius_graph(four, 5, 1.0); }, "not a multiple of 5", "no rectangle");
    check::refuses<InputError>([&] { radius_graph(Cloud{0, 0, nan, inf, 0, 0, -inf, 0}, 2, 1.0); },
                               "2 of 4 points are NaN or infinite, the first is point 1", "NaN");
    check::refuses<InputError>([&] { radius_graph(Cloud{0, -2e15F}, 1, 1.0); },
                               "at most 1e+15, beyond which squared distances overflow float32; found 2e+15", "large");
    check::refuses<InputError>([&] { radius_graph(Cloud{0, inf}, 1, 1.0); }, "1 of 2 points are NaN or infinite", "infinite");
    check::refuses<InputError>([&] { radius_graph(four, 3, 1e26); }, "found 1e+26", "large radius");
    check::refuses<InputError>([&] { radius_graph(Cloud(3000), 1, 0.5, {}, 1'000'000); },
                               "more than 1,000,000 pairs within 0.5 among 3,000 hits (the limit, 0.0 GB", "pairs");
    check::refuses<InputError>([&] { radius_graph(Cloud(40), 1, 0.5, 2, 779); }, "more than 779 pairs", "pairs before K");
    check::equal(radius_graph(Cloud(40), 1, 0.5, {}, 780).pairs.size(), std::size_t{780}, "as many pairs as allowed");
    check::refuses<std::logic_error>(
        [&] { trkx::for_each_block(Cloud(40), 1, 0.5, {}, [](const trkx::Edges&) { throw std::logic_error("enough"); }); },
        "enough", "a callback's own error");
}

/// Events are searched by many threads at once: they share nothing that is written.
void threads() {
    Cloud points(3000 * 8);
    std::mt19937_64 random(11);
    std::normal_distribution<float> normal;
    for (float& value : points) value = normal(random);
    const auto expected = trkx::radius_graph(points, 8, 1.5, 10);
    std::array<trkx::Neighbours, 4> found;
    std::vector<std::thread> workers;
    for (auto& own : found) workers.emplace_back([&] { own = trkx::radius_graph(points, 8, 1.5, 10); });
    for (auto& worker : workers) worker.join();
    check::that(expected.pairs.size() > 1000, "threads: pairs");
    for (const auto& own : found)
        check::that(own.pairs.data == expected.pairs.data && own.truncated == expected.truncated, "threads: the same pairs");
}

/// More keys than a piece of memory holds, of indices of many widths.
void sorting() {
    std::mt19937_64 random(3);
    for (const std::size_t count : {2UL, 5UL, 40UL, 1000UL, 1UL << 20, (1UL << 31) - 1}) {
        const int half = trkx::detail::key_bits(count);
        std::vector<std::int64_t> keys;
        for (std::size_t n = 0; n < 60'000; ++n) {
            const auto a = static_cast<std::int64_t>(random() % count), b = static_cast<std::int64_t>(random() % count);
            if (a != b) keys.push_back(std::min(a, b) << half | std::max(a, b));
        }
        std::sort(keys.begin(), keys.end());
        keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
        auto shuffled = keys;
        std::shuffle(shuffled.begin(), shuffled.end(), random);
        trkx::detail::FoundKeys found(half);
        for (std::size_t start = 0, size; start < shuffled.size(); start += size) {
            size = std::min<std::size_t>(random() % 3000, shuffled.size() - start);
            std::copy_n(shuffled.data() + start, size, found.room(size));
            found.keep(size);
        }
        Pairs expected;
        for (const std::int64_t key : keys) expected.emplace_back(key >> half, key & ((std::int64_t{1} << half) - 1));
        check::that(pairs_of(found.sorted()) == expected, "sorting keys of " + std::to_string(count));
    }
    check::that(trkx::detail::FoundKeys(5).sorted().empty(), "sorting nothing");
}

/// A cut leaves nothing before its place that is above anything from it on, along the one axis that has an extent.
void cuts() {
    std::mt19937_64 random(9);
    std::normal_distribution<float> normal;
    constexpr std::size_t count = 2000;
    for (const std::string kind : {"normal", "few values", "one differs", "striped"}) {
        for (const std::size_t place : {std::size_t{16}, std::size_t{1024}, std::size_t{1984}}) {
            Cloud points(2 * count, 3.0F);
            for (std::size_t n = 0; n < count; ++n)
                points[2 * n + 1] = kind == "normal"        ? normal(random)
                                    : kind == "few values"  ? static_cast<float>(random() % 4)
                                    : kind == "one differs" ? static_cast<float>(n == 777)
                                                            : static_cast<float>(n % 31 == 5);
            trkx::detail::TreeOrder tree(2);
            std::vector<std::int32_t> order = tree.order(points);
            std::shuffle(order.begin(), order.end(), random);
            check::that(tree.cut(points.data(), order.data(), 0, count, place), kind + ": not cut");
            const auto value = [&](std::size_t n) { return points[2 * static_cast<std::size_t>(order[n]) + 1]; };
            float below = value(0), above = value(place);
            for (std::size_t n = 0; n < place; ++n) below = std::max(below, value(n));
            for (std::size_t n = place; n < count; ++n) above = std::min(above, value(n));
            check::that(below <= above, kind + ": cut in the wrong place");
            std::sort(order.begin(), order.end());
            for (std::size_t n = 0; n < count; ++n)
                check::that(order[n] == static_cast<std::int32_t>(n), kind + ": a point is lost");
        }
    }
    trkx::detail::TreeOrder tree(1);
    std::vector<std::int32_t> order = tree.order(Cloud(100, 1.0F));
    check::that(!tree.cut(Cloud(100, 1.0F).data(), order.data(), 0, 100, 64), "equal points are cut");
}

}  // namespace

int main() {
    cuts();
    clouds();
    errors();
    threads();
    sorting();
    return check::result();
}
