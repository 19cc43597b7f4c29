// What goes in and out of an ONNX file of a bundle: names, element types, sizes.
#pragma once

#define ORT_API_MANUAL_INIT  // so that a library older than the headers is an error and no crash
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstddef>
#include <string>
#include <trkx/spec.hpp>

namespace trkx {

/// Inputs in their order: an embedding has the first, a filter the first two, a network with edge features all.
inline constexpr std::array<const char*, 3> input_names{"x", "edge_index", "edge_attr"};
inline constexpr const char* output_name = "output";

/// Checks what a session takes and gives. Returns the rank of its answer: logits are [E] or [E, 1].
/// where: the file, for the message. Throws BundleError: other names, element types or sizes than the contract has.
std::size_t require_doors(const Ort::Session& session, const std::string& where, const std::string& stage, const Spec& spec);

}  // namespace trkx
