// Which CSV files belong to one event. Private to the library.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace trkx {

/// What may serve as hits, best first.
inline constexpr std::array<const char*, 5> kinds_of_hits = {"spacepoint", "spacepoints", "measurements", "simhits", "hits"};

/// The files of one event: what each holds ("hits", "cells", …) to its path.
using EventFiles = std::map<std::string, std::filesystem::path>;

/// Returns the files of the event that a file belongs to; if it may serve as hits, it is the best of them.
/// Throws InputError: not an event file's name, no hits, only packed ones.
EventFiles files_of_event(const std::filesystem::path& path);

/// Returns which of an event's files are the hits, "" for none.
std::string kind_of_hits(const EventFiles& files);

}  // namespace trkx
