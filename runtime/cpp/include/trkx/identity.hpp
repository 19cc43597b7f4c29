// What a model file says about itself: metadata that repeats the specification it was made for.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <trkx/spec.hpp>

namespace trkx {

inline constexpr std::string_view metadata_prefix = "pkg.trkx.";

/// Returns the value of a key of a file's metadata, nothing where it is absent.
using Metadata = std::function<std::optional<std::string>(const std::string& key)>;

/// Throws BundleError unless a model file's metadata names what it is used for: this spec, stage, precision and target. The
/// message says what differs. Compared is what running needs: features and scales, graph, cuts, labelling; the networks are in
/// the file. where: the file, for the message. target: as in bundle.json, "" means "ort-cpu".
void require_same(const Metadata& metadata, const Spec& spec, const std::string& where, std::string_view stage,
                  std::string_view precision, std::string_view target);

}  // namespace trkx
