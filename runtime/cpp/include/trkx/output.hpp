// Writers of tracks: TrackML submission, ACTS prototracks. Nothing is ever half written.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <trkx/event.hpp>
#include <trkx/tracks.hpp>

namespace trkx {

/// The first line of a TrackML submission.
inline constexpr std::string_view submission_header = "event_id,hit_id,track_id\n";

/// Returns the rows of one event in a TrackML submission, without a header. Every hit has a row; hits of no track have track 0,
/// tracks count from 1.
std::string submission_rows(const Tracks& tracks);

/// Returns an event's tracks as ACTS's CsvProtoTrackWriter writes them, with a header: trackId (from 0), measurementId (the hit
/// id), x, y, z (mm); one row a hit on a track, track by track. Throws InputError: tracks of another event.
std::string prototrack_rows(const Event& event, const Tracks& tracks);

/// Writes a TrackML submission CSV of any number of events and returns its path.
/// Throws InputError: an event that occurs twice; Error: no space, no permission; what was there is untouched.
std::filesystem::path write_trackml_submission(const std::filesystem::path& path, const std::vector<Tracks>& tracks);

/// Writes folder/event<number>-prototracks.csv and returns its path.
/// Throws InputError: tracks of another event; Error: no space, no permission; what was there is untouched.
std::filesystem::path write_prototracks(const std::filesystem::path& folder, const Event& event, const Tracks& tracks);

/// Puts files (path, content) in place: all are written to temporary names beside them first, then renamed; folders are made.
/// Throws Error: no space, no permission, … ; nothing is left over.
void write_files(const std::vector<std::pair<std::filesystem::path, std::string>>& contents);

/// Returns a float in the shortest form that reads back the same, as the CSV files of trkx hold it ("1", "0.001", "1e-7").
std::string shortest(float value);

}  // namespace trkx
