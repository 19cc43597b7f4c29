#include "torch_call.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace trkx {

namespace {

/// Lets tensors see arrays where they lie. Networks write to no input: export refuses those that do.
std::vector<at::Tensor> seen(const Given& given) {
    const auto one = [](const void* first, std::size_t rows, std::size_t columns, at::ScalarType type) {
        return at::from_blob(const_cast<void*>(first), {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)},
                             type);
    };
    std::vector<at::Tensor> made{one(given.x.data(), given.n, given.F, at::kFloat)};
    if (given.edges) made.push_back(one(given.edges->data.data(), 2, given.edges->size(), at::kLong));
    if (given.A > 0) made.push_back(one(given.edge_attr.data(), given.edges->size(), given.A, at::kFloat));
    return made;
}

/// The tensor as [rows, columns], contiguous float32; BundleError if it is something else.
at::Tensor checked(const at::Tensor& found, const std::string& where, const std::string& stage, std::size_t rows,
                   std::size_t columns) {
    const auto sizes = found.sizes();
    const std::vector<std::int64_t> table{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)};
    const bool row = columns == 1 && sizes.size() == 1 && sizes[0] == table[0];
    if (found.scalar_type() == at::kFloat && found.device().is_cpu() && (row || sizes == at::IntArrayRef(table)))
        return found.contiguous();
    std::string shape;
    for (const std::int64_t size : sizes) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    throw BundleError(where + ": stage " + stage + ": expected float32 [" + std::to_string(rows) + ", " + std::to_string(columns)
                      + "] on the CPU, found " + std::string(found.dtype().name()) + " [" + shape
                      + "]. Export the bundle again.");
}

}  // namespace

std::string reason_of(const char* text) {
    std::string whole(text);
    whole.resize(std::min(whole.size(), whole.find("\nException raised from ")));
    whole.resize(whole.find_last_not_of(" \n") + 1);  // npos + 1 is 0
    const std::string first = whole.substr(0, whole.find('\n'));
    const std::size_t last = whole.rfind('\n');
    return last == std::string::npos ? first : first + " " + whole.substr(last + 1);
}

void require_threads(int threads) {
    if (threads < 1) throw SpecError("threads must be at least 1, found " + std::to_string(threads) + ".");
}

TorchEngine::TorchEngine(std::map<std::string, TorchNetwork> networks, const Spec& spec, int threads)
    : networks_(std::move(networks)), columns_(spec), threads_(threads) {
    at::set_num_threads(threads);
}

std::vector<float> TorchEngine::embed(std::span<const float> x, std::size_t n, std::size_t F) const {
    return run("embedding", {x, n, F, nullptr, {}, 0}, n, columns_.places);
}

std::vector<float> TorchEngine::filter(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges) const {
    return run("filter", {x, n, F, &edges, {}, 0}, edges.size(), 1);
}

std::vector<float> TorchEngine::gnn(std::span<const float> x, std::size_t n, std::size_t F, const Edges& edges,
                                    std::span<const float> edge_attr, std::size_t A) const {
    return run("gnn", {x, n, F, &edges, edge_attr, A}, edges.size(), 1);
}

std::vector<float> TorchEngine::run(const std::string& stage, const Given& given, std::size_t rows, std::size_t columns) const {
    const auto found = networks_.find(stage);
    if (found == networks_.end())
        throw SpecError("this bundle has no " + stage + "; leave the stage out, or open another bundle.");
    require_fit(stage, given, columns_);
    const TorchNetwork& network = found->second;
    if (rows == 0) return {};
    if (at::get_num_threads() != threads_) at::set_num_threads(threads_);  // OpenMP keeps a number for each thread
    const c10::InferenceMode guard;
    try {
        const at::Tensor answer = checked(network.call(seen(given)), network.where, stage, rows, columns);
        const float* first = answer.const_data_ptr<float>();
        return std::vector<float>(first, first + rows * columns);
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        throw BundleError(network.where + ": stage " + stage + " failed on " + std::to_string(rows) + " rows ("
                          + reason_of(error.what()) + "). Is there enough memory? Else export the bundle again.");
    }
}

}  // namespace trkx
