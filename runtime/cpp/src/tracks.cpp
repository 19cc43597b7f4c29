#include <trkx/tracks.hpp>

#include <algorithm>
#include <cstddef>

namespace trkx {

std::vector<std::int64_t> Tracks::track_id() const {
    std::vector<std::int64_t> distinct = label;
    std::sort(distinct.begin(), distinct.end());
    std::vector<std::int64_t> numbers;  // by distinct label: the track, or -1
    std::int64_t next = 0;
    std::size_t kept = 0;
    for (std::size_t first = 0; first < distinct.size();) {
        std::size_t last = first;
        while (last < distinct.size() && distinct[last] == distinct[first]) ++last;
        const bool large = static_cast<std::int64_t>(last - first) >= min_hits;
        numbers.push_back(large ? next++ : -1);
        distinct[kept++] = distinct[first];
        first = last;
    }
    distinct.resize(kept);
    std::vector<std::int64_t> track(label.size());
    for (std::size_t hit = 0; hit < label.size(); ++hit) {
        const auto place = std::lower_bound(distinct.begin(), distinct.end(), label[hit]);
        track[hit] = numbers[static_cast<std::size_t>(place - distinct.begin())];
    }
    return track;
}

std::int64_t Tracks::num_tracks() const {
    std::vector<std::int64_t> sorted = label;
    std::sort(sorted.begin(), sorted.end());
    std::int64_t count = 0;
    for (std::size_t first = 0; first < sorted.size();) {
        std::size_t last = first;
        while (last < sorted.size() && sorted[last] == sorted[first]) ++last;
        count += static_cast<std::int64_t>(last - first) >= min_hits ? 1 : 0;
        first = last;
    }
    return count;
}

}  // namespace trkx
