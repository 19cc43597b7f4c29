#include <trkx/event.hpp>

#include <algorithm>
#include <cmath>

#include <trkx/json.hpp>

namespace trkx {

std::string Event::where() const { return "event " + std::to_string(id) + (source.empty() ? "" : " (" + source + ")"); }

namespace {

void check_lengths(const Event& event) {
    const std::string count = std::to_string(event.size());
    if (event.position.size() != 3 * event.size()) {
        throw InputError(event.where() + ": position must be [" + count + ", 3] for " + count + " hit ids, found " +
                         std::to_string(event.position.size()) + " numbers.");
    }
    for (const auto& [name, values] : event.columns) {
        if (values.size() != event.size()) {
            throw InputError(event.where() + ": " + name + " has " + std::to_string(values.size()) + " rows for " + count +
                             " hits.");
        }
    }
}

void check_finite(const Event& event) {
    const auto is_bad = [](auto value) { return !std::isfinite(value); };
    if (std::any_of(event.position.begin(), event.position.end(), is_bad)) {
        std::size_t bad = 0, first = 0;
        for (std::size_t hit = event.size(); hit-- > 0;) {
            const float* place = event.position.data() + 3 * hit;
            if (std::any_of(place, place + 3, is_bad)) {
                ++bad;
                first = hit;
            }
        }
        const float* place = event.position.data() + 3 * first;
        throw InputError(event.where() + ": " + std::to_string(bad) +
                         " hit(s) with NaN or infinite coordinates, the first is hit_id " + std::to_string(event.hit_id[first]) +
                         " at [" + json::repr(place[0]) + ", " + json::repr(place[1]) + ", " + json::repr(place[2]) +
                         "]; mend or drop them before reading.");
    }
    for (const auto& [name, values] : event.columns) {
        if (std::any_of(values.begin(), values.end(), is_bad)) {
            throw InputError(event.where() + ": feature " + name + " holds NaN or infinite values; mend or drop these hits.");
        }
    }
}

void check_ids(const Event& event) {
    const auto negative = [](std::int64_t id) { return id < 0; };
    const auto below = std::find_if(event.hit_id.begin(), event.hit_id.end(), negative);
    if (below != event.hit_id.end()) {
        const auto count = std::count_if(event.hit_id.begin(), event.hit_id.end(), negative);
        throw InputError(event.where() + ": hit ids must be 0 or above, found " + std::to_string(count) +
                         " negative, the first is " + std::to_string(*below) + ".");
    }
    const auto not_ascending = [](std::int64_t a, std::int64_t b) { return a >= b; };
    if (std::adjacent_find(event.hit_id.begin(), event.hit_id.end(), not_ascending) == event.hit_id.end()) return;
    std::vector<std::int64_t> sorted = event.hit_id;
    std::sort(sorted.begin(), sorted.end());
    const auto first = std::adjacent_find(sorted.begin(), sorted.end());
    if (first == sorted.end()) return;
    std::size_t repeated = 0;
    for (std::size_t i = 1; i < sorted.size(); ++i) repeated += sorted[i] == sorted[i - 1] ? 1 : 0;
    throw InputError(event.where() + ": " + std::to_string(repeated) + " duplicate hit id(s), first " + std::to_string(*first) +
                     "; ids must be unique.");
}

}  // namespace

void check_event(const Event& event) {
    check_lengths(event);
    check_finite(event);
    check_ids(event);
}

}  // namespace trkx
