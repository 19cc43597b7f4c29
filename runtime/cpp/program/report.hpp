// What a run says at its end: the table of stages, and a file of times.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <trkx/tracks.hpp>

namespace trkx::program {

/// What is kept of an event that is done. hits: N. read: seconds that reading its file took.
struct Row {
    std::int64_t event_id = 0, hits = 0, tracks = 0, truncated = 0;
    double read = 0.0;
    std::vector<StageReport> stages;
};

/// Returns "1 track", "2 tracks", …
std::string counted(std::size_t count, const std::string& name);

/// Returns a rate with three digits, or all of those before the point.
std::string rate(double value);

/// Returns the table of stages: mean and standard deviation over events of time and of what came out.
std::string stage_table(const std::vector<Row>& rows, const std::string& title);

/// Returns JSON of what a run cost: facts (name, text), seconds of each pass over the events, and of each event its stages.
std::string times_json(const std::vector<Row>& rows, const std::vector<double>& passes,
                       const std::vector<std::pair<std::string, std::string>>& facts);

}  // namespace trkx::program
