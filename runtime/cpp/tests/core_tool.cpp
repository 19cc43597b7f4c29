// What the tests in Python ask the library: one command a question, answers as text or as raw arrays in files.
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <trkx/bundle.hpp>
#include <trkx/csv.hpp>
#include <trkx/edges.hpp>
#include <trkx/event.hpp>
#include <trkx/features.hpp>
#include <trkx/json.hpp>
#include <trkx/output.hpp>
#include <trkx/sha256.hpp>
#include <trkx/spec.hpp>
#include <trkx/tracks.hpp>

namespace {

using Arguments = std::vector<std::string>;

std::string text_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw trkx::Error(path + ": can't be read");
    return {std::istreambuf_iterator<char>(file), {}};
}

template <typename T>
std::vector<T> array_of(const std::string& path) {
    const std::string text = text_of(path);
    std::vector<T> values(text.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), text.data(), values.size() * sizeof(T));
    return values;
}

template <typename T>
void save(const std::string& path, const std::vector<T>& values) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
}

void show(const trkx::Spec& spec) {
    using trkx::json::repr;
    const auto number = [](const auto& value) { return value ? repr(static_cast<double>(*value)) : std::string("None"); };
    const auto features = [&](const std::vector<trkx::Feature>& listed) {
        for (const trkx::Feature& one : listed) {
            std::cout << " " << one.name << "/" << repr(one.scale) << "/" << number(one.low) << "/" << number(one.high);
        }
        std::cout << "\n";
    };
    std::cout << "name " << spec.name << "\nfeatures";
    features(spec.features);
    std::cout << "stages " << trkx::joined(spec.stages, " ") << "\ngraph";
    if (spec.graph) {
        std::cout << " " << repr(spec.graph->radius) << " " << number(spec.graph->k_max) << " "
                  << (spec.graph->direction == trkx::Direction::by_index ? "by_index" : "by_radius");
    }
    std::cout << "\ncuts " << number(spec.filter_cut) << " " << number(spec.gnn_cut) << "\nlabelling "
              << (spec.method == trkx::Method::edge_contraction ? "edge_contraction" : "connected_components") << " "
              << spec.min_hits << "\ndim " << spec.embedding_dim << "\nall_rows " << spec.embedding_looks_at_all_rows << " "
              << spec.filter_looks_at_all_rows << "\nedge_features " << trkx::joined(spec.edge_features, " ") << "\ngnn_features";
    features(spec.gnn_features);
}

/// canonical FILE: each line of the file, a JSON value, in its canonical form, or what is wrong with it.
void canonical(const Arguments& given) {
    const std::string text = text_of(given.at(0));
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        try {
            std::cout << trkx::json::canonical(trkx::json::parse(std::string_view(text).substr(at, end - at))) << "\n";
        } catch (const trkx::json::JsonError& wrong) {
            std::cout << "error: " << wrong.what() << "\n";
        }
        at = end + 1;
    }
}

/// sha256 FILE
void sha256(const Arguments& given) {
    const std::string text = text_of(given.at(0));
    std::cout << trkx::sha256_hex(std::as_bytes(std::span<const char>(text))) << "\n";
}

/// spec FILE
void spec(const Arguments& given) { show(trkx::read_spec(trkx::json::parse(text_of(given.at(0))))); }

/// bundle FOLDER: the spec, and size and SHA-256 of each file as it was read.
void bundle(const Arguments& given) {
    const trkx::Bundle opened = trkx::Bundle::open(given.at(0));
    show(opened.spec());
    for (const trkx::FileEntry& entry : opened.files()) {
        const std::vector<std::byte> data = opened.read(entry.stage, entry.format, entry.precision, entry.target);
        std::cout << entry.path << " " << data.size() << " " << trkx::sha256_hex(data) << "\n";
    }
}

/// read FOLDER STAGE FORMAT [PRECISION [TARGET]]: the path of the file.
void read(const Arguments& given) {
    const trkx::Bundle opened = trkx::Bundle::open(given.at(0));
    const std::string precision = given.size() > 3 ? given[3] : "float32", target = given.size() > 4 ? given[4] : "";
    opened.read(given.at(1), given.at(2), precision, target);
    std::cout << opened.entry(given.at(1), given.at(2), precision, target).path << "\n";
}

