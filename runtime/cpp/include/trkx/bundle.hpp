// A bundle: one folder with everything that turns hits into tracks, verified when read. Opening one executes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <trkx/error.hpp>
#include <trkx/spec.hpp>

namespace trkx {

/// Newest schema version of bundle.json that is read.
inline constexpr std::int64_t bundle_schema = 1;

/// One file of a bundle. path: relative, "/" between parts. stage: the network it holds, "all" for weights and card. format:
/// "onnx", "torchscript", "aoti", "safetensors", … precision: "float32", or that inside the model. target: "" for the files that
/// every bundle has.
struct FileEntry {
    std::string path, stage, format, sha256, precision, target;
    std::uint64_t bytes = 0;
};

/// An opened bundle. Const members may be called from any number of threads at once.
class Bundle {
public:
    /// Reads bundle.json and looks for the files that it lists; `read` verifies their content.
    /// Throws BundleError: no bundle there, a bundle.json that is broken, edited (its own SHA-256 does not match) or newer, an
    /// unsafe path, a file that is missing, of another size, or outside the folder through a symbolic link.
    static Bundle open(const std::filesystem::path& folder);

    const Spec& spec() const { return spec_; }
    const std::vector<FileEntry>& files() const { return files_; }
    const std::filesystem::path& path() const { return path_; }

    /// Returns the file of a stage in a format; a file of stage "all" serves every stage.
    /// Throws BundleError: there is none; the message lists those there are.
    const FileEntry& entry(std::string_view stage, std::string_view format, std::string_view precision = "float32",
                           std::string_view target = "") const;

    /// Returns the content of a file, verified: exactly these bytes have the listed size and SHA-256.
    /// Throws BundleError: no such file in the bundle, or it is missing, truncated or edited.
    std::vector<std::byte> read(std::string_view stage, std::string_view format, std::string_view precision = "float32",
                                std::string_view target = "") const;

private:
    Bundle() = default;
    std::filesystem::path path_;
    Spec spec_;
    std::vector<FileEntry> files_;
};

}  // namespace trkx
