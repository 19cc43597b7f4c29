#include <trkx/csv.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <limits>

#include "files.hpp"
#include "utf8.hpp"

namespace trkx::csv {
namespace {

constexpr std::array<std::string_view, 16> nulls = {"",     "#N/A", "#N/A N/A", "#NA",     "-1.#IND", "-1.#QNAN",
                                                    "-NaN", "-nan", "1.#IND",   "1.#QNAN", "N/A",     "NA",
                                                    "NULL", "NaN",  "n/a",      "null"};
constexpr std::string_view spaces = " \t";

bool is_end_of_line(char c) { return c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text, std::string_view what = spaces) {
    const std::size_t first = text.find_first_not_of(what);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(what) - first + 1);
}

/// Returns the beginning of what a file holds, fit for a message.
std::string printable(std::string_view text) {
    std::string shown(text.substr(0, 60));
    std::replace_if(shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    return shown + (text.size() > 60 ? "…" : "");
}

const char* name_of(Type type) {
    switch (type) {
        case Type::int64: return "int64";
        case Type::uint64: return "uint64";
        case Type::int32: return "int32";
        default: return "float32";
    }
}

Column empty_column(Type type) {
    switch (type) {
        case Type::int64: return std::vector<std::int64_t>();
        case Type::uint64: return std::vector<std::uint64_t>();
        case Type::int32: return std::vector<std::int32_t>();
        default: return std::vector<float>();
    }
}

/// A float that no float32 holds: ±inf above, 0 or the nearest below. One beyond double with no negative exponent counts as
/// large.
float beyond(std::string_view text) {
    constexpr double largest = std::numeric_limits<float>::max();
    double wide = 0.0;
    const auto error = std::from_chars(text.data(), text.data() + text.size(), wide).ec;
    const bool small = error != std::errc()
                           ? text.find_first_of("eE") != std::string_view::npos && text.find('-', 1) != std::string_view::npos
                           : wide <= largest && wide >= -largest;
    if (small) return error != std::errc() ? 0.0F : static_cast<float>(wide);
    return text.starts_with('-') ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
}

/// Where a value of a column goes.
struct Slot {
    const Wanted* wanted = nullptr;  ///< nullptr for a column that nobody asked for.
    Column* column = nullptr;
};

class Rows {
public:
    Rows(std::string_view text, const std::string& path, std::vector<Slot> slots)
        : at_(text.data()), end_(text.data() + text.size()), path_(path), slots_(std::move(slots)) {}

    /// Reads all rows and returns their number.
    std::size_t read() {
        while (next_row()) {
            for (std::size_t place = 0; place < slots_.size(); ++place) {
                if (place > 0) separator();
                if (slots_[place].wanted == nullptr) {
                    pass();
                } else {
                    std::visit([&](auto& values) { value(values, *slots_[place].wanted); }, *slots_[place].column);
                }
            }
            if (at_ != end_ && !is_end_of_line(*at_)) wrong_length();
        }
        return row_;
    }

private:
    bool next_row() {
        while (at_ != end_ && is_end_of_line(*at_)) ++at_;
        start_ = at_;
        row_ += at_ != end_ ? 1 : 0;
        return at_ != end_;
    }

    bool at_stop(const char* place) const { return place == end_ || *place == ',' || is_end_of_line(*place); }

    void separator() {
        if (at_ == end_ || *at_ != ',') wrong_length();
        ++at_;
    }

    /// Goes behind a field and returns it as it stands.
    std::string_view pass() {
        const char* const first = at_;
        if (at_ != end_ && *at_ == '"') {
            do {  // "" is a quote within quotes: the end of one quoted piece and the beginning of another
                ++at_;
                while (at_ != end_ && *at_ != '"' && !is_end_of_line(*at_)) ++at_;
                if (at_ == end_ || *at_ != '"') {
                    fail("expected a quote that ends in its line, found none: line breaks within quotes aren't read");
                }
                ++at_;
            } while (at_ != end_ && *at_ == '"');
        }
        while (!at_stop(at_)) ++at_;
        return {first, static_cast<std::size_t>(at_ - first)};
    }

    template <typename T>
    void value(std::vector<T>& values, const Wanted& wanted) {
        T found{};
        const auto [next, error] = std::from_chars(at_, end_, found);
        if (error == std::errc() && at_stop(next)) {
            at_ = next;
        } else {
            found = unusual<T>(pass(), wanted);
        }
        values.push_back(found);
    }

    /// Reads a field with quotes, spaces, a plus sign, nothing in it, or an error.
    template <typename T>
    T unusual(std::string_view field, const Wanted& wanted) const {
        constexpr bool is_float = std::is_same_v<T, float>;
        std::string_view text = field;
        if (text.size() >= 2 && text.front() == '"' && text.back() == '"') text = text.substr(1, text.size() - 2);
        if (text == "nan" || std::find(nulls.begin(), nulls.end(), text) != nulls.end()) {
            if constexpr (is_float) return std::numeric_limits<T>::quiet_NaN();
            fail("column " + wanted.name + " must hold integers, but is empty");
        }
        text = trimmed(text);
        if (is_float && text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
        T found{};
        const char* const last = text.data() + text.size();
        const auto [next, error] = std::from_chars(text.data(), last, found);
        if (next == last && !text.empty()) {
            if (error == std::errc()) return found;
            if constexpr (is_float) {
                if (error == std::errc::result_out_of_range) return beyond(text);
            }
        }
        fail("column " + wanted.name + ": expected " + name_of(wanted.type) + ", found '" + printable(field) + "'");
    }

    [[noreturn]] void wrong_length() {
        at_ = start_;
        std::size_t count = 0;
        for (pass(); at_ != end_ && *at_ == ','; pass()) {
            ++at_;
            ++count;
        }
        fail("expected " + std::to_string(slots_.size()) + " columns, found " + std::to_string(count + 1) + ": " +
             printable({start_, static_cast<std::size_t>(at_ - start_)}));
    }

    [[noreturn]] void fail(const std::string& problem) const {
        throw InputError(path_ + ": " + problem + " in row " + std::to_string(row_) +
                         " (the first is 1). The file may be truncated: write it again.");
    }

    const char* at_;
    const char* const end_;
    const char* start_ = nullptr;
    const std::string& path_;
    std::vector<Slot> slots_;
    std::size_t row_ = 0;
};

void rename(std::vector<std::string>& names, const std::vector<Wanted>& wanted) {
    for (const Wanted& one : wanted) {
        for (const std::string& other : one.aliases) {
            const auto place = std::find(names.begin(), names.end(), other);
            if (place != names.end() && std::find(names.begin(), names.end(), one.name) == names.end()) *place = one.name;
        }
    }
}

void require_columns(const std::vector<std::string>& names, const std::vector<Wanted>& wanted, const std::string& path) {
    std::vector<std::string> missing;
    for (const Wanted& one : wanted) {
        const auto count = std::count(names.begin(), names.end(), one.name);
        if (count == 0 && !one.optional) missing.push_back(one.name);
        if (count > 1) throw InputError(path + ": column " + one.name + " stands more than once; found " + joined(names) + ".");
    }
    const std::string which = missing.size() > 1 ? "columns " : "column ";
    if (!missing.empty()) throw InputError(path + ": missing " + which + joined(missing) + "; found " + joined(names) + ".");
}

void refuse_packed(std::string_view text, const std::string& path) {
    if (text.starts_with("\x1f\x8b")) {
        throw InputError(path + ": expected CSV text, found a gzip file; unpack it first (gunzip --keep " + path + ").");
    }
}

}  // namespace

std::vector<std::string> header_names(std::string_view line, const std::string& path) {
    if (!utf8::is_valid(line)) throw InputError(path + ": expected a CSV header in UTF-8, found binary data.");
    if (line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = trimmed(line);
    if (line.empty()) throw InputError(path + ": expected a CSV header, found an empty file; write it again.");
    if (line.find('\r') != std::string_view::npos) {
        throw InputError(path +
                         ": expected lines that end in LF or CRLF, found a carriage return alone in the header (old Mac line "
                         "ends); convert the line ends to LF.");
    }
    std::vector<std::string> names;
    for (std::size_t at = 0; at <= line.size();) {
        const std::size_t end = std::min(line.find(',', at), line.size());
        names.emplace_back(trimmed(trimmed(line.substr(at, end - at), " \t\v\f"), "\""));
        at = end + 1;
    }
    return names;
}

Table parse(std::string_view text, const std::string& path, const std::vector<Wanted>& wanted) {
    refuse_packed(text, path);
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::vector<std::string> names = header_names(text.substr(0, end), path);
    rename(names, wanted);
    require_columns(names, wanted, path);
    Table table;
    std::vector<Slot> slots(names.size());
    const std::string_view body = text.substr(end);
    for (const Wanted& one : wanted) {
        const auto place = std::find(names.begin(), names.end(), one.name);
        if (place == names.end()) continue;
        Column& column = table.columns.emplace(one.name, empty_column(one.type)).first->second;
        std::visit([&](auto& values) { values.reserve(body.size() / (4 * names.size() + 1)); }, column);
        slots[static_cast<std::size_t>(place - names.begin())] = {&one, &column};
    }
    if (!trimmed(body, " \t\r\n\v\f").empty()) table.rows = Rows(body, path, std::move(slots)).read();
    if (!text.ends_with('\n') && !text.ends_with('\r')) {
        table.warnings.push_back(path + ": does not end with a line break: it may be truncated; compare it with its source.");
    }
    return table;
}

Table read(const std::filesystem::path& path, const std::vector<Wanted>& wanted) {
    std::string text;
    const std::string problem = read_whole(path, text);
    if (!problem.empty()) throw InputError(path.string() + ": could not be read (" + problem + ").");
    return parse(text, path.string(), wanted);
}

std::vector<std::string> read_header(const std::filesystem::path& path) {
    std::string text;
    const std::string problem = read_whole(path, text, std::size_t{1} << 16U);
    if (!problem.empty()) throw InputError(path.string() + ": could not be read (" + problem + ").");
    refuse_packed(text, path.string());
    return header_names(std::string_view(text).substr(0, text.find('\n')), path.string());
}

}  // namespace trkx::csv
