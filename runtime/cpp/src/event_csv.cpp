// CSV files of TrackML and ACTS as events (runtime/events/{trackml,acts}.py, without the truth).
#include <algorithm>

#include <trkx/csv.hpp>
#include <trkx/event.hpp>

#include "event_files.hpp"

namespace trkx {
namespace {

using csv::Type;
using Ids = std::vector<std::int64_t>;

std::vector<float> positions(const csv::Table& table, const std::array<const char*, 3>& names = {"x", "y", "z"}) {
    std::vector<float> position(3 * table.rows);
    for (std::size_t axis = 0; axis < 3; ++axis) {
        const std::vector<float>& values = table.at<float>(names[axis]);
        for (std::size_t row = 0; row < table.rows; ++row) position[3 * row + axis] = values[row];
    }
    return position;
}

/// Adds cell_count, the number of a hit's cells, and cell_val, the sum of their values; 0 for a hit without cells.
void add_cells(Event& event, const std::filesystem::path& path, const std::string& id_column) {
    const csv::Table cells = csv::read(path, {{id_column, Type::int64, false, {}}, {"value", Type::float32, false, {}}});
    std::vector<std::size_t> order(event.size());  // rows of hits by id; of equal ids the first row counts
    for (std::size_t row = 0; row < order.size(); ++row) order[row] = row;
    const Ids& ids = event.hit_id;
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return ids[a] < ids[b]; });
    std::vector<double> count(event.size()), sum(event.size());
    const Ids& of = cells.at<std::int64_t>(id_column);
    const std::vector<float>& value = cells.at<float>("value");
    auto place = order.end();
    for (std::size_t cell = 0; cell < of.size(); ++cell) {
        if (place == order.end() || ids[*place] != of[cell]) {  // the cells of a hit mostly stand together
            place = std::lower_bound(order.begin(), order.end(), of[cell],
                                     [&](std::size_t row, std::int64_t id) { return ids[row] < id; });
        }
        if (place == order.end() || ids[*place] != of[cell]) continue;  // of a hit that is not in the event
        count[*place] += 1.0;
        sum[*place] += static_cast<double>(value[cell]);
    }
    for (std::vector<double>* column : {&count, &sum}) {  // features are float32 in the event
        for (double& one : *column) one = static_cast<double>(static_cast<float>(one));
    }
    event.columns["cell_count"] = std::move(count);
    event.columns["cell_val"] = std::move(sum);
    event.warnings.insert(event.warnings.end(), cells.warnings.begin(), cells.warnings.end());
}

/// Adds volume, layer and module of ACTS geometry identifiers; bits from the top: volume 8, boundary 8, layer 12, approach 8,
/// sensitive 20, extra 8 (Acts::GeometryIdentifier).
void add_geometry(Event& event, const csv::Table& table) {
    if (!table.has("geometry_id")) return;
    const auto part = [&](const char* name, unsigned shift, std::uint64_t mask) {
        std::vector<double>& column = event.columns[name];
        for (const std::uint64_t id : table.at<std::uint64_t>("geometry_id"))
            column.push_back(static_cast<double>((id >> shift) & mask));
    };
    part("volume", 56, 0xFF);
    part("layer", 36, 0xFFF);
    part("module", 8, 0xFFFFF);
}

void read_trackml(Event& event, const EventFiles& files) {
    const csv::Table table = csv::read(files.at("hits"), {{"hit_id", Type::int64, false, {}},
                                                          {"x", Type::float32, false, {}},
                                                          {"y", Type::float32, false, {}},
                                                          {"z", Type::float32, false, {}},
                                                          {"volume_id", Type::int32, true, {}},
                                                          {"layer_id", Type::int32, true, {}},
                                                          {"module_id", Type::int32, true, {}}});
    event.hit_id = table.at<std::int64_t>("hit_id");
    event.position = positions(table);
    event.warnings = table.warnings;
    for (const std::string name : {"volume", "layer", "module"}) {
        if (!table.has(name + "_id")) continue;
        const std::vector<std::int32_t>& values = table.at<std::int32_t>(name + "_id");
        event.columns[name].assign(values.begin(), values.end());
    }
    if (files.contains("cells")) add_cells(event, files.at("cells"), "hit_id");
}

void read_simulated(Event& event, const std::filesystem::path& path) {
    const csv::Table table = csv::read(path, {{"tx", Type::float32, false, {}},
                                              {"ty", Type::float32, false, {}},
                                              {"tz", Type::float32, false, {}},
                                              {"geometry_id", Type::uint64, true, {}}});
    for (std::size_t row = 0; row < table.rows; ++row) event.hit_id.push_back(static_cast<std::int64_t>(row));
    event.position = positions(table, {"tx", "ty", "tz"});
    event.warnings = table.warnings;
    add_geometry(event, table);
}

void read_measured(Event& event, const std::filesystem::path& path, const EventFiles& files) {
    const csv::Table table = csv::read(path, {{"measurement_id", Type::int64, false, {"measurement_id_1"}},
                                              {"x", Type::float32, false, {"sp_x", "global_x"}},
                                              {"y", Type::float32, false, {"sp_y", "global_y"}},
                                              {"z", Type::float32, false, {"sp_z", "global_z"}},
                                              {"geometry_id", Type::uint64, true, {"geometry_id_1"}}});
    event.hit_id = table.at<std::int64_t>("measurement_id");
    event.position = positions(table);
    event.warnings = table.warnings;
    Ids sorted = event.hit_id;
    std::sort(sorted.begin(), sorted.end());
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) {
        throw InputError(
            path.string() + ": measurement " + std::to_string(*twice) +
            " is part of more than one hit, as in space points made of two strips, which can't be told apart in the output; "
            "read the measurements file instead.");
    }
    add_geometry(event, table);
    if (files.contains("cells")) add_cells(event, files.at("cells"), "measurement_id");
}

}  // namespace

Event read_csv_event(const std::filesystem::path& hits) {
    const EventFiles files = files_of_event(hits);
    return read_csv_event(CsvSource{event_number(hits), files.at(kind_of_hits(files)), files});
}

Event read_csv_event(const CsvSource& source) {
    const EventFiles& files = source.files;
    const std::string kind = kind_of_hits(files);
    const std::filesystem::path& path = source.hits;
    Event event;
    event.id = source.id;
    event.source = path.string();
    const std::vector<std::string> names = kind == "hits" ? csv::read_header(path) : std::vector<std::string>();
    const bool simulated = kind == "simhits" || std::find(names.begin(), names.end(), "tx") != names.end();
    if (simulated) {
        read_simulated(event, path);
    } else if (kind == "hits") {
        read_trackml(event, files);
    } else {
        read_measured(event, path, files);
    }
    check_event(event);
    return event;
}

}  // namespace trkx