/// find PATH…: the hits of each event.
void find(const Arguments& given) {
    for (const auto& path : trkx::find_csv_events({given.begin(), given.end()})) std::cout << path.string() << "\n";
}

/// event HITS FOLDER: the event's arrays; prints number, hits and warnings.
void event(const Arguments& given) {
    const trkx::Event found = trkx::read_csv_event(given.at(0));
    save(given.at(1) + "/hit_id.i64", found.hit_id);
    save(given.at(1) + "/position.f32", found.position);
    for (const auto& [name, values] : found.columns) save(given.at(1) + "/column-" + name + ".f64", values);
    std::cout << found.id << " " << found.size() << "\n" << trkx::joined(found.warnings, "\n");
}

/// features SPEC HITS OUT: x as float32; prints the warning of ranges.
void features(const Arguments& given) {
    const trkx::Spec spec = trkx::read_spec(trkx::json::parse(text_of(given.at(0))));
    const trkx::Event found = trkx::read_csv_event(given.at(1));
    const std::vector<float> x = trkx::node_features(found, spec);
    save(given.at(2), x);
    std::cout << trkx::range_warning(found, x, spec) << "\n";
}

/// edge-features SPEC X EDGES OUT: of float32 [N, F] and int64 [2, E].
void edge_features(const Arguments& given) {
    const trkx::Spec spec = trkx::read_spec(trkx::json::parse(text_of(given.at(0))));
    const trkx::Edges edges{array_of<std::int64_t>(given.at(2))};
    save(given.at(3), trkx::edge_features(spec, array_of<float>(given.at(1)), spec.features.size(), edges));
}

/// submission EVENT_ID MIN_HITS HIT_IDS LABELS OUT
void submission(const Arguments& given) {
    trkx::Tracks tracks;
    tracks.event_id = std::stoll(given.at(0));
    tracks.min_hits = std::stoll(given.at(1));
    tracks.hit_id = array_of<std::int64_t>(given.at(2));
    tracks.label = array_of<std::int64_t>(given.at(3));
    trkx::write_trackml_submission(given.at(4), {tracks});
    std::cout << tracks.num_tracks() << "\n";
}

/// prototracks EVENT_ID MIN_HITS HIT_IDS LABELS POSITIONS FOLDER
void prototracks(const Arguments& given) {
    trkx::Tracks tracks;
    trkx::Event event;
    event.id = tracks.event_id = std::stoll(given.at(0));
    tracks.min_hits = std::stoll(given.at(1));
    event.hit_id = tracks.hit_id = array_of<std::int64_t>(given.at(2));
    tracks.label = array_of<std::int64_t>(given.at(3));
    event.position = array_of<float>(given.at(4));
    std::cout << trkx::write_prototracks(given.at(5), event, tracks).string() << "\n";
}

struct Command {
    const char* name;
    void (*run)(const Arguments&);
};
constexpr Command commands[] = {{"canonical", canonical},
                                {"sha256", sha256},
                                {"spec", spec},
                                {"bundle", bundle},
                                {"read", read},
                                {"find", find},
                                {"event", event},
                                {"features", features},
                                {"edge-features", edge_features},
                                {"submission", submission},
                                {"prototracks", prototracks}};

}  // namespace

int main(int count, char** words) {
    const Arguments given(words + 1, words + count);
    try {
        for (const Command& command : commands) {
            if (!given.empty() && given[0] == command.name) {
                command.run({given.begin() + 1, given.end()});
                return 0;
            }
        }
        std::cerr << "unknown command\n";
        return 2;
    } catch (const trkx::InputError& error) {
        std::cerr << "InputError: " << error.what() << "\n";
    } catch (const trkx::BundleError& error) {
        std::cerr << "BundleError: " << error.what() << "\n";
    } catch (const trkx::SpecError& error) {
        std::cerr << "SpecError: " << error.what() << "\n";
    } catch (const trkx::Error& error) {
        std::cerr << "Error: " << error.what() << "\n";
    }
    return 1;
}
