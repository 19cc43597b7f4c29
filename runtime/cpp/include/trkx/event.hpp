// One collision event: hits and what the detector says of them; read from CSV files of TrackML and ACTS.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <trkx/error.hpp>

namespace trkx {

/// Hits of one event.
/// id: number of the event. hit_id: [N], unique, 0 or above. position: [N, 3] row-major, global x, y, z in mm. columns: other
/// features, [N] each: "volume", "layer", "module", "cell_count", "cell_val", …; source: the file it came from, for messages;
/// warnings: what the reader found strange.
struct Event {
    std::int64_t id = 0;
    std::vector<std::int64_t> hit_id;
    std::vector<float> position;
    std::map<std::string, std::vector<double>> columns;
    std::string source;
    std::vector<std::string> warnings;

    std::size_t size() const { return hit_id.size(); }
    /// How messages call it: "event 3 (folder/event000000003-hits.csv)".
    std::string where() const;
};

/// Throws InputError: lengths that differ, NaN or infinite positions or features, negative or duplicate hit ids.
/// Two hits at the same place are legitimate; two hits with the same id are not.
void check_event(const Event& event);

/// Returns the event of a CSV file of hits, checked. Its number comes from the name, event<number>-<kind>.csv; the cells file
/// beside it is read if it is there (cell_count, cell_val). Truth is not looked at.
///   hits: TrackML (hit_id, x, y, z and, if there, volume_id, layer_id, module_id), or ACTS simulated hits (tx, ty, tz: hit_id is
///   the row); simhits: ACTS simulated hits; spacepoint(s), measurements: ACTS (hit_id is the measurement's id; geometry_id gives
///   volume, layer, module).
/// Throws InputError: a file that can't be read (a .csv.gz must be unpacked first), a missing column, or what check_event
/// refuses.
Event read_csv_event(const std::filesystem::path& hits);

/// Returns the file of hits of each event in folders (not searched deeper) and files, sorted by event number. Of an event's files
/// in a folder the best is taken: spacepoint, spacepoints, measurements, simhits, hits. Throws InputError: a path that does not
/// exist, no event, an event that occurs twice, one that is only there as Parquet or packed, one in two formats or under two
/// spellings of its number.
std::vector<std::filesystem::path> find_csv_events(const std::vector<std::filesystem::path>& folders_or_files);

/// The files of one event, found and not yet read. hits: the one with the hits. files: what each holds ("hits", "cells", …) to its
/// path.
struct CsvSource {
    std::int64_t id = 0;
    std::filesystem::path hits;
    std::map<std::string, std::filesystem::path> files;
};

/// Returns what find_csv_events finds with all that belongs to each event; folders are listed once, however many events they hold.
std::vector<CsvSource> find_csv_sources(const std::vector<std::filesystem::path>& folders_or_files);

/// Returns the event that was found; else as read_csv_event of its file of hits, which has to list its folder first.
Event read_csv_event(const CsvSource& source);

/// Returns the event's number in a file name such as event000000003-hits.csv. Throws InputError: another name, or beyond int64.
std::int64_t event_number(const std::filesystem::path& path);

}  // namespace trkx
