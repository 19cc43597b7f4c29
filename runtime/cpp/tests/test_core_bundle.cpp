// Bundles: what is opened, what is refused; specifications of every family.
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <trkx/bundle.hpp>
#include <trkx/json.hpp>
#include <trkx/sha256.hpp>

#include "core_check.hpp"

using namespace trkx;
namespace fs = std::filesystem;

namespace {

std::string hash(const std::string& text) { return sha256_hex(std::as_bytes(std::span<const char>(text))); }

std::string replaced(std::string text, const std::string& old, const std::string& now) {
    const std::size_t at = text.find(old);
    check::that(at != std::string::npos, "nothing to replace: " + old);
    return at == std::string::npos ? text : text.replace(at, old.size(), now);
}

constexpr const char* chain = R"({"widths": [8, 4]})";

const std::string spec_text = R"({"name": "small", "features": [{"name": "r", "scale": 1000.0}, {"name": "phi", "scale": 3.0},
    {"name": "z", "scale": 1000, "low": null, "high": 2.5}], "embedding": {"hidden": 8, "layers": 2, "dim": 4}, "graph": {"radius": 0.1},
    "filter": {"hidden": 8, "layers": 2}, "gnn": {"hidden": 8, "iterations": 2}, "cuts": {"filter": 0.1, "gnn": 0.5}})";

Spec read(const std::string& text) { return read_spec(json::parse(text)); }

void test_specs() {
    const Spec spec = read(spec_text);
    check::that(spec.makes_tracks() && spec.stages.size() == 3 && spec.embedding_dim == 4 && spec.min_hits == 3 &&
                    spec.method == Method::connected_components && !spec.graph->k_max &&
                    spec.graph->direction == Direction::by_radius,
                "the defaults of a specification");
    check::that(spec.features[2].scale == 1000.0 && !spec.features[2].low && spec.features[2].high == 2.5, "features");
    const std::string event_norm = R"({"widths": [8, 4], "batch_norm": "event"})", one = R"({"widths": [8, 1]})";
    const std::string chains = replaced(spec_text, R"({"hidden": 8, "layers": 2, "dim": 4})",
                                        R"({"family": "chain_embedding", "normalize": true, "chain": )" + event_norm + "}");
    check::that(read(chains).embedding_looks_at_all_rows && read(chains).embedding_dim == 4, "a chain that looks at all rows");
    const std::string passing =
        replaced(spec_text, R"({"hidden": 8, "iterations": 2})",
                 R"({"family": "message_passing", "node_encoder": )" + std::string(chain) + R"(, "node_network": )" + chain +
                     R"(, "edge_encoder": )" + chain + R"(, "edge_network": )" + chain + R"(, "classifier": )" + one +
                     R"(, "iterations": 3, "edge_features": ["dr", "dz"], "features": [{"name": "z", "scale": 2.0}]})");
    check::that(read(passing).edge_features == std::vector<std::string>{"dr", "dz"}, "edge features");
    const std::string other = replaced(passing, R"("node_network": {"widths": [8, 4]})", R"("node_network": {"widths": [8, 5]})");
    check::refuses<SpecError>([&] { read(other); }, "as many columns as the encoders", "a node network of another width");
    const std::string alone = replaced(passing, R"("iterations": 3)", R"("iterations": 3, "node_inputs": ["node"])");
    check::refuses<SpecError>([&] { read(alone); }, "'node' and an aggregate", "nodes that gather nothing");
    const std::string edges = replaced(passing, R"("edge_network": {"widths": [8, 4]})", R"("edge_network": {"widths": [8, 5]})");
    check::refuses<SpecError>([&] { read(edges); }, "as many columns as the encoders", "an edge network of another width");
    check::that(read(passing).gnn_features.size() == 1 && read(passing).gnn_features[0].scale == 2.0, "own features");
    check::equal(logit_of_cut(0.5), 0.0, "the logit of 0.5");
    check::that(std::abs(logit_of_cut(1e-12) + 27.63102111592755) < 4e-15, "the logit of a small cut");
    check::that(std::abs(logit_of_cut(0.6) - 0.4054651081081643) < 1e-16, "the logit of 0.6");
    check::refuses<SpecError>([&] { read(spec_text).needed_cut("embedding"); }, "has no embedding with a cut",
                              "a cut of the embedding");
}

