// Events on threads: order, bounds, errors.
#include <trkx/many.hpp>

#include <atomic>
#include <mutex>

#include "engine_checks.hpp"

namespace {

void in_order(std::size_t count, std::size_t threads) {
    const std::string what = std::to_string(count) + " on " + std::to_string(threads);
    std::vector<int> made(count), delivered;
    std::atomic<std::size_t> begun{0}, ended{0}, most{0};
    trkx::for_each_in_order(
        count, threads,
        [&](std::size_t i) {
            const std::size_t open = ++begun - ended.load();
            for (std::size_t seen = most.load(); open > seen && !most.compare_exchange_weak(seen, open);) {
            }
            if (i % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
            made[i] = static_cast<int>(i) + 1;
        },
        [&](std::size_t i) {
            ++ended;
            delivered.push_back(made[i]);
        });
    checks::expect(delivered.size() == count, what + ": all are delivered");
    for (std::size_t i = 0; i < delivered.size(); ++i)
        checks::expect(delivered[i] == static_cast<int>(i) + 1, what + ": in order");
    checks::expect(most.load() <= 2 * threads,
                   what + ": at most twice as many are open as there are threads, found " + std::to_string(most.load()));
}

void at_once() {
    std::atomic<int> there{0};
    trkx::for_each_in_order(
        4, 4,
        [&](std::size_t) {
            ++there;
            for (int i = 0; i < 2000 && there.load() < 4; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        [](std::size_t) {});
    checks::expect(there.load() == 4, "four at once");
}

void first_error(std::size_t threads) {
    const std::string what = "errors on " + std::to_string(threads);
    std::vector<std::size_t> delivered;
    checks::expect_error<trkx::InputError>(
        [&] {
            trkx::for_each_in_order(
                100, threads,
                [](std::size_t i) {
                    if (i == 9) throw trkx::BundleError("the ninth, which is quicker");
                    if (i == 8) std::this_thread::sleep_for(std::chrono::milliseconds(20));
                    if (i == 8) throw trkx::InputError("the eighth");
                },
                [&](std::size_t i) { delivered.push_back(i); });
        },
        "the eighth", what);
    checks::expect(delivered == std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7}, what + ": those before it are delivered");
    checks::expect_error<trkx::Error>(
        [&] {
            trkx::for_each_in_order(
                50, threads, [](std::size_t) {},
                [](std::size_t i) {
                    if (i == 3) throw trkx::Error("no space");
                });
        },
        "no space", what + ": delivering fails");
}

}  // namespace

int main() {
    for (const std::size_t threads : {1, 2, 3, 8})
        for (const std::size_t count : {0, 1, 2, 50, 300}) in_order(count, threads);
    at_once();
    for (const std::size_t threads : {1, 2, 4}) first_error(threads);
    checks::expect_error<trkx::SpecError>([] { trkx::for_each_in_order(1, 0, [](std::size_t) {}, [](std::size_t) {}); },
                                          "threads", "no threads");
    std::cout << (checks::failures == 0 ? "as it must be\n" : "failed\n");
    return checks::failures == 0 ? 0 : 1;
}
