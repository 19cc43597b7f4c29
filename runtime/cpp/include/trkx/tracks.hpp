// What the pipeline gives: a label for each hit, the tracks among them, and a report of every stage.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trkx {

/// What one stage cost and did. seconds: wall time. count_in, count_out: number of `unit` (hits, edges, tracks) before and after.
struct StageReport {
    std::string name;
    double seconds = 0.0;
    std::int64_t count_in = 0, count_out = 0;
    std::string unit;
};

/// Tracks of one event.
/// hit_id: [N], as in the event. label: [N], component of each hit, numbered by lowest hit index; an isolated hit is its own
/// component. min_hits: the smallest component that is a track. truncated: hits that had more than k_max neighbours.
struct Tracks {
    std::int64_t event_id = 0;
    std::vector<std::int64_t> hit_id, label;
    std::int64_t min_hits = 1;
    std::vector<StageReport> stages;
    std::int64_t truncated = 0;

    /// Track of each hit, [N]: 0, 1, 2 … in order of labels (of each track's first hit), -1 for a hit that is on no track.
    std::vector<std::int64_t> track_id() const;
    /// Number of tracks with at least min_hits hits.
    std::int64_t num_tracks() const;
};

}  // namespace trkx
