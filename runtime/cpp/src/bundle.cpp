#include <trkx/bundle.hpp>

#include <algorithm>
#include <set>
#include <system_error>

#include <trkx/json.hpp>
#include <trkx/sha256.hpp>

#include "files.hpp"
#include "table.hpp"

namespace trkx {
namespace {

namespace fs = std::filesystem;

constexpr const char* manifest_name = "bundle.json";
constexpr std::uintmax_t largest_manifest = std::uintmax_t{64} << 20U;

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

std::string what_is(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) return fs::exists(path, error) ? "a file" : "nothing";
    Names names;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
        names.push_back(entry->path().filename().string());
    }
    if (names.empty()) return "an empty folder";
    std::sort(names.begin(), names.end());
    const bool more = names.size() > 5;
    names.resize(std::min<std::size_t>(names.size(), 5));
    return "a folder with " + joined(names) + (more ? " …" : "");
}

/// Returns a path of bundle.json without "." and empty parts. Throws SpecError: absolute, or it may lead outside.
std::string safe_path(const std::string& path, const std::string& where) {
    Names parts;
    bool up = false;
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string part = path.substr(at, end - at);
        up = up || part == "..";
        if (!part.empty() && part != ".") parts.push_back(part);
        at = end + 1;
    }
    const bool strange = path.find_first_of(std::string("\\:\0", 3)) != std::string::npos;
    const std::string found = where + ": path " + json::shown(json::Value(path));
    require_that(!parts.empty() && !path.starts_with('/') && !up && !strange,
                 found + " must be relative and stay inside the bundle folder.");
    require_that(parts != Names{manifest_name}, found + ": " + manifest_name + " can't list itself.");
    return joined(parts, "/");
}

FileEntry read_entry(const json::Value& value, const std::string& where) {
    const Table table(value, where, {"path", "stage", "format", "sha256", "bytes"}, {"precision", "opset", "note", "target"});
    FileEntry entry;
    entry.path = table.text("path");
    safe_path(entry.path, table.where());
    entry.stage = table.choice("stage", {"embedding", "filter", "gnn", "all"}, "");
    entry.format = table.text("format");
    entry.sha256 = table.text("sha256");
    const bool digits = entry.sha256.size() == 64 && entry.sha256.find_first_not_of("0123456789abcdef") == std::string::npos;
    require_that(digits, table.where() + ": sha256 of " + entry.path + " must be 64 lower-case hexadecimal digits, found '" +
                             entry.sha256 + "'.");
    const std::int64_t bytes = table.integer("bytes");
    require_that(bytes >= 0,
                 table.where() + ": bytes of " + entry.path + " must be at least 0, found " + std::to_string(bytes) + ".");
    entry.bytes = static_cast<std::uint64_t>(bytes);
    entry.precision = table.text("precision", "float32");
    entry.target = table.text("target");
    table.text("note");
    if (const json::Value* opset = table.given("opset")) integer_of(*opset, table.where("opset"));
    return entry;
}

std::string role(const FileEntry& entry) {
    return entry.stage + " " + entry.format + " " + entry.precision + (entry.target.empty() ? "" : " " + entry.target);
}

std::vector<FileEntry> read_entries(const json::Value& value, const std::string& where) {
    if (value.array() == nullptr) refuse(where, "a list", value);
    std::vector<FileEntry> entries;
    std::set<std::string> paths, roles;
    for (const json::Value& item : *value.array()) {
        FileEntry entry = read_entry(item, where + "[" + std::to_string(entries.size()) + "]");
        const std::string path = safe_path(entry.path, where);
        require_that(paths.insert(path).second, where + ": two entries with the same path: " + path + ".");
        require_that(roles.insert(role(entry)).second,
                     where + ": two entries with the same stage, format, precision and target: " + role(entry) + ".");
        entries.push_back(std::move(entry));
    }
    return entries;
}

void check_schema(const json::Value* found, const std::string& where) {
    const json::Number* number = found ? found->number() : nullptr;
    if (number == nullptr || !number->is_integer() || number->value < 1.0) {
        throw BundleError(where + ": expected a schema version (an integer from 1), found " +
                          (found ? json::shown(*found) : "none") + "; this is not a trkx bundle.");
    }
    if (!number->whole || *number->whole > bundle_schema) {
        throw BundleError(where + ": schema " + number->digits + " is newer than schema " + std::to_string(bundle_schema) +
                          ", the newest that this trkx reads; upgrade it, or export the bundle with this version.");
    }
}

json::Value read_json(const fs::path& source) {
    const std::string where = source.string();
    std::error_code error;
    const std::uintmax_t size = fs::file_size(source, error);
    if (!error && size > largest_manifest) {
        throw BundleError(where + ": " + std::to_string(size) + " bytes is no plausible manifest (at most " +
                          std::to_string(largest_manifest) + "); this is not a trkx bundle.");
    }
    std::string text;
    const std::string problem = read_whole(source, text, largest_manifest);
    if (!problem.empty()) throw BundleError(where + ": can't be read (" + problem + ").");
    try {
        json::Value value = json::parse(text);
        if (value.object() == nullptr) {
            throw BundleError(where + ": expected a JSON object, found " + json::shown(value) + ". Export the bundle again.");
        }
        return value;
    } catch (const json::JsonError& wrong) {
        throw BundleError(where + ": not valid JSON: " + wrong.what() + ". It is truncated or edited: export the bundle again.");
    }
}