void test_bad_specs() {
    struct Case {
        const char *old, *now, *says;
    };
    constexpr std::array<Case, 20> cases = {{
        {R"("name": "small")", R"("nam": "small")", "unknown key 'nam'"},
        {R"("name": "small", )", "", "missing key name"},
        {R"("name": "small")", R"("name": 3)", "expected text, found 3"},
        {R"("dim": 4)", R"("dim": 33)", "1 to 32"},
        {R"("dim": 4)", R"("dim": 4.0)", "expected an integer"},
        {R"("dim": 4)", R"("dim": 4, "family": "transformer")",
         "unknown family 'transformer'. Known: chain_embedding, mlp_embedding"},
        {R"("dim": 4)", R"("dim": 4, "family": "pair_filter")", "unknown family"},
        {R"("dim": 4)", R"("dim": 4, "geometry": 1)", "true or false"},
        {R"("radius": 0.1)", R"("radius": 0.0)", "above 0"},
        {R"("radius": 0.1)", R"("radius": "far")", "finite number"},
        {R"("radius": 0.1)", R"("radius": 0.1, "direction": "up")", "by_index, by_radius"},
        {R"("radius": 0.1)", R"("radius": 0.1, "k_max": 0)", "at least 1"},
        {R"("gnn": 0.5)", R"("gnn": 1.0)", "(0, 1)"},
        {R"(, "gnn": 0.5)", "", "gnn needs cuts.gnn"},
        {R"("graph": {"radius": 0.1},)", "", "embedding needs graph"},
        {R"("filter": {"hidden": 8, "layers": 2},)", "", "cuts.filter is there, but no filter"},
        {R"({"name": "phi", "scale": 3.0},)", "", "needs the feature phi"},
        {R"("scale": 3.0)", R"("scale": 0)", "scale must not be 0"},
        {R"("name": "phi")", R"("name": "r")", "more than once"},
        {R"("iterations": 2)", R"("iterations": 0)", "iterations must be at least 1"},
    }};
    for (const Case& one : cases)
        check::refuses<SpecError>([&] { read(replaced(spec_text, one.old, one.now)); }, one.says, one.now);
    check::refuses<SpecError>([] { read("[]"); }, "expected a table", "a list");
    check::refuses<SpecError>([] { read(R"({"name": "n", "features": [{"name": "r", "scale": 1}]})"); }, "there is no network",
                              "no network");
}

struct Folder {
    fs::path path = fs::temp_directory_path() / ("trkx-core-" + std::to_string(::getpid()));
    Folder() { fs::create_directories(path / "bundle"); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { fs::remove_all(path); }
};

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

std::string manifest(const std::string& entries, const std::string& schema = "1") {
    return R"({"schema": )" + schema + R"(, "name": "small", "spec": )" + spec_text + R"(, "files": [)" + entries +
           R"(], "provenance": {"é": [1e-7, 1e16]}, "validation": {}})";
}

std::string sealed(const std::string& text) {
    const std::string own = hash(json::canonical(json::parse(text)));
    return text.substr(0, text.rfind('}')) + R"(, "sha256": ")" + own + "\"}";
}

std::string entry(const std::string& path, const std::string& content, const std::string& stage = "gnn") {
    return R"({"path": ")" + path + R"(", "stage": ")" + stage + R"(", "format": "onnx", "sha256": ")" + hash(content) +
           R"(", "bytes": )" + std::to_string(content.size()) + "}";
}

void test_bundles() {
    const Folder folder;
    const fs::path bundle = folder.path / "bundle", json_file = bundle / "bundle.json";
    const std::string content("weights\0and more", 16);
    write(bundle / "gnn.onnx", content);
    write(json_file, sealed(manifest(entry("gnn.onnx", content))));
    const Bundle opened = Bundle::open(bundle);
    check::equal(opened.read("gnn", "onnx").size(), content.size(), "size of a file");
    check::equal(opened.spec().name, "small", "name");
    check::refuses<BundleError>([&] { opened.read("gnn", "onnx", "float16"); }, "in float16; the bundle has gnn onnx float32",
                                "no such file");
    check::refuses<BundleError>([&] { opened.read("gnn", "onnx", "float32", "ort-cuda"); }, "for ort-cuda", "no such target");

    write(bundle / "gnn.onnx", replaced(content, "more", "less"));
    check::refuses<BundleError>([&] { opened.read("gnn", "onnx"); }, "edited or corrupted", "an edit after opening");
    write(bundle / "gnn.onnx", "short");
    check::refuses<BundleError>([&] { opened.read("gnn", "onnx"); }, "has 5 bytes instead of 16", "a cut after opening");
    check::refuses<BundleError>([&] { Bundle::open(bundle); }, "has 5 bytes instead of 16", "a cut before opening");
    fs::remove(bundle / "gnn.onnx");
    check::refuses<BundleError>([&] { opened.read("gnn", "onnx"); }, "is missing", "a file that went");
    write(folder.path / "outside", content);
    fs::create_symlink(folder.path / "outside", bundle / "gnn.onnx");
    check::refuses<BundleError>([&] { Bundle::open(bundle); }, "leads outside the bundle folder", "a link out of the folder");
    fs::remove(bundle / "gnn.onnx");
    fs::create_symlink("gnn.onnx", bundle / "gnn.onnx");
    check::refuses<BundleError>([&] { Bundle::open(bundle); }, "gnn.onnx", "a link to itself");
    fs::remove(bundle / "gnn.onnx");
    write(bundle / "weights", content);
    fs::create_symlink("weights", bundle / "gnn.onnx");
    check::equal(Bundle::open(bundle).read("gnn", "onnx").size(), content.size(), "a link within the folder");
}

