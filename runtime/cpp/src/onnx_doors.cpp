#include "onnx_doors.hpp"

#include <cstdint>
#include <utility>
#include <vector>

#include <trkx/error.hpp>

namespace trkx {

namespace {

struct Door {
    const char* name;
    ONNXTensorElementDataType type;
};

constexpr std::array<Door, 3> doors{{{input_names[0], ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
                                     {input_names[1], ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
                                     {input_names[2], ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
constexpr Door answer{output_name, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};

std::string type_name(ONNXTensorElementDataType type) {
    switch (type) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return "float32";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return "int64";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return "int32";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return "float64";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return "float16";
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16: return "bfloat16";
        default: return "type " + std::to_string(static_cast<int>(type));
    }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t size : shape)
        text += (text.empty() ? "" : ", ") + (size < 0 ? std::string("any") : std::to_string(size));
    return "[" + text + "]";
}

/// Checks one door of a session; size: what its last axis must be, 0 for any. Returns its shape, -1 for free axes.
std::vector<std::int64_t> require_door(const std::string& where, const Door& door, const std::string& name,
                                       const Ort::TypeInfo& info, std::size_t axis, std::int64_t size) {
    const std::string refused = where + ": expected " + door.name + " as " + type_name(door.type);
    if (name != door.name) throw BundleError(refused + ", found '" + name + "' in its place. Export the bundle again.");
    if (info.GetONNXType() != ONNX_TYPE_TENSOR)
        throw BundleError(refused + ", found something that is no tensor. Export the bundle again.");
    const auto tensor = info.GetTensorTypeAndShapeInfo();
    const std::vector<std::int64_t> shape = tensor.GetShape();
    if (tensor.GetElementType() != door.type)
        throw BundleError(refused + ", found " + type_name(tensor.GetElementType()) + ". Export the bundle again.");
    const bool fits = axis >= shape.size() ? size == 0 : size == 0 || shape[axis] < 0 || shape[axis] == size;
    if (!fits || shape.empty() || shape.size() > 2)
        throw BundleError(refused + " with " + std::to_string(size) + " on axis " + std::to_string(axis) + ", found "
                          + shape_text(shape) + ". Export the bundle again.");
    return shape;
}

}  // namespace

std::size_t require_doors(const Ort::Session& session, const std::string& where, const std::string& stage, const Spec& spec) {
    const Ort::AllocatorWithDefaultOptions allocator;
    const std::size_t wanted = stage == "embedding" ? 1 : stage == "gnn" && !spec.edge_features.empty() ? 3 : 2;
    if (session.GetInputCount() != wanted || session.GetOutputCount() != 1)
        throw BundleError(where + ": expected " + std::to_string(wanted) + " input(s) and one output, found "
                          + std::to_string(session.GetInputCount()) + " and " + std::to_string(session.GetOutputCount())
                          + ". Export the bundle again.");
    const std::int64_t features = static_cast<std::int64_t>(spec.features.size());
    const std::array<std::pair<std::size_t, std::int64_t>, 3> sizes{
        {{1, features}, {0, 2}, {1, static_cast<std::int64_t>(spec.edge_features.size())}}};
    for (std::size_t i = 0; i < wanted; ++i)
        require_door(where, doors[i], session.GetInputNameAllocated(i, allocator).get(), session.GetInputTypeInfo(i),
                     sizes[i].first, sizes[i].second);
    const bool places = stage == "embedding";
    const std::vector<std::int64_t> shape = require_door(where, answer, session.GetOutputNameAllocated(0, allocator).get(),
                                                         session.GetOutputTypeInfo(0), 1, places ? spec.embedding_dim : 0);
    if (!places && shape.size() == 2 && shape[1] >= 0 && shape[1] != 1)
        throw BundleError(where + ": expected logits [num_edges] or [num_edges, 1], found " + shape_text(shape)
                          + ". Export the bundle again.");
    return shape.size();
}

}  // namespace trkx
