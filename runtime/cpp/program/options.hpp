// What the command line of trkx-run says.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace trkx::program {

/// A command line that makes no sense; exit code 2.
class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct Options {
    std::filesystem::path bundle, out, times;
    std::vector<std::filesystem::path> events;
    std::string engine, precision = "fp32", target, format = "acts";
    std::size_t threads = 0;  ///< Events at a time, 0 for one a core.
    int engine_threads = 1;   ///< Threads inside a network, for each event.
    std::optional<std::size_t> limit;
    std::size_t repeat = 1;
    bool help = false, version = false;
};

/// Throws UsageError.
Options read_options(const std::vector<std::string>& words);

/// The help text. default_engine: what --engine is if it is not given.
std::string help_text(const std::string& default_engine);

}  // namespace trkx::program