void test_bad_manifests() {
    const Folder folder;
    const fs::path bundle = folder.path / "bundle", json_file = bundle / "bundle.json";
    write(bundle / "gnn.onnx", "weights");
    const std::string listed = entry("gnn.onnx", "weights"), whole = sealed(manifest(listed));
    const auto refuses = [&](const std::string& text, std::string_view says) {
        write(json_file, text);
        check::refuses<BundleError>([&] { Bundle::open(bundle); }, says, std::string(says));
    };
    refuses(whole.substr(0, whole.size() / 2), "not valid JSON");
    refuses("", "truncated");
    refuses("[1]", "expected a JSON object");
    refuses(std::string(100'000, '['), "levels");
    refuses(replaced(whole, "0.5", "0.4"), "edited or corrupted");
    refuses(replaced(whole, "1e-7", "1e-8"), "edited or corrupted");
    refuses(manifest(listed), "found none");
    refuses(sealed(manifest(listed, "2")), "schema 2 is newer");
    refuses(sealed(manifest(listed, "\"1\"")), "schema version");
    refuses(sealed(manifest(listed, "true")), "schema version");
    refuses(sealed(manifest(listed, "0")), "schema version");
    refuses(sealed(manifest(listed, "1.0")), "schema version");
    refuses("{}", "schema version");
    refuses(sealed(manifest(listed + "," + entry("./gnn.onnx", "weights", "filter"))), "two entries with the same path");
    refuses(sealed(manifest(listed + "," + entry("b", "weights"))), "same stage, format");
    refuses(sealed(replaced(manifest(listed), "\"stage\": \"gnn\"", "\"stage\": \"gnm\"")), "unknown value 'gnm'");
    refuses(sealed(replaced(manifest(listed), "\"bytes\": 7", "\"bytes\": -7")), "at least 0");
    refuses(sealed(replaced(manifest(listed), "\"bytes\": 7", "\"bytes\": 99999999999999999999")), "expected an integer");
    refuses(sealed(replaced(manifest(listed), "\"provenance\": {", "\"provenance\": 1, \"validation2\": {")), "unknown key");
    refuses(sealed(replaced(manifest(listed), "\"format\"", "\"fromat\"")), "unknown key 'fromat'");
    for (const char* path : {"../gnn.onnx", "/etc/hostname", "a/../../b", "", ".", "./", "..", "a\\\\b", "C:x", "a\\u0000b"}) {
        refuses(sealed(replaced(manifest(listed), "gnn.onnx", path)), "must be relative and stay inside");
    }
    refuses(sealed(replaced(manifest(listed), "gnn.onnx", "./bundle.json")), "can't list itself");
    refuses(sealed(replaced(manifest(listed), hash("weights"), "ABC")), "64 lower-case");
    fs::remove(json_file);
    check::refuses<BundleError>([&] { Bundle::open(bundle); }, "found a folder with gnn.onnx", "no manifest");
    check::refuses<BundleError>([&] { Bundle::open(folder.path / "none"); }, "found nothing", "no folder");
    check::refuses<BundleError>([&] { Bundle::open(bundle / "gnn.onnx"); }, "found a file", "a file");
    fs::create_directory(json_file);
    check::refuses<BundleError>([&] { Bundle::open(bundle); }, "expected a bundle", "a manifest that is a folder");
}

}  // namespace

int main() {
    test_specs();
    test_bad_specs();
    test_bundles();
    test_bad_manifests();
    return check::result();
}
