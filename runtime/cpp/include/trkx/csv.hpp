// Columns out of CSV files with a header row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <trkx/error.hpp>

namespace trkx::csv {

enum class Type { int64, uint64, int32, float32 };

/// What to read: name of the column, its type, whether a file may lack it, and the names of other versions, tried in order.
struct Wanted {
    std::string name;
    Type type = Type::float32;
    bool optional = false;
    std::vector<std::string> aliases;
};

using Column = std::variant<std::vector<std::int64_t>, std::vector<std::uint64_t>, std::vector<std::int32_t>, std::vector<float>>;

/// The columns that were read, by our name, all of `rows` values.
struct Table {
    std::size_t rows = 0;
    std::map<std::string, Column> columns;
    std::vector<std::string> warnings;  ///< Something legitimate that is probably not meant: a file cut in its last number.

    bool has(const std::string& name) const { return columns.contains(name); }
    template <typename T>
    const std::vector<T>& at(const std::string& name) const {
        return std::get<std::vector<T>>(columns.at(name));
    }
};

/// Returns the wanted columns of a CSV file; others are not parsed. Lines end in LF or CRLF; fields may be quoted; a UTF-8 byte
/// order mark is skipped; empty lines are skipped. An empty cell of a float column is NaN, as are NaN, nan, NA, N/A and null.
/// Throws InputError: unreadable, gzip or binary, a column missing or twice, rows of different length, a value that is not such a
/// number or beyond its type, an empty integer, a line break within quotes.
Table read(const std::filesystem::path& path, const std::vector<Wanted>& wanted);

/// As `read`, of text in memory; path is for messages.
Table parse(std::string_view text, const std::string& path, const std::vector<Wanted>& wanted);

/// Returns the column names of a CSV file, reading no more than its beginning (64 KiB).
std::vector<std::string> read_header(const std::filesystem::path& path);

/// Returns the column names that a first line holds. Throws InputError: none, not UTF-8, a carriage return alone.
std::vector<std::string> header_names(std::string_view line, const std::string& path);

}  // namespace trkx::csv
