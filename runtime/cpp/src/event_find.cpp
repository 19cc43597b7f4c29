// Where events are: files by the names that runtime/events/reader.py knows. Parquet is refused, not read.
#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>

#include <trkx/event.hpp>

#include "event_files.hpp"

namespace trkx {
namespace {

namespace fs = std::filesystem;

constexpr const char* looked_for =
    "event<number>-hits.csv (TrackML), event<number>-spacepoint.csv, -measurements.csv, -simhits.csv or -hits.csv (ACTS); "
    "folders in "
    "folders are not searched, Parquet is not read here";

/// The parts of event<number>-<kind>.<suffix>.
struct Name {
    std::int64_t number = 0;
    std::string digits, kind, suffix;
};

std::optional<Name> parts_of(const fs::path& path) {
    const std::string name = path.filename().string();
    const std::size_t dash = name.find('-'), dot = name.find('.');
    if (!name.starts_with("event") || dash == std::string::npos || dot == std::string::npos || dash + 1 >= dot)
        return std::nullopt;
    Name parts{0, name.substr(5, dash - 5), name.substr(dash + 1, dot - dash - 1), name.substr(dot + 1)};
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const auto is_word = [&](char c) {
        return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
    };
    const bool known = parts.suffix == "csv" || parts.suffix == "csv.gz" || parts.suffix == "parquet";
    if (!known || parts.digits.empty() || !std::all_of(parts.digits.begin(), parts.digits.end(), is_digit)) return std::nullopt;
    if (!std::all_of(parts.kind.begin(), parts.kind.end(), is_word)) return std::nullopt;
    const char* last = parts.digits.data() + parts.digits.size();
    if (std::from_chars(parts.digits.data(), last, parts.number).ec != std::errc()) {
        throw InputError(path.string() + ": event ids must be at most 9223372036854775807 (int64), found " + parts.digits +
                         "; rename the file.");
    }
    return parts;
}

/// The files of one event in a folder: those of CSV, and whether its hits are there as Parquet.
struct Listed {
    EventFiles csv;
    bool parquet = false;
};

using Listing = std::map<std::int64_t, Listed>;

Listing files_of_folder(const fs::path& folder) {
    std::vector<fs::path> paths;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
        paths.push_back(entry->path());
    if (error) throw InputError(folder.string() + ": could not be read (" + error.message() + ").");
    std::sort(paths.begin(), paths.end());
    Listing events;
    for (const fs::path& path : paths) {
        const std::optional<Name> parts = parts_of(path);
        if (!parts) continue;
        Listed& event = events[parts->number];
        if (parts->suffix == "parquet") {
            event.parquet = event.parquet || parts->kind == "hits";
            continue;
        }
        const fs::path& other = event.csv.try_emplace(parts->kind, path).first->second;  // sorted: .csv comes before .csv.gz
        if (parts_of(other)->digits != parts->digits) {
            throw InputError(folder.string() + ": " + other.filename().string() + " and " + path.filename().string() +
                             " are both event " + std::to_string(parts->number) + "; move away the one that is not meant.");
        }
    }
    return events;
}

fs::path hits_of(const EventFiles& files) {
    const fs::path path = files.at(kind_of_hits(files));
    if (path.extension() == ".gz") {
        throw InputError(path.string() + ": expected CSV text, found a gzip file; unpack it first (gunzip --keep " +
                         path.string() + ").");
    }
    return path;
}

std::vector<CsvSource> found_in_folder(const fs::path& folder, const Listing& listing) {
    std::vector<CsvSource> found;
    for (const auto& [number, files] : listing) {
        const bool csv = !kind_of_hits(files.csv).empty();
        if (files.parquet) {
            throw InputError(folder.string() + ": holds event " + std::to_string(number) +
                             (csv ? " as Parquet and as CSV; name the files of CSV."
                                  : " as Parquet, which is not read here; write it as CSV."));
        }
        if (csv) found.push_back({number, hits_of(files.csv), files.csv});
    }
    return found;
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

/// The files of the event that a file belongs to. listed: returns what a folder holds.
EventFiles files_of_event(const fs::path& path, const std::function<const Listing&(const fs::path&)>& listed) {
    const std::optional<Name> parts = parts_of(path);
    if (!parts) throw InputError(path.string() + ": not the name of an event file; expected " + looked_for + ".");
    if (parts->suffix == "parquet") throw InputError(path.string() + ": Parquet is not read here; write the event as CSV.");
    std::error_code error;
    if (!fs::exists(path, error)) throw InputError(path.string() + ": no such file or folder.");
    const Listing& all = listed(parent_of(path));
    const auto known_files = all.find(parts->number);
    EventFiles files = known_files == all.end() ? EventFiles() : known_files->second.csv;
    files[parts->kind] = path;
    const bool named = std::find(kinds_of_hits.begin(), kinds_of_hits.end(), parts->kind) != kinds_of_hits.end();
    for (const char* better : kinds_of_hits) {
        if (!named || parts->kind == better) break;
        files.erase(better);
    }
    if (kind_of_hits(files).empty()) {
        std::vector<std::string> known;
        for (const auto& [kind, unused] : files) known.push_back(kind);
        throw InputError(path.string() + ": event " + std::to_string(parts->number) + " has no hits here, only " + joined(known) +
                         "; looked for " + looked_for + ".");
    }
    hits_of(files);
    return files;
}

}  // namespace

std::string kind_of_hits(const EventFiles& files) {
    for (const char* kind : kinds_of_hits) {
        if (files.contains(kind)) return kind;
    }
    return "";
}

EventFiles files_of_event(const fs::path& path) {
    Listing listing;
    return files_of_event(path, [&](const fs::path& folder) -> const Listing& { return listing = files_of_folder(folder); });
}

std::int64_t event_number(const fs::path& path) {
    const std::optional<Name> parts = parts_of(path);
    if (!parts) throw InputError(path.string() + ": not the name of an event file; expected " + looked_for + ".");
    return parts->number;
}

std::vector<CsvSource> find_csv_sources(const std::vector<fs::path>& folders_or_files) {
    std::map<fs::path, Listing> listings;
    const auto listed = [&](const fs::path& folder) -> const Listing& {
        const auto known = listings.find(folder);
        return known != listings.end() ? known->second : listings.emplace(folder, files_of_folder(folder)).first->second;
    };
    std::map<fs::path, fs::path> places;
    const auto place_of = [&](const fs::path& folder) -> const fs::path& {
        const auto known = places.find(folder);
        return known != places.end() ? known->second : places.emplace(folder, fs::weakly_canonical(folder)).first->second;
    };
    std::map<std::pair<std::int64_t, fs::path>, CsvSource> found;  // by number, then folder
    std::vector<std::string> given;
    for (const fs::path& path : folders_or_files) {
        given.push_back(path.string());
        std::error_code error;
        if (!fs::exists(path, error)) throw InputError(path.string() + ": no such file or folder.");
        if (fs::is_directory(path, error)) {
            for (CsvSource& event : found_in_folder(path, listed(path)))
                found.try_emplace({event.id, place_of(path)}, std::move(event));
        } else {
            EventFiles files = files_of_event(path, listed);
            const fs::path hits = hits_of(files);
            found[{event_number(hits), place_of(parent_of(hits))}] = CsvSource{event_number(hits), hits, std::move(files)};
        }
    }
    if (found.empty()) {
        throw InputError("no events in " + (given.empty() ? "an empty list" : joined(given)) + "; looked for " + looked_for +
                         ".");
    }
    std::vector<CsvSource> sources;
    const std::pair<std::int64_t, fs::path>* before = nullptr;
    for (auto& [key, source] : found) {
        if (before && before->first == key.first) {
            throw InputError("event " + std::to_string(key.first) + " occurs twice, in " + before->second.string() + " and " +
                             key.second.string() + "; outputs would overwrite each other, so read one.");
        }
        before = &key;
        sources.push_back(std::move(source));
    }
    return sources;
}

std::vector<fs::path> find_csv_events(const std::vector<fs::path>& folders_or_files) {
    std::vector<fs::path> paths;
    for (const CsvSource& source : find_csv_sources(folders_or_files)) paths.push_back(source.hits);
    return paths;
}

}  // namespace trkx
