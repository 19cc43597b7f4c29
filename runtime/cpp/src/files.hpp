// Whole files in and out. Private to the library.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace trkx {

/// Reads a whole file into `data`; returns "" or why it could not be read ("Permission denied").
std::string read_whole(const std::filesystem::path& path, std::string& data, std::size_t limit = static_cast<std::size_t>(-1));

}  // namespace trkx
