#include "report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <optional>

#include <trkx/json.hpp>

namespace trkx::program {

namespace {

constexpr std::size_t columns = 4;
using Cells = std::array<std::string, columns>;

std::string fixed(double value, int digits) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*f", digits, value);
    std::string found(text.data());
    const std::size_t point = found.find('.') == std::string::npos ? found.size() : found.find('.');
    for (std::size_t at = point; at > 3 + (found[0] == '-'); at -= 3) found.insert(at - 3, ",");
    return found;
}

/// "mean ± standard deviation", or the one value.
std::string cell(const std::vector<double>& values, int digits) {
    double sum = 0.0, squares = 0.0;
    for (const double value : values) sum += value;
    const double mean = sum / static_cast<double>(values.size());
    for (const double value : values) squares += (value - mean) * (value - mean);
    if (values.size() == 1) return fixed(mean, digits);
    return fixed(mean, digits) + " ± " + fixed(std::sqrt(squares / static_cast<double>(values.size())), digits);
}

/// Columns of a text on the screen: bytes but for those that continue a character.
std::size_t width(const std::string& text) {
    std::size_t count = 0;
    for (const char byte : text) count += (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U;
    return count;
}

/// A row: the name to the left, numbers to the right, their unit after them.
std::string line(const Cells& cells, const std::array<std::size_t, columns>& widths) {
    const auto spaces = [&](std::size_t i) {
        return std::string(widths[i] - width(cells[i]), ' ');
    };
    std::string found = cells[0] + spaces(0) + "  " + spaces(1) + cells[1] + "  " + spaces(2) + cells[2] + " " + cells[3];
    found.erase(found.find_last_not_of(' ') + 1);
    return found + "\n";
}

std::string rule(const std::array<std::size_t, columns>& widths) {
    std::string found;
    for (std::size_t at = widths[0] + widths[1] + widths[2] + widths[3] + 5; at > 0; --at) found += "─";
    return found + "\n";
}

json::Value whole(std::int64_t value) {
    return json::Value(json::Number{static_cast<double>(value), value, std::to_string(value)});
}

json::Value real(double value) {
    return json::Value(json::Number{value, {}, {}});
}

json::Value text(const std::string& value) {
    return json::Value(value);
}

}  // namespace

std::string counted(std::size_t count, const std::string& name) {
    return std::to_string(count) + " " + name + (count == 1 ? "" : "s");
}

std::string rate(double value) {
    return fixed(value, value >= 100.0 ? 0 : value >= 10.0 ? 1 : value >= 1.0 ? 2 : 3);
}

std::string stage_table(const std::vector<Row>& rows, const std::string& title) {
    std::vector<Cells> table{{"stage", "time (ms)", "out", ""}};
    const std::size_t stages = rows.empty() ? 0 : rows[0].stages.size();
    std::vector<double> reads, totals(rows.size());
    for (const Row& row : rows) reads.push_back(1e3 * row.read);
    if (!rows.empty()) table.push_back({"(reading)", cell(reads, 1), "", ""});
    for (std::size_t i = 0; i < stages; ++i) {
        std::vector<double> times, counts;
        for (std::size_t at = 0; at < rows.size(); ++at) {
            const StageReport& stage = rows[at].stages[i];
            times.push_back(1e3 * stage.seconds);
            counts.push_back(static_cast<double>(stage.count_out));
            totals[at] += times.back();
        }
        table.push_back({rows[0].stages[i].name, cell(times, 1), cell(counts, 0), rows[0].stages[i].unit});
    }
    if (!rows.empty()) table.push_back({"all", cell(totals, 1), "", ""});
    std::array<std::size_t, columns> widths{};
    for (const Cells& cells : table)
        for (std::size_t i = 0; i < columns; ++i) widths[i] = std::max(widths[i], width(cells[i]));
    std::string found = title + "\n";
    for (std::size_t i = 0; i < table.size(); ++i) {
        found += line(table[i], widths);
        if (i == 0 || i + 2 == table.size()) found += rule(widths);
    }
    return found;
}

std::string times_json(const std::vector<Row>& rows, const std::vector<double>& passes,
                       const std::vector<std::pair<std::string, std::string>>& facts) {
    json::Object report;
    for (const auto& [name, value] : facts) report.emplace_back(name, text(value));
    json::Array seconds, events;
    for (const double pass : passes) seconds.push_back(real(pass));
    for (const Row& row : rows) {
        json::Array stages;
        for (const StageReport& stage : row.stages)
            stages.push_back(json::Value(json::Object{{"name", text(stage.name)},
                                                      {"seconds", real(stage.seconds)},
                                                      {"count_in", whole(stage.count_in)},
                                                      {"count_out", whole(stage.count_out)},
                                                      {"unit", text(stage.unit)}}));
        events.push_back(json::Value(json::Object{{"event_id", whole(row.event_id)},
                                                  {"hits", whole(row.hits)},
                                                  {"tracks", whole(row.tracks)},
                                                  {"truncated", whole(row.truncated)},
                                                  {"read_seconds", real(row.read)},
                                                  {"stages", json::Value(std::move(stages))}}));
    }
    report.emplace_back("seconds", json::Value(std::move(seconds)));
    report.emplace_back("events", json::Value(std::move(events)));
    return json::canonical(json::Value(std::move(report))) + "\n";
}

}  // namespace trkx::program
