// Events out of files, their features, and tracks into files.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include <sys/stat.h>
#include <unistd.h>

#include <trkx/event.hpp>
#include <trkx/features.hpp>
#include <trkx/output.hpp>

#include "core_check.hpp"

using namespace trkx;
namespace fs = std::filesystem;

namespace {

struct Folder {
    fs::path path = fs::temp_directory_path() / ("trkx-events-" + std::to_string(::getpid()));
    Folder() { fs::create_directories(path); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { fs::remove_all(path); }
    fs::path write(const std::string& name, const std::string& text) const {
        std::ofstream(path / name, std::ios::binary) << text;
        return path / name;
    }
};

std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void test_trackml() {
    const Folder folder;
    const fs::path hits =
        folder.write("event000000007-hits.csv", "hit_id,x,y,z,volume_id,layer_id,module_id\n5,3,4,0,1,2,3\n9,0,-2,1e3,8,4,6\n");
    folder.write("event000000007-cells.csv", "hit_id,ch0,value\n9,1,0.5\n5,1,0.25\n5,2,0.25\n77,1,1\n9,1,1.0\n");
    const Event event = read_csv_event(hits);
    check::that(event.id == 7 && event.hit_id == std::vector<std::int64_t>{5, 9}, "ids");
    check::that(event.position == std::vector<float>{3, 4, 0, 0, -2, 1000}, "positions");
    check::that(event.columns.at("module") == std::vector<double>{3, 6}, "modules");
    check::that(event.columns.at("cell_count") == std::vector<double>{2, 2} &&
                    event.columns.at("cell_val") == std::vector<double>{0.5, 1.5},
                "cells");
    Spec spec;
    spec.features = {{"r", 10.0, {}, {}}, {"cell_val", 0.5, {}, {}}, {"phi", 2.0, {}, {}}};
    const std::vector<float> x = node_features(event, spec);
    check::that(x[0] == 0.5F && x[1] == 1.0F && x[3] == 0.2F && x[4] == 3.0F && std::abs(x[5] + 0.785398163F) < 1e-6F,
                "features");
    spec.features = {{"leta", 1.0, {}, {}}};
    check::refuses<InputError>([&] { node_features(event, spec); }, "needs the feature 'leta'", "a feature that is not there");
}

void test_acts() {
    const Folder folder;
    folder.write("event000000001-hits.csv", "geometry_id,tx,ty,tz,tt\n576460889742407680,1,2,3,4\n0,4,5,6,4\n");
    folder.write("event000000001-cells.csv", "measurement_id,value\n4,2\n");
    const fs::path points =
        folder.write("event000000001-spacepoint.csv",
                     "measurement_id_1,measurement_id_2,geometry_id_1,x,y,z\n4,18446744073709551615,576460889742407680,1,2,3\n");
    check::that(find_csv_events({folder.path}) == std::vector<fs::path>{points}, "space points come first");
    const Event event = read_csv_event(points), simulated = read_csv_event(folder.path / "event000000001-hits.csv");
    check::that(event.hit_id == std::vector<std::int64_t>{4} && event.columns.at("cell_val") == std::vector<double>{2},
                "space points");
    check::that(event.columns.at("volume") == std::vector<double>{8} && event.columns.at("layer") == std::vector<double>{2} &&
                    event.columns.at("module") == std::vector<double>{120},
                "parts of a geometry id");
    check::that(simulated.hit_id == std::vector<std::int64_t>{0, 1} && simulated.position[5] == 6.0F &&
                    !simulated.columns.contains("cell_val"),
                "simulated hits");
    folder.write("event000000001-spacepoint.csv", "measurement_id,x,y,z\n4,1,2,3\n4,1,2,4\n");
    check::refuses<InputError>([&] { read_csv_event(points); }, "part of more than one hit", "strips");
}

void test_bad_events() {
    const Folder folder;
    const auto refuses = [&](const std::string& rows, std::string_view says) {
        const fs::path hits = folder.write("event1-hits.csv", "hit_id,x,y,z\n" + rows);
        check::refuses<InputError>([&] { read_csv_event(hits); }, says, rows);
    };
    refuses("1,nan,0,0\n2,0,0,0\n", "1 hit(s) with NaN or infinite coordinates, the first is hit_id 1");
    refuses("1,0,0,0\n2,0,0,inf\n3,1e39,0,0\n", "2 hit(s) with NaN or infinite coordinates, the first is hit_id 2");
    refuses("-1,0,0,0\n", "negative, the first is -1");
    refuses("4,0,0,0\n2,0,0,0\n4,1,0,0\n", "1 duplicate hit id(s), first 4");
    folder.write("event1-hits.csv", "hit_id,x,y,z\n");
    check::equal(read_csv_event(folder.path / "event1-hits.csv").size(), 0U, "an event without hits");
    check::refuses<InputError>([&] { read_csv_event(folder.path / "event2-hits.csv"); }, "no such file", "a missing file");
    check::refuses<InputError>([&] { read_csv_event(folder.path / "hits.csv"); }, "not the name of an event file",
                               "another name");
    check::refuses<InputError>([] { event_number("event99999999999999999999-hits.csv"); }, "at most", "a number beyond int64");
    Event event;
    event.hit_id = {1};
    check::refuses<InputError>([&] { check_event(event); }, "position must be [1, 3]", "lengths");
    event.position = {0, 0, 0};
    event.columns["a"] = {std::numeric_limits<double>::quiet_NaN()};
    check::refuses<InputError>([&] { check_event(event); }, "feature a holds NaN", "a column with NaN");
}

void test_finding() {
    const Folder folder;
    check::refuses<InputError>([&] { find_csv_events({folder.path}); }, "no events in", "an empty folder");
    check::refuses<InputError>([&] { find_csv_events({folder.path / "none"}); }, "no such file or folder",
                               "a folder that is not there");
    const fs::path ten = folder.write("event10-hits.csv", "hit_id,x,y,z\n"),
                   two = folder.write("event2-hits.csv", "hit_id,x,y,z\n");
    folder.write("event2-truth.csv", "");
    folder.write("event3-truth.csv", "");
    folder.write("notes.txt", "");
    check::that(find_csv_events({folder.path}) == std::vector<fs::path>{two, ten}, "events by number");
    check::that(find_csv_events({ten, folder.path, two}) == std::vector<fs::path>{two, ten},
                "an event that is named and in a folder");
    check::that(find_csv_events({folder.path / "event2-truth.csv"}) == std::vector<fs::path>{two}, "a file stands for its event");
    check::refuses<InputError>([&] { find_csv_events({folder.path / "event3-truth.csv"}); }, "has no hits here, only truth",
                               "no hits");
    fs::create_directory(folder.path / "more");
    folder.write("more/event2-hits.csv", "hit_id,x,y,z\n");
    check::refuses<InputError>([&] { find_csv_events({folder.path, folder.path / "more"}); }, "event 2 occurs twice",
                               "an event twice");
    folder.write("event002-hits.csv", "");
    check::refuses<InputError>([&] { find_csv_events({folder.path}); }, "are both event 2", "two spellings");
    fs::remove(folder.path / "event002-hits.csv");
    folder.write("event2-hits.parquet", "");
    check::refuses<InputError>([&] { find_csv_events({folder.path}); }, "event 2 as Parquet and as CSV", "two formats");
    fs::remove(two);
    check::refuses<InputError>([&] { find_csv_events({folder.path}); }, "as Parquet, which is not read here", "Parquet");
    fs::remove(folder.path / "event2-hits.parquet");
    folder.write("event4-hits.csv.gz", "\x1f\x8b");
    check::refuses<InputError>([&] { find_csv_events({folder.path}); }, "unpack it first", "gzip");
}

void test_edge_features() {
    Spec spec;
    spec.features = {{"r", 10.0, {}, {}}, {"phi", 3.0, {}, {}}};
    spec.gnn_features = {{"r", 5.0, {}, {}}};
    spec.edge_features = {"dr", "dphi", "phislope", "rphislope"};
    const std::vector<float> x = {1.0F, 0.75F, 2.0F, -0.75F, 1.0F, 0.75F};
    const std::vector<float> found = edge_features(spec, x, 2, Edges{{0, 0, 1, 2}});  // 0 -> 1, 0 -> 2: at the same place
    check::that(found == std::vector<float>{2.0F, 0.5F, 0.25F, 0.75F, 0.0F, 0.0F, 0.0F, 0.0F}, "edge features");
    check::refuses<InputError>([&] { edge_features(spec, x, 2, Edges{{0, 3}}); }, "", "a hit that is not there");
    check::refuses<SpecError>([&] { edge_features(spec, x, 3, Edges()); }, "expected x with 2 columns", "another width");
    spec.edge_features = {"dz"};
    check::refuses<SpecError>([&] { edge_features(spec, x, 2, Edges()); }, "features has no z",
                              "a node feature that is not there");
    spec.edge_features = {"dx"};
    check::refuses<SpecError>([&] { edge_features(spec, x, 2, Edges()); }, "unknown edge feature 'dx'",
                              "an unknown edge feature");
}

void test_output() {
    const Folder folder;
    Tracks tracks;
    tracks.event_id = 12;
    tracks.hit_id = {7, 8, 9, 10, 11};
    tracks.label = {0, 1, 0, 3, 1};
    tracks.min_hits = 2;
    check::that(tracks.track_id() == std::vector<std::int64_t>{0, 1, 0, -1, 1} && tracks.num_tracks() == 2, "numbers of tracks");
    Event event{12, tracks.hit_id, {1, 0.1F, 1e-7F, 2, 0, 0, 3, -0.0F, 1e10F, 4, 0, 0, 5, 1.5e9F, 0.000001F}, {}, "", {}};
    const fs::path path = write_prototracks(folder.path / "new" / "folder", event, tracks);
    check::equal(path.filename().string(), "event000000012-prototracks.csv", "name");
    check::equal(text_of(path),
                 "trackId,measurementId,x,y,z\n0,7,1,0.1,1e-7\n0,9,3,-0,1e+10\n1,8,2,0,0\n1,11,5,1500000000,0.000001\n",
                 "prototracks");
    check::equal(text_of(write_trackml_submission(folder.path / "s.csv", {tracks})),
                 "event_id,hit_id,track_id\n12,7,1\n12,8,2\n12,9,1\n12,10,0\n12,11,2\n", "submission");
    check::refuses<InputError>([&] { write_trackml_submission(folder.path / "s.csv", {tracks, tracks}); }, "occurs twice",
                               "an event twice");
    event.id = 13;
    check::refuses<InputError>([&] { write_prototracks(folder.path, event, tracks); }, "do not belong to event 13",
                               "another event");
    event.id = 12;
    event.hit_id[0] = 6;
    check::refuses<InputError>([&] { prototrack_rows(event, tracks); }, "do not belong to event 12", "other hits");
    check::refuses<Error>([&] { write_files({{folder.path / "s.csv" / "t.csv", ""}}); }, "could not be written",
                          "a folder that is a file");
    fs::create_directory(folder.path / "d");
    check::refuses<Error>([&] { write_files({{folder.path / "d", "x"}}); }, "could not be written", "a file that is a folder");
    std::size_t left = 0;
    for (const auto& entry : fs::directory_iterator(folder.path)) left += entry.path().extension() == ".tmp" ? 1 : 0;
    check::equal(left, 0U, "temporary files that are left");
    check::that(Tracks().track_id().empty() && Tracks().num_tracks() == 0, "no hits");
}

void test_ranges() {
    Spec spec;
    spec.features = {{"r", 1000.0, 0.0, 1.0}, {"z", 1.0, {}, 1.0}};
    std::vector<float> x(800, 0.5F);
    for (std::size_t i = 0; i < 800; i += 2) x[i] = static_cast<float>(i) / 800.0F;
    check::that(range_problems(x, spec).empty(), "values in their range");
    for (const std::size_t outside : {20U, 22U}) {  // of 400 hits: 5 %, and a little more
        std::vector<float> strange = x;
        for (std::size_t hit = 0; hit < outside; ++hit) strange[2 * hit] = -0.2F;
        check::equal(range_problems(strange, spec).size(), outside > 20U ? 1U : 0U, "hits outside of the range");
    }
    for (float& value : x) value *= 0.001F;
    check::that(range_problems(x, spec).size() == 1, "values of another unit");
    check::that(range_problems({}, spec).empty(), "no hits");
}

}  // namespace

int main() {
    test_trackml();
    test_acts();
    test_bad_events();
    test_finding();
    test_edge_features();
    test_output();
    test_ranges();
    return check::result();
}