void verify_own_hash(const json::Value& values, const std::string& where) {
    const json::Value* said = values.find("sha256");
    const std::string found = sha256_hex(bytes_of(json::canonical(values, "sha256")));
    if (said != nullptr && said->string() && *said->string() == found) return;
    const std::string problem = said ? "its content does not have the SHA-256 that stands in it: edited or corrupted"
                                     : "expected a SHA-256 of its own, found none: edited, or written before trkx wrote one";
    throw BundleError(where + ": " + problem + ". Edit pipeline.toml instead, and export the bundle again.");
}

bool is_inside(const fs::path& path, const fs::path& folder, std::error_code& error) {
    const fs::path whole = fs::weakly_canonical(path, error);
    const fs::path root = error ? fs::path() : fs::canonical(folder, error);
    if (error) return false;
    return std::mismatch(root.begin(), root.end(), whole.begin(), whole.end()).first == root.end();
}

std::string problem_of_place(const fs::path& folder, const FileEntry& entry) {
    const fs::path path = folder / entry.path;
    std::error_code error;
    const bool inside = is_inside(path, folder, error);
    if (error) return "can't be reached (" + error.message() + ")";
    if (!inside) return "leads outside the bundle folder through a symbolic link";
    if (!fs::is_regular_file(path, error)) return "is missing";
    const std::uintmax_t size = fs::file_size(path, error);
    if (error) return "can't be read (" + error.message() + ")";
    if (size == entry.bytes) return "";
    return "has " + std::to_string(size) + " bytes instead of " + std::to_string(entry.bytes) + ": truncated or edited";
}

std::string problem_of_content(const FileEntry& entry, const std::string& data) {
    if (data.size() != entry.bytes) {
        return "has " + std::to_string(data.size()) + " bytes instead of " + std::to_string(entry.bytes) +
               ": truncated or edited";
    }
    const std::string found = sha256_hex(bytes_of(data));
    if (found == entry.sha256) return "";
    return "has SHA-256 " + found.substr(0, 12) + "… instead of " + entry.sha256.substr(0, 12) + "…: edited or corrupted";
}

void throw_problems(const fs::path& folder, const Names& problems) {
    if (problems.empty()) return;
    throw BundleError(folder.string() + ": " + joined(problems, "; ") + ". Fetch the bundle again or export it again.");
}

}  // namespace

Bundle Bundle::open(const fs::path& folder) {
    const fs::path source = folder / manifest_name;
    const std::string where = source.string();
    std::error_code error;
    if (!fs::is_regular_file(source, error)) {
        throw BundleError(folder.string() + ": expected a bundle (a folder with " + manifest_name + "), found " +
                          what_is(folder) + ".");
    }
    const json::Value values = read_json(source);
    check_schema(values.find("schema"), where);
    Bundle bundle;
    bundle.path_ = folder;
    try {
        const Table table(values, where, {"name", "spec", "files"}, {"provenance", "validation", "schema", "sha256"});
        table.text("name");
        for (const char* key : {"provenance", "validation"}) {
            const json::Value* free = table.find(key);
            if (free && !free->object()) refuse(table.where(key), "a table", *free);
        }
        bundle.spec_ = read_spec(table.at("spec"), table.where("spec"));
        bundle.files_ = read_entries(table.at("files"), table.where("files"));
    } catch (const SpecError& wrong) {
        throw BundleError(std::string(wrong.what()) + " The bundle was edited or not written by trkx; export it again.");
    }
    verify_own_hash(values, where);
    Names problems;
    for (const FileEntry& entry : bundle.files_) {
        const std::string problem = problem_of_place(folder, entry);
        if (!problem.empty()) problems.push_back(entry.path + " " + problem);
    }
    throw_problems(folder, problems);
    return bundle;
}

const FileEntry& Bundle::entry(std::string_view stage, std::string_view format, std::string_view precision,
                               std::string_view target) const {
    for (const std::string_view wanted : {stage, std::string_view("all")}) {
        for (const FileEntry& entry : files_) {
            const bool same = entry.format == format && entry.precision == precision && entry.target == target;
            if (same && entry.stage == wanted) return entry;
        }
    }
    Names known;
    for (const FileEntry& entry : files_) known.push_back(role(entry));
    throw BundleError(path_.string() + ": no " + std::string(format) + " file of stage " + std::string(stage) + " in " +
                      std::string(precision) + (target.empty() ? "" : " for " + std::string(target)) + "; the bundle has " +
                      (known.empty() ? "nothing" : joined(known)) + ".");
}

std::vector<std::byte> Bundle::read(std::string_view stage, std::string_view format, std::string_view precision,
                                    std::string_view target) const {
    const FileEntry& listed = entry(stage, format, precision, target);
    std::string problem = problem_of_place(path_, listed), data;
    if (problem.empty()) {
        const std::string unread = read_whole(path_ / listed.path, data, static_cast<std::size_t>(listed.bytes) + 1);
        problem = unread.empty() ? problem_of_content(listed, data) : "can't be read (" + unread + ")";
    }
    if (!problem.empty()) throw_problems(path_, {listed.path + " " + problem});
    const std::span<const std::byte> bytes = bytes_of(data);
    return {bytes.begin(), bytes.end()};
}

}  // namespace trkx
